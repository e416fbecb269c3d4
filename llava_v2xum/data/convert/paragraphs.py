"""Paragraphs: `{ID: "all sentences of the video as one text", ...}`.

What the `_para.json` files of ActivityNet Captions and YouCook2 hold, which paragraph captioning is scored against.
Source: jayleicn/recurrent-transformer, densevid_eval/para-evaluate.py. They tell no time: text alone can be scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...core.annotations import AnnotatedSentence, Annotation
from ...core.data_sets import TEXT_TABLE, DataSet
from ...core.errors import V2XumError
from ...core.readers import Accepted, Reader, Rejected, load_object

NAME = "paragraphs"


def read(path: Path, tolerance_seconds: float) -> Iterator[Accepted | Rejected]:
    """Read the file; see the module's docstring.

    Raises:
        SourceError: if it is no such file.
    """
    for place, (video_id, text) in enumerate(load_object(path, "paragraphs by video id")):
        try:
            yield Accepted(Annotation(video_id, None, NAME, (AnnotatedSentence(text),)), place)
        except V2XumError as error:
            yield Rejected(video_id, place, str(error))


READER = Reader(
    read,
    "paragraphs by video id, such as val_1_para.json",
    "Reads paragraphs by video id, {ID: text}, such as the _para.json files of ActivityNet Captions and YouCook2. They "
    "tell no time and no length of a video.",
    (("val_1_para.json --out data", "the annotation form, for the evaluators"),),
    trains=False,
    looks=lambda look: look.is_json(dict) and all(isinstance(text, str) for text in look.content.values()),
    sign="a text for every id",
    endings=(".json",),
    data_set=DataSet("paragraphs: captions alone", "val_1_para.json", (NAME,), TEXT_TABLE),
)
