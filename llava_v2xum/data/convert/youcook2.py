"""YouCook2: `{"database": {ID: {"duration", "subset", "annotations": [{"segment": [start, end], "sentence"}]}}}`.

Source: Zhou et al. 2018, arXiv 1703.09788, youcookii_annotations_trainval.json. A recipe's steps with their seconds;
what an answer cites is the whole step, for nobody marked key spans. The test split has segments alone: its videos, that
have no text, are rejected.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...core.annotations import AnnotatedSentence, Annotation
from ...core.data_sets import DENSE_TABLE, DataSet
from ...core.errors import V2XumError
from ...core.readers import (
    Accepted,
    Reader,
    Rejected,
    SourceError,
    TimeBounds,
    checked_list,
    checked_object,
    described,
    load_object,
)

NAME = "youcook2"


def read(path: Path, tolerance_seconds: float) -> Iterator[Accepted | Rejected]:
    """Read the file; see the module's docstring.

    Raises:
        SourceError: if it is no such file.
    """
    database = dict(load_object(path, "YouCook2's database")).get("database")
    if not isinstance(database, dict) or not database:
        raise SourceError(f"{path}: expected database, an object of videos by id, got {described(database)}")
    for place, (video_id, entry) in enumerate(getattr(database, "pairs", database.items())):
        try:
            yield _annotation(video_id, entry, place, tolerance_seconds)
        except V2XumError as error:
            yield Rejected(video_id, place, str(error))


def _annotation(video_id: str, entry: Any, place: int, tolerance_seconds: float) -> Accepted:
    entry = checked_object(entry, "duration", "annotations")
    bounds = TimeBounds(entry["duration"], tolerance_seconds)
    sentences = []
    for number, step in enumerate(checked_list("annotations", entry["annotations"])):
        step = checked_object(step, "segment", "sentence")
        sentences.append(AnnotatedSentence(step["sentence"], bounds.span(f"annotations[{number}]", step["segment"])))
    annotation = Annotation(video_id, bounds.duration_seconds, NAME, tuple(sentences))
    return Accepted(annotation, place, bounds.moved, tuple(bounds.dropped))


READER = Reader(
    read,
    "YouCook2: youcookii_annotations_trainval.json",
    "Reads YouCook2 (youcookii_annotations_trainval.json), all of its subsets that have sentences. Its segments are a "
    "recipe's steps: BOTH and VIDEO answers cite every index of each step's segment.",
    (("youcookii_annotations_trainval.json --out data --videos val/", "of the videos that the folder has"),),
    looks=lambda look: look.is_json(dict) and isinstance(look.content.get("database"), dict),
    sign="its database",
    endings=(".json",),
    data_set=DataSet(
        "YouCook2: dense captions, captions, segments", "youcookii_annotations_trainval.json", (NAME,), DENSE_TABLE
    ),
)
