"""Packages that load a public name when it is first used, because the module it lies in takes seconds to import."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from .extras import missing


def names_of(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The package's `__getattr__`.

    Args:
        package: its `__name__`.
        homes: for each public name the package's module that it lies in.

    Returns:
        It raises MissingExtra, with the pip command, for a name whose module wants what is not installed.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(importlib.import_module(f".{homes[name]}", package), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == package.partition(".")[0]:
                raise
            raise missing(error) from error

    return __getattr__
