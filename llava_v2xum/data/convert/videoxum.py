"""VideoXum: ten people's key spans for each sentence of a video.

A JSON list of objects with video_id, duration (s), sampled_frames (T, at 1 FPS), timestamps [S][2] (s), tsum [S] (the
sentences), vsum [S][10][2] (s) and vsum_onehot [10][T]. Source: Lin et al. 2023, arXiv 2303.12060.

`vsum` and `vsum_onehot` are both kept as they are. They may differ by the rounding to whole seconds, so they are not
held against each other; only their shapes must agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...core.annotations import AnnotatedSentence, Annotation
from ...core.data_sets import CROSS_MODAL_TABLE, DataSet, Identity
from ...core.errors import V2XumError
from ...core.readers import Accepted, Reader, Rejected, TimeBounds, checked_list, checked_object, id_of, load_list

NAME = "videoxum"
ANNOTATORS = 10  # VideoXum, section 3; the reader takes any number that is the same throughout a video
_KEYS = ("video_id", "duration", "sampled_frames", "timestamps", "tsum", "vsum", "vsum_onehot")


def read(path: Path, tolerance_seconds: float) -> Iterator[Accepted | Rejected]:
    """Read the file; see the module's docstring.

    Raises:
        SourceError: if it is no such file.
    """
    for place, entry in enumerate(load_list(path, "VideoXum entries")):
        try:
            yield _annotation(entry, place, tolerance_seconds)
        except V2XumError as error:
            yield Rejected(id_of(entry, "video_id"), place, str(error))


def _annotation(entry: Any, place: int, tolerance_seconds: float) -> Accepted:
    entry = checked_object(entry, *_KEYS)
    bounds = TimeBounds(entry["duration"], tolerance_seconds)
    texts = checked_list("tsum", entry["tsum"])
    timestamps = checked_list("timestamps", entry["timestamps"], len(texts))
    marked = checked_list("vsum", entry["vsum"], len(texts))
    people = len(checked_list("vsum_onehot", entry["vsum_onehot"]))
    sentences = []
    for number, (text, segment, spans) in enumerate(zip(texts, timestamps, marked)):
        spans = checked_list(f"vsum[{number}]", spans, people)
        found = [bounds.span(f"vsum[{number}][{person}]", span) for person, span in enumerate(spans)]
        sentences.append(
            AnnotatedSentence(
                text,
                bounds.span(f"timestamps[{number}]", segment),
                tuple(() if span is None else (span,) for span in found),
            )
        )
    annotation = Annotation(
        entry["video_id"],
        bounds.duration_seconds,
        NAME,
        tuple(sentences),
        sampled_frames=entry["sampled_frames"],
        selections=entry["vsum_onehot"],
    )
    return Accepted(annotation, place, bounds.moved, tuple(bounds.dropped))


READER = Reader(
    read,
    "VideoXum: train_videoxum.json, val_videoxum.json, test_videoxum.json",
    "Reads VideoXum (train_videoxum.json, val_videoxum.json, test_videoxum.json). Ten people marked the key spans of "
    "every sentence; --annotators says whose an answer cites.",
    (
        (
            "train_videoxum.json val_videoxum.json --out data",
            "BOTH, VIDEO and TEXT for every video, by the annotator whom the others agree with most",
        ),
        (
            "train_videoxum.json --out data --annotators all --tasks both",
            "ten BOTH entries for every video, one an annotator",
        ),
        (
            "test_videoxum.json --out data --videos ActivityNet/videos",
            "leaves out, and reports, the videos that the folder does not have",
        ),
    ),
    has_annotators=True,
    looks=lambda look: look.is_json(list, "tsum", "vsum"),
    sign="the tsum and vsum of its first entry",
    endings=(".json",),
    data_set=DataSet(
        "VideoXum: F1, correlations, captions, both together",
        "test_videoxum.json",
        (NAME,),
        CROSS_MODAL_TABLE,
        examples="""examples:
  ... videoxum --predictions out/summaries.jsonl --annotations test_videoxum.json --out report
  ... videoxum --predictions video/ text/ --annotations test_videoxum.json
      frames and importance of the one file, the text of the other: one run a task, as the paper has it
  ... videoxum --predictions captions.json --annotations test_videoxum.json
      another system's captions
""",
        identity=Identity((ANNOTATORS, ANNOTATORS)),
    ),
)
