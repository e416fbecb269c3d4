"""The N frames with their scores as a table: CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.atomic import replacing
from ...core.errors import V2XumError
from ...core.summary import Summary
from ..file_format import FileFormat
from .cues import summary_of

COLUMNS = ("frame", "second", "importance", "cited", "sentence", "text")


def write_csv(record: dict, frames: np.ndarray, path: Path) -> None:
    """One row a frame; a frame that several sentences cite has a row for each of them."""
    citing: dict[int, list[int]] = {}
    for number, sentence in enumerate(record["sentences"]):
        for frame in dict.fromkeys(sentence["frames"]):
            citing.setdefault(frame, []).append(number)
    with replacing(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for frame, second in enumerate(record["frame_seconds"]):
            importance = "" if record["importance"] is None else record["importance"][frame]
            if frame not in citing:
                table.writerow([frame, second, importance, 0, "", ""])
            for number in citing.get(frame, ()):
                table.writerow([frame, second, importance, 1, number, record["sentences"][number]["text"]])


def read_csv(path: Path, frame_seconds: Sequence[float] | None) -> Summary:
    """The sentences that cite something, with their frames, ascending.

    Raises:
        V2XumError: naming the file, if it is no such table.
    """
    with open(path, encoding="utf-8", newline="") as file:
        try:
            rows = [row for row in csv.DictReader(file) if row["sentence"]]
            cited = sorted((int(row["sentence"]), row["text"], [int(row["frame"])]) for row in rows)
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise V2XumError(f"{path}: expected a table with the columns {', '.join(COLUMNS)} ({error})") from error
    return summary_of(cited)


def _has_scores(record: dict) -> bool:
    return bool(record["frames"]) or record["importance"] is not None


CSV = FileFormat("frames.csv", write_csv, is_of=_has_scores, help="the frames with their scores", read=read_csv)
