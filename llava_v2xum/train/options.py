"""The flags of training that this project adds to LLaVA's, those of LLaVA and transformers that its guide names, and
the `--help` that shows both.

Importing this module loads neither torch nor LLaVA; `arguments.py` joins these classes with LLaVA's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from ..core.clock import CLOCKS, FRAMES
from ..core.command_line import Parser
from ..core.sampling import LINSPACE, SAMPLING_RULES
from ..core.tasks import CONVERSATION
from ..features.kinds import DEFAULT_TOWER, FRAME_FEATURES, PATCH_MEAN
from ..media.processes import Rank

HELP_ALL = "--help-all"

NEEDED = {
    ("model_name_or_path",): "the decoder to start from, a folder or hub name: lmsys/vicuna-7b-v1.5, "
    "liuhaotian/llava-v1.5-7b, llava-hf/llava-1.5-7b-hf, ...",
    ("data_path",): "the instruction JSON, one file or several (python -m llava_v2xum.convert)",
    ("feature_folder", "video_folder", "image_folder"): "the videos' features (python -m llava_v2xum.features), the "
    "videos, or the still images of LLaVA's own data",
    ("output_dir",): "where the checkpoints and the trained model go",
}

PAPER = {  # what the scripts and the plan begin with
    "num_train_epochs": 5,  # this and the next four: the paper, section 5.3
    "learning_rate": 1e-4,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.03,
    "model_max_length": 2048,
    "weight_decay": 0,
    "per_device_train_batch_size": 8,  # global batch of the released code: 128 = 8 x 16
    "gradient_accumulation_steps": 16,  # divide by the number of GPUs
    "gradient_checkpointing": True,
    "group_by_modality_length": True,
    "dataloader_num_workers": min(4, Rank.from_environment().default_workers()),  # torch warns of more than cores
    "save_strategy": "steps",
    "save_steps": 200,
    "save_total_limit": 2,
    "logging_steps": 1,
    "report_to": "none",
}


@dataclass
class ModelOptions:
    """LLaVA-1.5's values as defaults, and what a video becomes."""

    version: str = field(default=CONVERSATION, metadata={"help": "conversation template"})
    mm_vision_select_layer: int = field(default=-2, metadata={"help": "the tower's layer (LLaVA-1.5)"})
    mm_projector_type: str = field(default="mlp2x_gelu", metadata={"help": "kind of projector (LLaVA-1.5's)"})
    mm_use_im_patch_token: bool = field(
        default=False, metadata={"help": "give the tokenizer LLaVA's token <im_patch> (LLaVA-1.5 does not)"}
    )
    num_frames: int | None = field(
        default=None,
        metadata={"metavar": "N", "help": "N, the frames that stand for a video; the checkpoint's, or 100"},
    )
    frame_sampling: str | None = field(
        default=None,
        metadata={
            "metavar": "RULE",
            "help": f"the rule by which they are chosen: {', '.join(SAMPLING_RULES)}; the checkpoint's, or {LINSPACE}",
        },
    )
    temporal_prompt_template: str | None = field(
        default=None,
        metadata={
            "metavar": "TEXT",
            "help": "a frame's temporal prompt: a format string, or how frame 0 is named: '[00]', '00', '[f00]'; the "
            "checkpoint's, or '[00]'"
        },
    )
    temporal_prompts: bool | None = field(
        default=None,
        metadata={
            "metavar": "BOOL",
            "help": "False leaves them out before the frames (table 5); the checkpoint's, or True",
        },
    )
    frame_feature: str | None = field(
        default=None,
        metadata={
            "metavar": "KIND",
            "help": f"{', '.join(FRAME_FEATURES)}: mean of the tower's patches, its class token, or CLIP's image "
            "embedding (then --vision_tower names a whole CLIP's folder, or OpenAI's ViT-L-14.pt); the checkpoint's, "
            f"or {PATCH_MEAN}"
        },
    )
    frame_tokens: int | None = field(
        default=None,
        metadata={
            "metavar": "M",
            "help": "visual tokens of a frame: 1, 4 or 9, means over a grid of patches; the checkpoint's, or 1",
        },
    )


