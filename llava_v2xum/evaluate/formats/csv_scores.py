"""Importance scores in CSV: one file of all videos, or a folder of `ID.csv`.

The first line names the columns, in any order: one of `score` and `importance`; which moment it is of, one of `sample`,
`frame` and `second`, counted from 0 without gaps; and in a file of several videos `video_id`. What the moment is named
says what an index stands for: the annotation's sample, a frame of TVSum's or SumMe's video, a second. Without such a
column, or without a first line of names, scores are of samples in their order. Further columns are not read.

Nobody publishes a form of this: the names are ours.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...core.errors import V2XumError
from ...core.readers import shown
from .format import Format, naming
from .other_files import REPORT_JSON
from .predictions import SAMPLES, SECONDS, VIDEO_FRAMES, Prediction

_SCORES, _ID = ("score", "importance"), "video_id"
_CLOCKS = {"sample": SAMPLES, "frame": VIDEO_FRAMES, "second": SECONDS}


def _read(path: Path, num_frames: int | None = None) -> dict[str, Prediction]:
    if not path.is_dir():
        return _videos(path, None)
    files = sorted(file for file in path.glob("*.csv") if not file.name.startswith("."))
    if not files:
        raise V2XumError(f"{path}: expected a folder of .csv files, one a video")
    return {one: prediction for file in files for one, prediction in _videos(file, file.stem).items()}


def _videos(file: Path, name: str | None) -> dict[str, Prediction]:
    """The predictions of a file; of a folder's its one, by the file's name."""
    rows = list(_rows(file))
    places = _columns(file, rows, name)
    scores: dict[str, list[float]] = {}
    for number, row in rows:
        if len(row) <= max(places.values()):
            raise V2XumError(f"{file}:{number}: expected {max(places.values()) + 1} cells, got {len(row)}")
        cells = {column: row[place].strip() for column, place in places.items()}
        found = scores.setdefault(cells.get(_ID, name or ""), [])
        for column in cells.keys() & _CLOCKS.keys():
            if _number(cells[column]) != len(found):
                raise V2XumError(f"{file}:{number}: expected {column} {len(found)}, for they are counted from 0 "
                    f"without gaps, got {shown(cells[column])}")  # fmt: skip
        value = _number(cells["score"])
        if value is None or not np.isfinite(value):
            raise V2XumError(f"{file}:{number}: the score must be a finite number, got {shown(cells['score'])}")
        found.append(value)
    clock = next((_CLOCKS[column] for column in places if column in _CLOCKS), SAMPLES)
    predictions = {}
    for video_id, values in scores.items():
        with naming(file, video_id):
            predictions[video_id] = Prediction(video_id, len(values), importance=np.array(values), clock=clock)
    return predictions


def _columns(file: Path, rows: list[tuple[int, list[str]]], name: str | None) -> dict[str, int]:
    """Where the columns stand that are read; a first line that names them is taken from the rows."""
    if name is not None and rows and len(rows[0][1]) == 1 and _number(rows[0][1][0]) is not None:
        return {"score": 0}
    head = [cell.strip().lower() for cell in rows.pop(0)[1]] if rows else []
    places = {one: head.index(one) for one in (*_SCORES, *_CLOCKS, *([_ID] if name is None else [])) if one in head}
    values = [one for one in _SCORES if one in places]
    if not rows or len(values) != 1 or len(places.keys() & _CLOCKS.keys()) > 1 or (name is None and _ID not in places):
        wanted = f"one of {', '.join(_SCORES)}, at most one of {', '.join(_CLOCKS)}" + f", {_ID}" * (name is None)
        raise V2XumError(f"{file}: expected a line that names the columns ({wanted}) and one for each score, got "
            f"{shown(', '.join(head)) if head else 'an empty file'}")  # fmt: skip
    return {"score" if one in _SCORES else one: place for one, place in places.items()}


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not blank, with their numbers."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines)
            yield from ((reader.line_num, row) for row in reader if any(cell.strip() for cell in row))
    except (UnicodeDecodeError, csv.Error) as error:
        raise V2XumError(f"{file}: expected CSV in UTF-8 ({error})") from error


def _number(cell: str) -> float | None:
    """The cell's number; None where it has none."""
    try:
        return float(cell)
    except ValueError:
        return None


CSV_SCORES = Format(
    "scores-csv",
    "importance in CSV: a file with video_id, score and one of sample, frame, second; or a folder of ID.csv",
    _read,
    looks=lambda look: look.ending == ".csv" or (look.has_files("*.csv") and not look.has_files(REPORT_JSON)),
    sign="the ending .csv, its own or of files in it",
    endings=(".csv",),
    folder_of="ID.csv files",
)
