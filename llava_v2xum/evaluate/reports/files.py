"""What the files of reports share: JSON with null for NaN, CSV, and files that are there whole or not at all."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.atomic import replacing, write_whole
from ...core.errors import V2XumError

FORMAT = 1  # of report.json and published.json


def or_null(value: Any) -> Any:
    """The value as JSON has it: null for a number that is none; NumPy's floats are Python's."""
    if not isinstance(value, float):
        return value
    return float(value) if math.isfinite(value) else None


def as_json(record: Any) -> str:
    """The text of a JSON file.

    Raises:
        ValueError, TypeError: if JSON cannot hold the record.
    """
    return json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def write_texts(folder: str | os.PathLike[str], texts: Mapping[str, str]) -> list[Path]:
    """Write text files into a folder, which is made if it is missing; returns their paths.

    Raises:
        OSError: if a file cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_whole(folder / name, text)
    return [folder / name for name in texts]


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    """Write a table; returns its path.

    Raises:
        OSError: if it cannot be written.
    """
    with replacing(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)
    return path


def read_record(path: Path, what: str) -> dict[str, Any]:
    """The JSON object of a file whose `format` is FORMAT.

    Raises:
        V2XumError: naming the file and what it should be, if it is none.
        OSError: if it cannot be read.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise V2XumError(f"{path}: expected a JSON file ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise V2XumError(f"{path}: expected {what} with format {FORMAT}")
    return record