@dataclass
class DataOptions:
    """Where the videos' features (or the videos themselves) are, and how often an entry is seen."""

    data_path: list[str] | None = field(
        default=None,
        metadata={
            "metavar": "FILE",
            "help": "instruction JSON, one file or several; entries that cannot be learnt from are left out, and named "
            "in rejected.jsonl in the output folder"
        },
    )
    val_data_path: list[str] | None = field(
        default=None,
        metadata={"metavar": "FILE", "help": "instruction JSON to validate on while training: loss by task"},
    )
    data_weights: list[float] | None = field(
        default=None,
        metadata={
            "metavar": "X",
            "help": "for each file of --data_path how often it is seen in an epoch: 1 once, 0.5 half, 2 twice",
        },
    )
    image_aspect_ratio: str = field(
        default="pad",
        metadata={
            "help": "pad frames and images to a square (LLaVA-1.5), or crop their middle: pad or square; with "
            "--version plain square, as in LLaVA's first stage",
        },
    )
    feature_folder: str | None = field(
        default=None,
        metadata={
            "metavar": "DIR",
            "help": "the videos' features (python -m llava_v2xum.features), or a folder of ID.npy",
        },
    )
    video_folder: str | None = field(
        default=None,
        metadata={
            "metavar": "DIR",
            "help": "the videos, ID.mp4 and so on: decoded while training, without stored features",
        },
    )
    video_track: int | None = field(
        default=None,
        metadata={
            "metavar": "N",
            "help": "of files in --video_folder with several video tracks this one, from 0 (else as players choose)",
        },
    )
    clock: str = field(
        default=FRAMES,
        metadata={
            "help": "what index a second of published data (<fK>) is: "
            + "; ".join(f"{name}: {what}" for name, what in CLOCKS.items())
        },
    )
    check: str = field(
        default="sample",
        metadata={
            "help": "how closely videos or features are looked at before the run: sample (head, shape, size, some "
            "numbers), full (all numbers; videos are decoded) or none",
        },
    )
    max_rejected: str = field(
        default="1%",
        metadata={"help": "stop before the run if more entries cannot be learnt from: a share, or a number of them"},
    )
    warn_only: list[str] | None = field(
        default=None,
        metadata={"metavar": "KIND", "help": "let these kinds of faults in answers pass with a warning (the guide)"},
    )
    strict: bool = field(
        default=False,
        metadata={"help": "stop at the first entry that cannot be learnt from, or has something to be warned of"},
    )
    pack: bool = field(
        default=False,
        metadata={"help": "put several samples in one row of --model_max_length, a video's frames once for its tasks"},
    )


@dataclass
class TrainingOptions:
    """The paper's sequence length, and the attention."""

    model_max_length: int = field(default=2048, metadata={"help": "positions of text and frames (section 5.3)"})
    attn_implementation: str | None = field(
        default=None,
        metadata={
            "metavar": "NAME",
            "help": "sdpa, flash_attention_2 or eager; where nothing is said, flash_attention_2 if flash_attn is "
            "installed and a GPU runs it, else sdpa"
        },
    )
    dry_run: bool = field(
        default=False,
        metadata={
            "help": "train nothing: check model and data, show samples as they are learnt, and the plan, in "
            "OUTPUT_DIR/inspection (python -m llava_v2xum.inspect)",
        },
    )
    val_steps: int = field(default=200, metadata={"help": "optimizer steps from one validation to the next"})
    val_answers: int = field(
        default=16,
        metadata={
            "metavar": "N",
            "help": "entries that each validation also answers, the same ones: F1 of the frames, ROUGE-L of the text, "
            "share of answers that can be read, and their length, by task; 0 for the loss alone",
        },
    )
    val_patience: int = field(
        default=0,
        metadata={"help": "end after so many validations in a row without a lower loss; 0 never"},
    )
    weigh_by_tokens: bool = field(
        default=False,
        metadata={
            "help": "in a step of several passes or processes each counts by its learned tokens, as if it were one; "
            "False: each counts the same, as LLaVA and the released model were trained",
        },
    )
    max_nonfinite_steps: int = field(
        default=3, metadata={"help": "stop after so many steps in a row whose loss or gradient is NaN or infinite"}
    )


