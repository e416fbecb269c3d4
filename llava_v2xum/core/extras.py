"""Optional packages, imported where they are used."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from .errors import V2XumError

MODEL = "model"  # of setup.py: torch, transformers, PyAV and all else that the light core does without


class MissingExtra(ImportError):
    """A package of an extra is not installed; the message has the pip command."""


def check_device(device: str | None, extra: str = MODEL) -> None:
    """Check that torch has the device.

    Args:
        device: such as "cuda:1"; None is torch's own choice.
        extra: as in `require`.

    Raises:
        V2XumError: naming it, and saying what torch says.
        MissingExtra: if torch is not installed.
    """
    torch = require("torch", extra)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # an unknown name; no such GPU; built without GPUs
        raise V2XumError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error


def require(module: str, extra: str) -> ModuleType:
    """Import a module of an optional package.

    Args:
        module: its import name, such as `h5py` or `scipy.io`.
        extra: the extra of this project that brings it.

    Raises:
        MissingExtra: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # a module that is missing inside an installed package is another fault, and keeps its own message
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise missing(error, extra) from error


def missing(error: ModuleNotFoundError, extra: str = MODEL) -> MissingExtra:
    """What to raise, or tell, where an import failed for a package of an extra."""
    return _lacking([str(error.name).partition(".")[0]], extra)


def end_without(*modules: str) -> None:
    """End a command with status 2, and one line on stderr, where packages of the extra `model` are not installed.

    It looks before anything is imported, so that the line names all that lack.

    Args:
        modules: import names of packages.
    """
    lacking = [module for module in modules if importlib.util.find_spec(module) is None]
    if lacking:
        print(f"error: {_lacking(lacking, MODEL)}", file=sys.stderr)
        raise SystemExit(2)


def _lacking(packages: list[str], extra: str) -> MissingExtra:
    are = "is" if len(packages) == 1 else "are"
    return MissingExtra(
        f'{", ".join(packages)} {are} needed here and not installed: pip install "llava_v2xum[{extra}]"'
    )
