"""What a format of prediction files is, what its writer tells, and how it and the reader name a fault."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.data_sets import FileKind
from ...core.errors import V2XumError
from .predictions import Prediction

AUTO = "auto"  # in place of a format's name: what the file looks like
PREDICTIONS, ANNOTATIONS = "predictions", "annotations"  # also the names of this project's own formats


@dataclass(frozen=True)
class Written:
    """What became of the predictions.

    Args:
        count: how many were written.
        of: what is counted, in the plural: "videos" or "sentences".
        left_out: how many the format cannot hold.
        reason: why they were left out, for people; empty where none was.
    """

    count: int
    of: str
    left_out: int = 0
    reason: str = ""

    def __str__(self) -> str:
        told = f"{self.count} {self.of} written"
        return f"{told}, {self.left_out} left out ({self.reason})" if self.left_out else told


@dataclass(frozen=True)
class Format(FileKind):
    """How one format is read and written, besides what `FileKind` says; one that is only exported is not read.

    Args:
        name: on the command line.
        help: one line for people.
        read: (path, num_frames or None) -> predictions by video id, in the order of the file; raises V2XumError naming
            file and video, or SourceError for a file that is of another kind.
        write: (path, predictions) -> what was written, all or nothing; what a format cannot hold is left out and
            counted. Raises V2XumError if it can hold nothing of them, or an id is no name in it.
        made_of: PREDICTIONS, or ANNOTATIONS where those are what `write` is handed.
        writes_folder: whether `write` makes a folder.
    """

    name: str
    help: str
    read: Callable[[Path, int | None], dict[str, Prediction]] | None = None
    write: Callable[[Path, Iterable[Any]], Written] | None = None
    made_of: str = PREDICTIONS
    writes_folder: bool = False


def check_any(kept: Collection, given: int, reason: str) -> None:
    """Check that a format can hold something of what it is given: an empty file is none that anybody reads.

    Raises:
        V2XumError: telling how many were given, and why they are left out.
    """
    if not kept:
        raise V2XumError(f"nothing to write: {given} videos, {reason} in any")


@contextmanager
def naming(path: Path, video_id: str) -> Iterator[None]:
    """Put the file and the video in front of the message of a V2XumError."""
    try:
        yield
    except V2XumError as error:
        raise V2XumError(f"{path}: video {video_id!r}: {error}") from error


def once(path: Path, video_id: str, known: dict) -> str:
    """The id, if no earlier entry of the file has it.

    Raises:
        V2XumError: naming file and video, if one has.
    """
    if video_id in known:
        raise V2XumError(f"{path}: video {video_id!r}: it is there twice")
    return video_id