LLAVAS = {  # flag and what stands for its value -> what it does
    "image_folder DIR": "the still images of LLaVA's own data (key 'image'), beside videos or alone",
    "pretrain_mm_mlp_adapter FILE": "LLaVA-1.5's pretrained projector, mm_projector.bin, or the folder or hub name of "
    "a whole LLaVA-1.5; without it the projector starts from random weights, unless the base has one",
    "vision_tower NAME": "the folder or hub name of a vision tower, or of a LLaVA-1.5 in transformers' form; the "
    f"base's own, or {DEFAULT_TOWER}",
    "freeze_mm_mlp_adapter BOOL": "leave the projector as it is; as a default only with "
    "--pretrain_mm_mlp_adapter",
    "tune_mm_mlp_adapter BOOL": "train the projector alone",
    "mm_projector_lr X": "the projector's learning rate, where it has one of its own",
    "lora_enable BOOL": "train a LoRA adapter in place of the decoder's weights",
    "lora_r N": "its rank",
    "lora_alpha N": "what it adds counts alpha / r times",
    "bits N": "4 or 8: the decoder's weights in as many bits, under a LoRA adapter (QLoRA)",
    "group_by_modality_length BOOL": "batches of samples of one kind and like length",
}
TRANSFORMERS = {
    "num_train_epochs X": "how often the data is seen",
    "max_steps N": "optimizer steps, in place of epochs",
    "per_device_train_batch_size N": "samples of one GPU in one pass; rows with --pack",
    "gradient_accumulation_steps N": "passes of an optimizer step: its batch is this x GPUs x samples of a pass",
    "learning_rate X": "the highest, after the warm-up",
    "lr_scheduler_type NAME": "how it falls: cosine, linear, constant_with_warmup, ...",
    "warmup_ratio X": "share of the steps in which it rises first",
    "weight_decay X": "of the optimizer, AdamW",
    "gradient_checkpointing BOOL": "compute activations again in the backward pass: slower, in far less memory",
    "dataloader_num_workers N": "processes that read samples, for each GPU",
    "save_strategy WHEN": "when checkpoints are saved: steps, epoch or no",
    "save_steps N": "optimizer steps from one checkpoint to the next",
    "save_total_limit N": "checkpoints that are kept",
    "logging_steps N": "optimizer steps from one line of the log to the next",
    "report_to NAME": "where losses go besides: none, tensorboard, wandb, ...",
    "seed N": "of new weights and of the order of the samples",
    "deepspeed FILE": "DeepSpeed's settings; scripts/ has zero2.json, zero3.json, zero3_offload.json",
    "bf16 BOOL": "compute in bfloat16",
    "fp16 BOOL": "compute in float16, for GPUs without bfloat16",
    "tf32 BOOL": "what is left in float32 may be rounded to TF32",
    "use_cpu BOOL": "use no GPU",
}
VALUES = "Behind a flag stands its default or, in capitals, the kind of its value."
END = f"""Started again, the same command goes on from the last whole checkpoint in
--output_dir. {HELP_ALL} lists every flag of LLaVA and transformers, which take
seconds to import."""


def describe(program: str, usage: str, title: str, defaults: Mapping[str, object]) -> None:
    """Print the text of `--help`.

    Args:
        program: stands for "%(prog)s" in the other texts.
        usage: how it is called.
        title: what it does.
        defaults: flag -> value, of this command.
    """
    own = {one.name: one for options in (ModelOptions, DataOptions, TrainingOptions) for one in fields(options)}
    defaults = {name: one.default for name, one in own.items() if one.default is not None} | dict(defaults)
    told = {name: one.metadata["help"] for name, one in own.items()}
    kinds = {name: one.metadata.get("metavar", "") for name, one in own.items()}
    for flag, what in LLAVAS.items():
        name, _, kinds[name] = flag.partition(" ")
        told[name] = what
    groups = {
        "needed (of the folders one of videos, or that of images)": {
            f"{name} {kinds.get(name, 'PATH')}": told.get(name, what)
            for names, what in NEEDED.items()
            for name in names
        },
        "of this project, and of LLaVA with LLaVA-1.5's values": {f"{name} {kinds[name]}": told[name] for name in own},
        "of LLaVA": LLAVAS,
        "of transformers": TRANSFORMERS,
    }
    parser = Parser(prog=program, usage=usage, description=f"{title}\n\n{VALUES}", epilog=END, add_help=False)
    shown = set()
    for heading, flags in groups.items():
        group = parser.add_argument_group(heading)
        for flag, what in flags.items():
            name, _, kind = flag.partition(" ")
            if name not in shown:
                group.add_argument(f"--{name}", metavar=str(defaults.get(name, kind)), help=what)
                shown.add(name)
    parser.print_help()
