"""Optional packages, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import V2XumError


class MissingExtra(ImportError):
    """A package of an extra is not installed; the message has the pip command."""


def check_device(device: str | None, extra: str) -> None:
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
        raise MissingExtra(
            f'{module.partition(".")[0]} is needed here and not installed: pip install "llava_v2xum[{extra}]"'
        ) from error
