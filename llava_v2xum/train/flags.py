"""The flags of training: those that it needs, what was given, and what can be known to be wrong with it."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.errors import V2XumError
from .options import NEEDED

_FILES = ("data_path", "pretrain_mm_mlp_adapter")
_FOLDERS = ("feature_folder", "video_folder")


class UsageError(V2XumError):
    """The command line cannot be run as it stands; its text is all that the user needs to see."""


def given_values(arguments: Sequence[str]) -> dict[str, list[str]]:
    """The values on the command line of the flags that this module looks at; the last use of a flag wins."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    names = [name for names in NEEDED for name in names]
    for name in (*names, "pretrain_mm_mlp_adapter", "lora_enable", "bits", "deepspeed", "bf16", "fp16"):
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
    if all(given.get(name) for name in _FOLDERS):
        raise UsageError(f"{' and '.join(f'--{name}' for name in _FOLDERS)}: give one of them, both came")
    for value in given.get("deepspeed", []):
        if value.endswith(".json") and not Path(value).is_file():  # else transformers takes it for the settings
            raise UsageError(f"--deepspeed: no such file: {value}")
    bits = given.get("bits", ["16"])[-1:]
    if bits in (["4"], ["8"]):
        if importlib.util.find_spec("bitsandbytes") is None:
            raise UsageError(f"--bits {bits[0]} needs bitsandbytes: pip install bitsandbytes")
        if given.get("lora_enable", ["False"]) not in ([], ["True"], ["true"], ["1"]):
            raise UsageError(f"--bits {bits[0]} freezes the decoder's weights: it needs --lora_enable True")


def as_arguments(defaults: Mapping[str, object]) -> list[str]:
    """Defaults as command line arguments; put before the user's, of which the last use of a flag wins."""
    return [word for name, value in defaults.items() for word in (f"--{name}", str(value))]
