"""What a file holds, predictions or annotations, and in which format: by its ending, and by its first entry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.arrays import open_hdf5
from ...core.checks import json_lines
from ...core.data_sets import HDF5, JSON_LINES, FileKind, FirstLook
from ...core.errors import V2XumError
from ...core.readers import SourceError, described, load_json
from .format import ANNOTATIONS, PREDICTIONS
from .format_registry import ANNOTATION_FORMATS, PREDICTION_FORMATS

Found = tuple[str, str]  # PREDICTIONS or ANNOTATIONS, and the format
_KINDS: dict[str, Mapping[str, FileKind]] = {PREDICTIONS: PREDICTION_FORMATS, ANNOTATIONS: ANNOTATION_FORMATS}


def holds(path: Path) -> Found | None:
    """What a file holds; None where that is not clear.

    Raises:
        V2XumError: naming the file, if it cannot be read as the JSON lines, JSON or HDF5 that it is named as.
        OSError: if it cannot be read.
        MissingExtra: if it is HDF5 and h5py is not installed.
    """
    try:
        look = FirstLook(path, _content(path))
    except SourceError as error:
        raise V2XumError(str(error)) from error
    kinds = ((what, name, one) for what, formats in _KINDS.items() for name, one in formats.items())
    return next(((what, name) for what, name, one in kinds if one.looks(look)), None)


def format_of(path: Path, what: str) -> str:
    """The format of a file that must hold predictions, or annotations.

    Args:
        what: `PREDICTIONS` or `ANNOTATIONS`.

    Raises:
        V2XumError: naming the file and what it holds, if that is the other of the two, or not clear.
        OSError, MissingExtra: as `holds`.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such {what[:-1]} file")
    found, formats = holds(path), _KINDS[what]
    if found is None and path.is_file():  # where an ending has one format, its reader says what is wrong
        ending = [name for name, one in formats.items() if path.suffix.lower() in one.endings]
        if len(ending) == 1:
            return ending[0]
    if found is None:
        raise V2XumError(f"{path}: expected {what}, got {_shown(path, what)}; if it has one of these formats, say "
            f"which with --{what[:-1]}-format: {', '.join(formats)}")  # fmt: skip
    if found[0] != what:
        raise V2XumError(f"{path}: expected {what}, got {found[0]} ({found[1]})")
    return found[1]


def _content(path: Path) -> Any:
    """Of a file of these endings what `FirstLook` has of its content."""
    ending = "/" if path.is_dir() else path.suffix.lower()
    if ending in JSON_LINES:
        return next(json_lines(path), (0, "", None))[2] if ending == ".jsonl" else _first_line(path)
    if ending == ".json":
        try:
            return load_json(path)
        except SourceError:
            first = _first_line(path)
            if not isinstance(first, dict):
                raise
            return first
    if ending not in HDF5:
        return None
    with open_hdf5(path) as file:
        return {name: frozenset(item) if hasattr(item, "items") else None for name, item in file.items()}


def _first_line(path: Path) -> Any:
    """Of a file that may be JSON lines under another name the first; None where it is no JSON."""
    try:
        return next(json_lines(path), (0, "", None))[2]
    except V2XumError:
        return None


def _shown(path: Path, what: str) -> str:
    """What an unclear file is, for people."""
    if path.is_dir():
        return "a folder without " + " or ".join(one.folder_of for one in _KINDS[what].values() if one.folder_of)
    if path.suffix.lower() == ".json":
        content = load_json(path)
        return "empty JSON" if content in ([], {}) else f"JSON that is {described(content)}"
    return f"a file named {path.suffix or 'without an ending'}"
