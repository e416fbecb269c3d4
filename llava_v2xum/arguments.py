"""The arguments of training: LLaVA's own, under their own names, and what the video type adds."""

from __future__ import annotations

from dataclasses import dataclass, field

from .compat import mend_llava

mend_llava()
import llava.train.train as llava_train  # noqa: E402  (only importable after the mend)

from .features import FRAME_FEATURES, PATCH_MEAN  # noqa: E402
from .plugin import CONVERSATION  # noqa: E402


@dataclass
class ModelArguments(llava_train.ModelArguments):
    """LLaVA's, with LLaVA-1.5's values as defaults, and what a video becomes."""

    version: str = field(default=CONVERSATION, metadata={"help": "conversation template"})
    mm_vision_select_layer: int = field(default=-2, metadata={"help": "the tower's layer (LLaVA-1.5)"})
    mm_projector_type: str = field(default="mlp2x_gelu", metadata={"help": "LLaVA-1.5's projector"})
    mm_use_im_patch_token: bool = field(default=False, metadata={"help": "as LLaVA-1.5 trains"})
    num_frames: int | None = field(
        default=None, metadata={"help": "N, the frames that stand for a video; the checkpoint's, or 100"}
    )
    temporal_prompt_template: str | None = field(
        default=None,
        metadata={
            "help": "a frame's temporal prompt: a format string, or how frame 0 is named: '[00]', '00', '[f00]'; the "
            "checkpoint's, or '[00]'"
        },
    )
    temporal_prompts: bool | None = field(
        default=None,
        metadata={"help": "False leaves them out before the frames (table 5); the checkpoint's, or True"},
    )
    frame_feature: str | None = field(
        default=None,
        metadata={
            "help": f"{', '.join(FRAME_FEATURES)}: mean of the tower's patches, its class token, or CLIP's image "
            "embedding (then --vision_tower names a whole CLIP's folder, or OpenAI's ViT-L-14.pt); the checkpoint's, "
            f"or {PATCH_MEAN}"
        },
    )
    frame_tokens: int | None = field(
        default=None,
        metadata={"help": "visual tokens of a frame: 1, 4 or 9, means over a grid of patches; the checkpoint's, or 1"},
    )


@dataclass
class DataArguments(llava_train.DataArguments):
    """LLaVA's, and where the videos' features (or the videos themselves) are."""

    data_path: list[str] | None = field(
        default=None,
        metadata={
            "help": "instruction JSON, one file or several; entries that cannot be learnt from are left out, and named "
            "in rejected.jsonl in the output folder"
        },
    )
    data_weights: list[float] | None = field(
        default=None,
        metadata={"help": "for each file of --data_path how often it is seen in an epoch: 1 once, 0.5 half, 2 twice"},
    )
    image_aspect_ratio: str = field(default="pad", metadata={"help": "as LLaVA-1.5 trains"})
    feature_folder: str | None = field(
        default=None, metadata={"help": "the videos' features (python -m llava_v2xum.features), or a folder of ID.npy"}
    )
    video_folder: str | None = field(
        default=None, metadata={"help": "the videos, ID.mp4 and so on: decoded while training, without stored features"}
    )
    strict: bool = field(default=False, metadata={"help": "stop at the first entry that cannot be learnt from"})
    pack: bool = field(
        default=False,
        metadata={"help": "put several samples in one row of --model_max_length, a video's frames once for its tasks"},
    )


@dataclass
class TrainingArguments(llava_train.TrainingArguments):
    """LLaVA's, with the paper's sequence length."""

    model_max_length: int = field(default=2048, metadata={"help": "positions of text and frames (section 5.3)"})
    attn_implementation: str | None = field(
        default=None,
        metadata={
            "help": "sdpa, flash_attention_2 or eager; where nothing is said, flash_attention_2 if flash_attn is "
            "installed and a GPU runs it, else sdpa"
        },
    )
