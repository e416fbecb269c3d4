"""What a file holds, predictions or annotations, and in which format: by its ending, and by its first entry."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...core.arrays import open_hdf5
from ...core.checks import json_lines
from ...core.errors import V2XumError
from ...core.readers import SourceError, described, load_json
from .prediction_records import OF_FRAMES
from .predictions import SUMMARIES

PREDICTIONS, ANNOTATIONS = "predictions", "annotations"  # also the names of this project's own formats
Found = tuple[str, str]  # PREDICTIONS or ANNOTATIONS, and the format

_HDF5 = (".h5", ".hdf5")
_FOLDERS = {
    PREDICTIONS: f"a folder without {SUMMARIES} or ID.npy files",
    ANNOTATIONS: "a folder without .mat files",
}


def holds(path: Path) -> Found | None:
    """What a file holds; None where that is not clear.

    Raises:
        V2XumError: naming the file, if it cannot be read as the JSON lines, JSON or HDF5 that it is named as.
        OSError: if it cannot be read.
        MissingExtra: if it is HDF5 and h5py is not installed.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        return _in_folder(path)
    if suffix == ".jsonl":
        return _in_lines(path)
    try:
        if suffix == ".json":
            return _in_json(load_json(path))
        if suffix in _HDF5:
            return _in_hdf5(path)
    except SourceError as error:
        raise V2XumError(str(error)) from error
    return (ANNOTATIONS, "tvsum") if suffix in (".tsv", ".mat") else None


def format_of(path: Path, what: str, names: Iterable[str], option: str) -> str:
    """The format of a file that must hold predictions, or annotations.

    Args:
        what: `PREDICTIONS` or `ANNOTATIONS`.
        names: the formats that there are, and
        option: what names one on the command line, for the message.

    Raises:
        V2XumError: naming the file and what it holds, if that is the other of the two, or not clear.
        OSError, MissingExtra: as `holds`.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such {what[:-1]} file")
    found = holds(path)
    if found is None and path.is_file():  # of these endings there is one format, and its reader says what is wrong
        if path.suffix.lower() == ".jsonl":
            return what
        if path.suffix.lower() in _HDF5:
            return {PREDICTIONS: "scores-h5", ANNOTATIONS: "eccv16"}[what]
    if found is None:
        raise V2XumError(f"{path}: expected {what}, got {_shown(path, what)}; if it has one of these formats, say "
            f"which with {option}: {', '.join(names)}")  # fmt: skip
    if found[0] != what:
        raise V2XumError(f"{path}: expected {what}, got {found[0]} ({found[1]})")
    return found[1]


def _in_folder(path: Path) -> Found | None:
    if (path / SUMMARIES).exists():
        return PREDICTIONS, PREDICTIONS
    if any(path.glob("*.npy")):
        return PREDICTIONS, "scores-npy"
    return (ANNOTATIONS, "summe") if any(path.glob("*.mat")) else None


def _in_lines(path: Path) -> Found | None:
    _, _, record = next(json_lines(path), (0, "", None))
    if not isinstance(record, dict):
        return None
    if {"duration_seconds", "source"} <= record.keys():
        return ANNOTATIONS, ANNOTATIONS
    return (PREDICTIONS, PREDICTIONS) if record.keys() & {"num_frames", "answer", *OF_FRAMES} else None


def _in_json(content: Any) -> Found | None:
    """By the keys of the first entry."""
    entries = list(content.values()) if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        return None
    keys = entries[0].keys() if isinstance(entries[0], dict) else set()
    if isinstance(content, dict):
        if {"timestamps", "sentences"} <= keys:
            return ANNOTATIONS, "activitynet-captions"
        if isinstance(content.get("results"), dict):
            return PREDICTIONS, "dense-captions"
        return (PREDICTIONS, "scores-json") if all(isinstance(scores, list) for scores in entries) else None
    if {"tsum", "vsum"} <= keys:
        return ANNOTATIONS, "videoxum"
    if {"id", "meta", "conversations"} <= keys:
        return ANNOTATIONS, "instruct-v2xum"
    return (PREDICTIONS, "coco-captions") if {"image_id", "caption"} <= keys else None


def _in_hdf5(path: Path) -> Found | None:
    """By what the videos have; a group without either may be a damaged one of both."""
    with open_hdf5(path) as file:
        items = list(file.values())
        if any(hasattr(one, "items") and "picks" in one for one in items):
            return ANNOTATIONS, "eccv16"
        scored = any(not hasattr(one, "items") or "score" in one for one in items)
        return (PREDICTIONS, "scores-h5") if scored else None


def _shown(path: Path, what: str) -> str:
    """What an unclear file is, for people."""
    if path.is_dir():
        return _FOLDERS[what]
    if path.suffix.lower() == ".json":
        content = load_json(path)
        return "empty JSON" if content in ([], {}) else f"JSON that is {described(content)}"
    return f"a file named {path.suffix or 'without an ending'}"
