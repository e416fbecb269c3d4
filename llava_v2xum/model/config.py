"""LLaVA's config, and what a checkpoint must remember of its timeline and its frames.

Shapes: N frames of a video, k ids of a temporal prompt, m visual tokens of a frame, C feature width.
"""

from __future__ import annotations

from ..core.errors import V2XumError
from ..core.sampling import LINSPACE
from ..core.timeline import DEFAULT_NUM_FRAMES, DEFAULT_TEMPLATE, Timeline, temporal_prompt_ids
from ..features import PATCH_MEAN, FrameFeature, describe
from ..features.upstream import LlavaConfig

OF_ANOTHER_CLASS = (  # fields of a config.json that are not of the model
    "model_type", "architectures", "transformers_version", "torch_dtype", "dtype", "_name_or_path", "auto_map",
)  # fmt: skip


class LlavaV2XumConfig(LlavaConfig):
    """LLaVA's config and what a checkpoint must remember of its timeline.

    Attributes:
        temporal_prompt_template: see `timeline.Timeline`.
        num_frames: N.
        frame_sampling: the rule by which a video's N frames are chosen, see `sampling.FrameSampling`.
        temporal_prompt_ids: [N][k] token ids of the temporal prompts, set by `bind_timeline`.
        temporal_prompts: whether the decoder reads them before the frames (without them it is the paper's ablation).
        frame_feature: a kind of `features.kinds.FRAME_FEATURES`, such as "patch_mean".
        frame_tokens: m, the visual tokens of a frame.
        frame_tower: where the tower of a feature with one of its own comes from, such as the CLIP of "clip_embedding":
            a file, or a folder or hub name.
    """

    model_type = "llava_v2xum"
    temporal_prompt_template = DEFAULT_TEMPLATE
    num_frames = DEFAULT_NUM_FRAMES
    frame_sampling = LINSPACE
    # its type stands in a comment: transformers 5 makes a field of whatever is annotated
    temporal_prompt_ids = None  # type: list[list[int]] | None
    temporal_prompts = True
    frame_feature = PATCH_MEAN
    frame_tokens = 1
    frame_tower = None

    @property
    def timeline(self) -> Timeline:
        """The timeline that the checkpoint was made for."""
        return Timeline(self.num_frames, self.temporal_prompt_template, rule=self.frame_sampling)

    @property
    def feature(self) -> FrameFeature:
        """What a frame becomes."""
        return FrameFeature(self.frame_feature, self.frame_tokens)

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """The shape of a whole video's features: (N, C) or (N, m, C)."""
        return self.feature.shape(self.num_frames, self.mm_hidden_size)

    @property
    def frame_positions(self) -> int:
        """k + m, the positions that one frame takes in the decoder; known once the timeline is bound.

        Raises:
            V2XumError: before that.
        """
        if self.temporal_prompt_ids is None:
            raise V2XumError("the model has no temporal prompts yet: call model.bind_timeline(tokenizer) first")
        return len(self.temporal_prompt_ids[0]) + self.frame_tokens

    def prompt_ids(self, tokenizer) -> list[list[int]]:
        """[N][k] token ids before the frames: those of the temporal prompts, or none at all.

        Raises:
            V2XumError: if the prompts do not all give the same number of ids.
        """
        ids = temporal_prompt_ids(tokenizer, self.timeline)
        return ids if self.temporal_prompts else [[] for _ in ids]

    def describe_features(self, tower=None) -> dict:
        """What stored frame features must have in common with the model that takes them.

        Args:
            tower: the model's; where it is loaded it is known by its weights, else by its name.
        """
        name = getattr(self, self.feature.tower_key)
        layer, ratio = getattr(self, "mm_vision_select_layer", None), getattr(self, "image_aspect_ratio", None)
        width = getattr(self, "mm_hidden_size", None)
        return describe(self.feature, name, layer, ratio, self.timeline, width, tower)


def not_of_llava_15(patch_merge_type: str) -> str:
    """What to say of LLaVA-1.6's checkpoints, whose images are tiles."""
    return f"expected LLaVA-1.5, whose mm_patch_merge_type is 'flat', got {patch_merge_type!r} (LLaVA-1.6)"


def take_fields(config: LlavaV2XumConfig, other) -> None:
    """Take from a config of another class, read from the same file, what has been changed in it since."""
    for key, value in (other.to_dict() if other is not None else {}).items():
        if key not in OF_ANOTHER_CLASS and getattr(config, key, None) != value:
            setattr(config, key, value)
