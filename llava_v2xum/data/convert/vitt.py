"""ViTT: JSON lines `{"id", "annotations": [{"timestamp": 260, "tag": "Opening"}, ...]}`, one an annotator's video.

A tag's section starts at its time stamp, in milliseconds, and ends where the next one starts; of the last section the
file does not tell the end, nor does it tell a video's length. A video comes as often as people annotated it. Tags are
taken as published, while Huang et al. 2020 (arXiv 2011.11760) put them in lower case and bring the most frequent to one
wording. Source: google-research-datasets/Video-Timeline-Tags-ViTT, ViTT-annotations.json, which is JSON lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ...core.annotations import AnnotatedSentence, Annotation
from ...core.checks import is_number
from ...core.data_sets import DENSE_TABLE, TEXT_TABLE, DataSet, FirstLook
from ...core.errors import V2XumError
from ...core.readers import Accepted, Reader, Rejected, checked_list, checked_object, id_of, load_lines, shown

NAME = "vitt"


def read(path: Path, tolerance_seconds: float) -> Iterator[Accepted | Rejected]:
    """Read the file; see the module's docstring.

    Raises:
        SourceError: if it is no such file.
    """
    for place, entry in enumerate(load_lines(path, "ViTT's annotations")):
        try:
            yield _annotation(entry, place)
        except V2XumError as error:
            yield Rejected(id_of(entry, "id"), place, str(error))


def _annotation(entry: Any, place: int) -> Accepted:
    entry = checked_object(entry, "id", "annotations")
    sections = [checked_object(one, "timestamp", "tag") for one in checked_list("annotations", entry["annotations"])]
    starts = [one["timestamp"] for one in sections]
    for number, start in enumerate(starts):
        if not is_number(start) or start < 0 or (number and start < starts[number - 1]):
            raise V2XumError(f"annotations[{number}]: timestamp must be milliseconds from 0 on that ascend, got "
                f"{shown(start)}")  # fmt: skip
    ends = zip_longest(sections, starts[1:])
    sentences = tuple(
        AnnotatedSentence(one["tag"], None if end is None else (one["timestamp"] / 1000, end / 1000))
        for one, end in ends
    )
    dropped = (f"annotations[{len(sections) - 1}] is the last section, whose end is not told",)
    return Accepted(Annotation(entry["id"], None, NAME, sentences), place, dropped=dropped)


def _looks(look: FirstLook) -> bool:
    content = look.content if look.ending in (".json", ".jsonl") and isinstance(look.content, dict) else {}
    tags = content.get("annotations")
    first = tags[0] if isinstance(tags, list) and tags else None
    return isinstance(first, dict) and first.keys() >= {"timestamp", "tag"}


READER = Reader(
    read,
    "ViTT: ViTT-annotations.json",
    "Reads ViTT (ViTT-annotations.json, JSON lines): tags of sections, which begin at their time stamps. It tells no "
    "length of a video, so that the last section has no end.",
    (("ViTT-annotations.json --out data", "the annotation form, for the evaluators: each video's first annotator"),),
    trains=False,
    several=True,
    looks=_looks,
    sign="the timestamp and tag of its annotations",
    endings=(".json",),
    data_set=DataSet(
        "ViTT: dense captions and captions, of all annotators",
        "ViTT-annotations.json",
        (NAME,),
        (*TEXT_TABLE, *DENSE_TABLE[-3:]),
    ),
)
