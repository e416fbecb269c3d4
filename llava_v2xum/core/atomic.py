"""Files that are there whole or not at all, and lines."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DiskFullError(OSError):
    """A file does not fit on its folder's disk; the message names the folder, and the space that is free and needed."""


@contextmanager
def disk_full_told(path: Path, size: int | None = None) -> Iterator[None]:
    """Tell of a full disk as such, while a file is written.

    Args:
        path: the file.
        size: in bytes, all that is to be written; None: what could be written is less than that.

    Raises:
        DiskFullError: for an error of the system that says so.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        written = path.stat().st_size if size is None and path.exists() else 0
        free = shutil.disk_usage(path.parent).free + written
        needs = f"more than {for_people(written)} are needed" if size is None else f"{for_people(size)} are needed"
        raise DiskFullError(
            f"{path.parent}: the disk is full: {needs} for the next file, and {for_people(free)} are free"
        ) from error


def for_people(size: float) -> str:
    """Bytes in the unit that suits."""
    if size < 1000:
        return f"{size:.0f} bytes"
    power = min(int(math.log10(size)) // 3, 4)
    return f"{size / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a hidden name in the same folder to write to, and put the file in place only when all of it is written.

    After an error nothing is left; what a kill leaves has a fixed name, so that the next try replaces it.

    Raises:
        DiskFullError: if there is no space for it.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        with disk_full_told(unfinished):
            yield unfinished
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Add a line to a file; it is on disk when this returns, and after an error nothing of it is.

    Raises:
        DiskFullError: if there is no space for it.
    """
    path, left = Path(path), line.encode() + b"\n"
    with disk_full_told(path, len(left)), open(path, "ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
            raise


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
