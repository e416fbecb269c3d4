"""LVSum: long videos, each with several people's time-stamped summaries, scored 0 to 3 segment by segment.

A JSON list with one entry an annotator's video, `{"video_id", "annotator_id", "summary_timestamps": [{"start_time":
145419, "end_time": 154086, "start_timestamp": "00:02:25", "end_timestamp": "00:02:34", "score": 3.0, "description":
text}, ...]}`: times in milliseconds, or where these are missing the time stamps. Each annotator selected the seconds
floor(start) up to ceil(end), and found each as important as its segment's score, of overlapping segments the later.
Descriptions are the annotator's sentences; those of further annotators are alternatives.

The file does not tell how long a video is: predictions do. Here a video is as long as its last annotated second, and
`lengthened` makes it as long as a prediction says. Source: Patel et al. 2026, arXiv 2604.10024;
apple-aiml-research/ml-lvsum-video-summarization, annotations/lvsum_72_dataset.json and utils/eval_utils.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.annotations import AnnotatedSentence, Annotation
from ...core.checks import is_number
from ...core.data_sets import DataSet
from ...core.errors import V2XumError
from ...core.readers import Accepted, Reader, Rejected, checked_list, checked_object, id_of, load_list, shown

NAME = "lvsum"
SEGMENTS = "summary_timestamps"
SCORES = (0, 3)  # the least and the most important
_STAMP = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2})")

Segment = tuple[float, float, float, str]  # start and end in seconds, score, description


def read(path: Path, tolerance_seconds: float) -> Iterator[Accepted | Rejected]:
    """Read the file; see the module's docstring.

    Raises:
        SourceError: if it is no such file.
    """
    videos: dict[str, list[tuple[int, Any]]] = {}
    for place, entry in enumerate(load_list(path, "LVSum's annotations")):
        video_id = id_of(entry, "video_id")
        if video_id is None:
            yield Rejected(None, place, "expected a video_id that is text")
            continue
        videos.setdefault(video_id, []).append((place, entry))
    for video_id, entries in videos.items():
        place = entries[0][0]
        try:
            yield _accepted(video_id, entries)
        except V2XumError as error:
            yield Rejected(video_id, place, str(error))


def _accepted(video_id: str, entries: Sequence[tuple[int, Any]]) -> Accepted:
    dropped: list[str] = []
    people: list[list[Segment]] = []
    names: set[str] = set()
    for place, entry in entries:
        entry = checked_object(entry, "annotator_id", SEGMENTS)
        if entry["annotator_id"] in names:
            raise V2XumError(f"entry {place}: the annotator {shown(entry['annotator_id'])} is there twice")
        names.add(entry["annotator_id"])
        given = checked_list(f"entry {place}: {SEGMENTS}", entry[SEGMENTS])
        found = []
        for number, one in enumerate(given):
            start, end, score, text = segment_of(f"entry {place}: {SEGMENTS}[{number}]", one, milliseconds=True)
            if end < start:
                dropped.append(f"entry {place}: {SEGMENTS}[{number}] ends before it starts: {[start, end]}")
            else:
                found.append((start, end, score, text))
        people.append(found)
    ends = [end for found in people for _, end, _, _ in found]
    if not ends:
        raise V2XumError("none of its segments can be read")
    count = max(math.ceil(max(ends)), 1)
    rows = [rows_of(found, count) for found in people]
    texts = [[AnnotatedSentence(text, (start, end)) for start, end, _, text in found if text] for found in people]
    texts = [some for some in texts if some]
    annotation = Annotation(
        video_id,
        float(count),
        NAME,
        tuple(texts[0]) if texts else (),
        sampled_frames=count,
        selections=tuple(tuple(selected) for selected, _ in rows),
        saliency=tuple(tuple(scores) for _, scores in rows),
        alternatives=tuple(map(tuple, texts[1:])),
    )
    return Accepted(annotation, entries[0][0], dropped=tuple(dropped))


def segment_of(name: str, segment: Any, milliseconds: bool = False) -> Segment:
    """A segment of an annotation, or of a prediction; its end may lie before its start.

    Args:
        milliseconds: whether times are milliseconds, and time stamps may stand in their place; else they are seconds or
            time stamps.

    Raises:
        V2XumError: naming it, and what is wrong.
    """
    segment = checked_object(segment, "score", "description")
    times = []
    for which in ("start", "end"):
        value = segment.get(f"{which}_time")
        value = segment.get(f"{which}_timestamp") if value is None and milliseconds else value
        stamp = _STAMP.fullmatch(value.strip()) if isinstance(value, str) else None
        if stamp:
            times.append(float(int(stamp[1] or 0) * 3600 + int(stamp[2]) * 60 + int(stamp[3])))
        elif is_number(value) and value >= 0:
            times.append(value / 1000 if milliseconds else float(value))
        else:
            unit = "milliseconds" if milliseconds else "seconds"
            raise V2XumError(f"{name}: {which}_time must be {unit} or a time stamp HH:MM:SS, got {shown(value)}")
    score, text = segment["score"], segment["description"]
    if not is_number(score) or not SCORES[0] <= score <= SCORES[1]:
        raise V2XumError(f"{name}: score must be a number from {SCORES[0]} to {SCORES[1]}, got {shown(score)}")
    if not isinstance(text, str):
        raise V2XumError(f"{name}: description must be text, got {shown(text)}")
    return times[0], times[1], float(score), text.strip()


def rows_of(segments: Sequence[Segment], count: int) -> tuple[list[int], list[float]]:
    """Which of so many seconds segments select, floor(start) up to ceil(end), and each second's score.

    The scores are whole numbers, as the published script has them.
    """
    selected, scores = [0] * count, [0.0] * count
    for start, end, score, _ in segments:
        for second in range(min(math.floor(start), count), min(math.ceil(end), count)):
            selected[second], scores[second] = 1, float(int(score))
    return selected, scores


def lengthened(annotation: Annotation, duration_seconds: float) -> Annotation:
    """An LVSum annotation of a video that is so long, and no shorter than what was annotated of it."""
    rows, saliency = annotation.selections or (), annotation.saliency or ()
    more = math.ceil(duration_seconds) - len(rows[0]) if rows else 0
    if more <= 0:
        return annotation
    return replace(
        annotation,
        duration_seconds=float(math.ceil(duration_seconds)),
        sampled_frames=math.ceil(duration_seconds),
        selections=tuple((*row, *[0] * more) for row in rows),
        saliency=tuple((*row, *[0.0] * more) for row in saliency),
    )


READER = Reader(
    read,
    "LVSum: lvsum_72_dataset.json",
    "Reads LVSum (annotations/lvsum_72_dataset.json): several people's time-stamped summaries of long videos.",
    (("lvsum_72_dataset.json --out data", "the annotation form, for the evaluators"),),
    trains=False,
    looks=lambda look: look.is_json(list, "video_id", "annotator_id", SEGMENTS),
    sign=f"the annotator_id and {SEGMENTS} of its first entry",
    endings=(".json",),
    data_set=DataSet(
        "LVSum: time-stamped summaries of long videos",
        "lvsum_72_dataset.json",
        (NAME,),
        (
            *("f1", "f1_max", "kendall_per_annotator", "spearman_per_annotator", "rouge_l", "dense_f1"),
            *("judged_relevance", "judged_coherence"),
        ),
        examples="""examples:
  ... lvsum --predictions qwen3vl_predictions.json --annotations lvsum_72_dataset.json
  ... lvsum --predictions qwen3vl_predictions.json --annotations lvsum_72_dataset.json --dense \\
      --judge http://localhost:8000/v1 --judge-model Qwen/Qwen2.5-7B-Instruct
      relevance and modality coherence too, by a model behind an endpoint
""",
    ),
)
