"""Files that are there whole or not at all, and lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a hidden name in the same folder to write to, and put the file in place only when all of it is written.

    After an error nothing is left; what a kill leaves has a fixed name, so that the next try replaces it.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Add a line to a file; it is on disk when this returns."""
    with open(path, "ab") as file:
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def cut_torn_line(path: str | os.PathLike[str]) -> bool:
    """Take off what a kill left half written at the end of a file of lines to which nobody else writes.

    Returns:
        whether there was any.
    """
    data = Path(path).read_bytes() if os.path.exists(path) else b""
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    return whole < len(data)
