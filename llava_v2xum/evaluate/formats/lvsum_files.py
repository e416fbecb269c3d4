"""LVSum's predictions: time-stamped segments of each video, with their scores and descriptions.

A JSON list of `{"video_id", "video_length": seconds, "summary_timestamps": [{"start_time", "end_time", "score",
"description"}, ...]}`; a time is seconds or a time stamp "HH:MM:SS". Seconds floor(start) up to ceil(end) are selected,
and their importance is the segment's score, of overlapping segments the later. What begins behind the end is left out,
what ends there is cut, as the published script does, and how many those are is told. The length is the video's, which
annotations do not tell. Source: apple-aiml-research/ml-lvsum-video-summarization, utils/eval_utils.py.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...core.annotations import Annotation
from ...core.checks import is_number
from ...core.errors import V2XumError
from ...core.readers import checked_object, described, load_list, shown
from ...data.convert.lvsum import NAME, SEGMENTS, Segment, lengthened, rows_of, segment_of
from .format import Format, naming, once
from .prediction_records import joined
from .predictions import SECONDS, PredictedSentence, Prediction
from .spans import LONGEST_SECONDS

logger = logging.getLogger(__name__)


def as_long_as(annotations: Iterable[Annotation], predictions: Mapping[str, Prediction]) -> list[Annotation]:
    """The annotations, those of LVSum as long as the predictions say: else seconds behind them would not count."""
    made = []
    for one in annotations:
        prediction = predictions.get(one.video_id) if one.source == NAME else None
        length = None if prediction is None else prediction.duration_seconds
        made.append(one if length is None else lengthened(one, length))
    return made


def _read(path: Path, num_frames: int | None = None) -> dict[str, Prediction]:
    predictions: dict[str, Prediction] = {}
    outside: list[str] = []
    for place, entry in enumerate(load_list(path, "LVSum's predictions")):
        try:
            entry = checked_object(entry, "video_id", "video_length", SEGMENTS)
            if not isinstance(entry["video_id"], str):
                raise V2XumError(f"video_id must be text, got {shown(entry['video_id'])}")
        except V2XumError as error:
            raise V2XumError(f"{path}: entry {place}: {error}") from error
        video_id = once(path, entry["video_id"], predictions)
        with naming(path, video_id):
            predictions[video_id], moved = _prediction(video_id, entry)
            outside += [video_id] * moved
    if outside:
        logger.warning("%s: %d segments reach beyond their video's end, such as one of %r: cut there, or left out",
            path, len(outside), outside[0])  # fmt: skip
    return predictions


def _prediction(video_id: str, entry: dict[str, Any]) -> tuple[Prediction, int]:
    """The prediction, and how many of its segments reach beyond the end."""
    length, given = entry["video_length"], entry[SEGMENTS]
    if not is_number(length) or not 0 < length < LONGEST_SECONDS:
        raise V2XumError(f"video_length must be a positive number of seconds, got {shown(length)}")
    if not isinstance(given, list):
        raise V2XumError(f"{SEGMENTS} must be a list, got {described(given)}")
    count, outside = math.ceil(length), 0
    segments: list[Segment] = []
    for number, one in enumerate(given):
        start, end, score, text = segment_of(f"{SEGMENTS}[{number}]", one)
        if end < start:
            raise V2XumError(f"{SEGMENTS}[{number}] ends before it starts: {[start, end]}")
        outside += end > count
        if math.floor(start) <= count:
            segments.append((start, min(end, float(count)), score, text))
    selected, scores = rows_of(segments, count)
    prediction = Prediction(
        video_id,
        count,
        tuple(np.flatnonzero(selected).tolist()),
        np.array(scores),
        text=joined(text for _, _, _, text in segments),
        sentences=tuple(PredictedSentence(text, (), start, end) for start, end, _, text in segments),
        clock=SECONDS,
        duration_seconds=float(length),
    )
    return prediction, outside


LVSUM = Format(
    "lvsum-predictions",
    "LVSum's time-stamped segments: [{video_id, video_length, summary_timestamps}, ...]",
    _read,
    looks=lambda look: look.is_json(list, "video_id", "video_length", SEGMENTS),
    sign=f"the video_length and {SEGMENTS} of its first entry",
    endings=(".json",),
)
