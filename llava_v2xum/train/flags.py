"""The flags of training: those that it needs, what was given, and what can be known to be wrong with it."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.errors import V2XumError
from ..features.hub import is_hub_name
from .options import NEEDED

_FILES = ("data_path", "val_data_path")
_OF_VIDEOS = ("feature_folder", "video_folder")
_FOLDERS = (*_OF_VIDEOS, "image_folder")
_FIXED = {  # flags of LLaVA's training that a video cannot follow -> the one value that it can, and why
    "mm_use_im_start_end": ("False", "a video stands without tokens around it"),
    "mm_patch_merge_type": ("flat", "frames are LLaVA-1.5's, in one piece"),
}
_LOOKED_AT = (
    "val_data_path", "pretrain_mm_mlp_adapter", "lora_enable", "bits", "deepspeed", "bf16", "fp16", "report_to",
    "version", "image_aspect_ratio", *_FIXED,
)  # fmt: skip
# what losses are reported to -> the packages of which one must be there; others are transformers' to check
_REPORTERS = {name: (name,) for name in ("wandb", "mlflow", "comet_ml", "clearml", "neptune", "dvclive", "swanlab")} | {
    "tensorboard": ("tensorboard", "tensorboardX")
}


class UsageError(V2XumError):
    """The command line cannot be run as it stands; its text is all that the user needs to see."""


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def given_values(arguments: Sequence[str]) -> dict[str, list[str]]:
    """The values on the command line of the flags that this module looks at; the last use of a flag wins."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    names = [name for names in NEEDED for name in names]
    for name in (*names, *_LOOKED_AT):
        spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        parser.add_argument(*spellings, dest=name, nargs="*", default=argparse.SUPPRESS)
    return vars(parser.parse_known_args(list(arguments))[0])


def check_arguments(arguments: Sequence[str]) -> None:
    """What can be known to be wrong before anything is loaded.

    Raises:
        UsageError: naming the flag that is missing, or the flag and the file or folder that is not there.
    """
    given = given_values(arguments)
    for names, what in NEEDED.items():
        if not any(given.get(name) for name in names):
            others = "".join(f" (or --{name})" for name in names[1:])
            raise UsageError(f"--{names[0]} is needed{others}: {what}")
    for names, exists, kind in ((_FILES, Path.is_file, "file"), (_FOLDERS, Path.is_dir, "folder")):
        for name in names:
            for value in given.get(name, []):
                if not exists(Path(value).expanduser()):
                    raise UsageError(f"--{name}: no such {kind}: {value}")
    for value in given.get("pretrain_mm_mlp_adapter", []):
        if not Path(value).expanduser().exists() and not is_hub_name(value, of_an_owner=True):
            raise UsageError(f"--pretrain_mm_mlp_adapter: no such file: {value}")
    if all(given.get(name) for name in _OF_VIDEOS):
        raise UsageError(f"{' and '.join(f'--{name}' for name in _OF_VIDEOS)}: give one of them, both came")
    for value in given.get("deepspeed", []):
        if value.endswith(".json") and not Path(value).is_file():  # else transformers takes it for the settings
            raise UsageError(f"--deepspeed: no such file: {value}")
    if given.get("deepspeed") and not is_installed("deepspeed"):
        raise UsageError("--deepspeed needs DeepSpeed: pip install deepspeed")
    for name, (only, why) in _FIXED.items():
        value = (given.get(name, [only]) or ["True"])[-1]  # a flag alone says yes
        if value.lower() != only.lower():
            raise UsageError(f"--{name} {value}: {why}; leave the flag out, or give {only}")
    for value in given.get("image_aspect_ratio", []):
        if value not in ("pad", "square"):
            raise UsageError(f"--image_aspect_ratio {value}: frames and images are LLaVA-1.5's, give pad or square")
    for name in given.get("report_to", []):
        packages = _REPORTERS.get(name, ())
        if packages and not any(map(is_installed, packages)):
            raise UsageError(f"--report_to {name} needs the package {packages[0]}: pip install {packages[0]}")
    bits = given.get("bits", ["16"])[-1:]
    if bits in (["4"], ["8"]):
        if not is_installed("bitsandbytes"):
            raise UsageError(f"--bits {bits[0]} needs bitsandbytes: pip install bitsandbytes")
        if given.get("lora_enable", ["False"]) not in ([], ["True"], ["true"], ["1"]):
            raise UsageError(f"--bits {bits[0]} freezes the decoder's weights: it needs --lora_enable True")


def as_arguments(defaults: Mapping[str, object]) -> list[str]:
    """Defaults as command line arguments; put before the user's, of which the last use of a flag wins."""
    return [word for name, value in defaults.items() for word in (f"--{name}", str(value))]
