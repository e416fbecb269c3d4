"""ActivityNet Captions: `{"v_ID": {"duration": 82.7, "timestamps": [[start, end], ...], "sentences": [...]}}`.

Source: Krishna et al. 2017, arXiv 1705.00754. Its captions are dense: their segments may overlap and cover most of
the video. Nobody marked key spans, so an answer cites the whole segment of each caption.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...core.annotations import AnnotatedSentence, Annotation
from ...core.data_sets import DENSE_TABLE, DataSet
from ...core.errors import V2XumError
from ...core.readers import Accepted, Reader, Rejected, TimeBounds, checked_list, checked_object, load_object

NAME = "activitynet-captions"


def read(path: Path, tolerance_seconds: float) -> Iterator[Accepted | Rejected]:
    """Read the file; see the module's docstring.

    Raises:
        SourceError: if it is no such file.
    """
    for place, (video_id, entry) in enumerate(load_object(path, "videos by their id")):
        try:
            yield _annotation(video_id, entry, place, tolerance_seconds)
        except V2XumError as error:
            yield Rejected(video_id, place, str(error))


def _annotation(video_id: str, entry: Any, place: int, tolerance_seconds: float) -> Accepted:
    entry = checked_object(entry, "duration", "timestamps", "sentences")
    bounds = TimeBounds(entry["duration"], tolerance_seconds)
    texts = checked_list("sentences", entry["sentences"])
    timestamps = checked_list("timestamps", entry["timestamps"], len(texts))
    sentences = tuple(
        AnnotatedSentence(text, bounds.span(f"timestamps[{number}]", span))
        for number, (text, span) in enumerate(zip(texts, timestamps))
    )
    annotation = Annotation(video_id, bounds.duration_seconds, NAME, sentences)
    return Accepted(annotation, place, bounds.moved, tuple(bounds.dropped))


READER = Reader(
    read,
    "ActivityNet Captions: train.json, val_1.json, val_2.json",
    "Reads ActivityNet Captions (train.json, val_1.json, val_2.json). Its segments describe the whole video rather "
    "than choose from it: BOTH and VIDEO answers cite every index of each caption's segment.",
    (("train.json --out data --tasks text,both", "TEXT, and BOTH that cites the segment of each caption"),),
    looks=lambda look: look.is_json(dict, "timestamps", "sentences"),
    sign="the timestamps and sentences of its first entry",
    endings=(".json",),
    data_set=DataSet(
        "ActivityNet Captions: dense captions, captions, segments",
        "val_1.json",
        (NAME,),
        DENSE_TABLE,
    ),
)
