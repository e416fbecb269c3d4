"""What a file holds, predictions or annotations, and in which format: by its ending, and by its first entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.arrays import open_hdf5
from ...core.checks import json_lines
from ...core.data_sets import HDF5, JSON_LINES, FileKind, FirstLook
from ...core.errors import V2XumError
from ...core.readers import SourceError, described, load_json
from .data_sets import DATA_SETS
from .format import ANNOTATIONS, PREDICTIONS
from .format_registry import ANNOTATION_FORMATS, PREDICTION_FORMATS
from .other_files import OTHER_FILES

Found = tuple[str, str]  # PREDICTIONS or ANNOTATIONS, and the format
_KINDS: dict[str, Mapping[str, FileKind]] = {PREDICTIONS: PREDICTION_FORMATS, ANNOTATIONS: ANNOTATION_FORMATS}


@dataclass(frozen=True)
class Seen:
    """What a file was seen to be.

    Args:
        what: for people, such as "annotations (videoxum)".
        sign: by what it was seen; may be empty.
        taken_by: the commands that take it, after `python -m llava_v2xum.`.
    """

    what: str
    sign: str
    taken_by: tuple[str, ...]

    def __str__(self) -> str:
        told = f"{self.what}, by {self.sign}" if self.sign else self.what
        return f"{told}; it is taken by {', '.join(self.taken_by)}"


def holds(path: Path) -> Found | None:
    """What a file holds; None where that is not clear.

    Raises:
        V2XumError: naming the file, if it cannot be read as the JSON lines, JSON or HDF5 that it is named as.
        OSError: if it cannot be read.
        MissingExtra: if it is HDF5 and h5py is not installed.
    """
    look = _look(path)
    kinds = ((what, name, one) for what, formats in _KINDS.items() for name, one in formats.items())
    return next(((what, name) for what, name, one in kinds if one.looks(look)), None)


def seen(path: Path) -> Seen | None:
    """What a file is, by what that is seen, and which commands take it; None where that is not clear.

    Raises:
        V2XumError, OSError, MissingExtra: as `holds`.
    """
    found = holds(path)
    if found is not None:
        what, name = found
        return Seen(f"{what} ({name})", _KINDS[what][name].sign, taken_by(what, name))
    look = _look(path)
    return next((Seen(one.what, one.sign, one.taken_by) for one in OTHER_FILES if one.looks(look)), None)


def taken_by(what: str, name: str) -> tuple[str, ...]:
    """The commands that take a format of predictions or annotations, after `python -m llava_v2xum.`."""
    if what == PREDICTIONS:
        return ("evaluate DATASET --predictions", "evaluate compare", "evaluate export")
    if name == ANNOTATIONS:
        return ("evaluate DATASET --annotations", "evaluate export")
    scored = [f"evaluate {key} --annotations" for key, one in DATA_SETS.items() if name in one.formats]
    return (*scored, f"convert {name}")


def format_of(path: Path, what: str) -> str:
    """The format of a file that must hold predictions, or annotations.

    Args:
        what: `PREDICTIONS` or `ANNOTATIONS`.

    Raises:
        V2XumError: naming the file and what it holds, if that is the other of the two, something else, or not clear.
        OSError, MissingExtra: as `holds`.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such {what[:-1]} file")
    found, formats = holds(path), _KINDS[what]
    if found is not None and found[0] == what:
        return found[1]
    if other := seen(path):
        raise V2XumError(f"{path}: expected {what}, got {other}")
    ending = [name for name, one in formats.items() if path.is_file() and path.suffix.lower() in one.endings]
    if len(ending) == 1:  # where an ending has one format, its reader says what is wrong
        return ending[0]
    raise V2XumError(f"{path}: expected {what}, got {_shown(path, what)}; if it has one of these formats, say "
        f"which with --{what[:-1]}-format: {', '.join(formats)}")  # fmt: skip


def _look(path: Path) -> FirstLook:
    try:
        return FirstLook(path, _content(path))
    except SourceError as error:
        raise V2XumError(str(error)) from error


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
