"""What is known of a data set's files before they are read, and how the data set is scored.

A reader's file says both beside its reader (`readers.Reader`), so that another data set is one file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HDF5 = (".h5", ".hdf5")
JSON_LINES = (".jsonl", ".txt", ".log")  # the last two where their first line is JSON
FRAME_TABLE, TEXT_TABLE = ("f1", "kendall", "spearman", "f_clip"), ("bleu_4", "meteor", "rouge_l", "cider")
DENSE_TABLE = (*FRAME_TABLE, *TEXT_TABLE, "dense_f1", "dense_meteor", "soda_c")
CROSS_MODAL_TABLE = (*FRAME_TABLE, *TEXT_TABLE, "vt_clipscore", "cross_f_clip")


@dataclass(frozen=True)
class FirstLook:
    """What a file or a folder shows at first sight.

    Args:
        path: where it is.
        content: of JSON, all of it; of JSON lines, under another name too, the first; of HDF5, {name: the names in that
            group, or None for a data set}; of anything else None.
    """

    path: Path
    content: Any = None

    @property
    def ending(self) -> str:
        """The file's, in lower case; that of a folder is "/"."""
        return "/" if self.path.is_dir() else self.path.suffix.lower()

    def has_files(self, pattern: str) -> bool:
        """Whether it is a folder with files of such a name."""
        return self.ending == "/" and any(self.path.glob(pattern))

    @property
    def record(self) -> dict[str, Any]:
        """Of JSON lines the first, where it is an object; else empty."""
        return self.content if self.ending in JSON_LINES and isinstance(self.content, dict) else {}

    @property
    def first(self) -> dict[str, Any]:
        """The first entry of a JSON list or of JSON lines, where it is an object; else empty."""
        if self.ending == ".json" and isinstance(self.content, list) and self.content:
            return self.content[0] if isinstance(self.content[0], dict) else {}
        return self.record

    def is_json(self, kind: type[Any], *keys: str) -> bool:
        """Whether it is a JSON list, or object, that is not empty, and whose first entry is an object with the keys."""
        if self.ending != ".json" or not isinstance(self.content, kind) or not self.content:
            return False
        first = next(iter(self.content.values() if kind is dict else self.content))
        return not keys or (isinstance(first, dict) and first.keys() >= set(keys))

    def is_hdf5(self, is_one: Callable[[frozenset[str] | None], bool]) -> bool:
        """Whether it is HDF5 with an item of which the function says so."""
        return self.ending in HDF5 and any(map(is_one, self.content.values()))


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """How the files of a format are told from all others.

    Args:
        looks: whether what is seen is of the format; it is asked about files of every format.
        sign: what that is seen by, for people, such as "the picks of its videos".
        endings: those of its files. One that no other format has tells a damaged file's format, too.
        folder_of: where a source is a folder, what must be in it, such as ".mat files".
    """

    looks: Callable[[FirstLook], bool] = lambda look: False
    sign: str = ""
    endings: tuple[str, ...] = ()
    folder_of: str = ""


@dataclass(frozen=True)
class Identity:
    """What tells a data set's own annotations from those of another.

    Args:
        annotators: of a video, the fewest and the most.
        videos: how many it has; None where it has several parts.
        names: of its videos, as `plain_name` has them, where no other data set has such.
    """

    annotators: tuple[int, int]
    videos: int | None = None
    names: frozenset[str] = frozenset()

    def has(self, annotators: int) -> bool:
        """Whether a video of it may have so many."""
        return self.annotators[0] <= annotators <= self.annotators[1]

    def __str__(self) -> str:
        fewest, most = self.annotators
        people = f"{fewest} annotators" if fewest == most else f"{fewest} to {most} annotators"
        return f"{people} a video" + ("" if self.videos is None else f", {self.videos} videos")


_VIDEO_ENDING = re.compile(r"\.(mp4|avi|mkv|webm|mov|m4v|mpe?g|flv|wmv|ts|3gp)$", re.IGNORECASE)


def plain_name(name: str) -> str:
    """A video's name without what people write in several ways: blanks and underscores, a file's ending, `v_`."""
    return re.sub(r"[\s_]+", "_", _VIDEO_ENDING.sub("", name.strip())).removeprefix("v_")


@dataclass(frozen=True)
class DataSet:
    """How a data set is scored; its command bears its name.

    Args:
        help: one line for people.
        annotations: what `--annotations` takes, for people.
        formats: those of the readers that it takes, besides annotation JSON lines.
        table: the metrics of its main table, in the order V2V, V2T, V2VT.
        keyshots: whether it is scored in segments of original frames (TVSum, SumMe) instead of frames at 1 FPS.
        examples: for `--help`; `...` stands for the program.
        identity: what tells its annotations from others; None where nothing does.
    """

    help: str
    annotations: str
    formats: tuple[str, ...]
    table: tuple[str, ...]
    keyshots: bool = False
    examples: str = ""
    identity: Identity | None = None
