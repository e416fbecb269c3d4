"""VTimeLLM's log: JSON lines `{"video_id", "task": "captioning", "query_id", "answer"}`, its other tasks passed over.

An answer is prose around a JSON list `[{"event": text, "timestamps": "from 00 to 29"}, ...]`, whose times are of 100
frames: frame i is from i / 100 to (i + 1) / 100 of the video. So N is 100, the frames of a span are selected, and the
seconds come with the annotation's duration. Successive events that say nearly the same and follow one another are
merged. Source: huangb23/VTimeLLM, vtimellm/eval (log/example_log.txt, metric.py).

An answer without such a list is an empty one, and how many there are is told.
"""

from __future__ import annotations

import difflib
import json
import logging
import re
from pathlib import Path
from typing import Any

from ...core.checks import as_list, check_prose, check_text, json_lines
from ...core.errors import V2XumError
from ...core.readers import checked_object, shown
from .format import Format, once
from .prediction_records import joined
from .predictions import PredictedSentence, Prediction

logger = logging.getLogger(__name__)

_FRAMES = 100
_KEYS = {"video_id", "task", "answer"}
_SAME = 0.98  # of the letters, in metric.py
_LIST = re.compile(r"\[.*\]", re.DOTALL)
_SPAN = re.compile(r"from (\d\d) to (\d\d)")


def _read(path: Path, num_frames: int | None = None) -> dict[str, Prediction]:
    predictions: dict[str, Prediction] = {}
    silent: list[str] = []
    for _, where, record in json_lines(path):
        try:
            record = checked_object(record, *_KEYS)
            if record["task"] != "captioning":
                continue
            check_text("video_id", record["video_id"])
            check_prose("answer", record["answer"])
            events = _events(record["answer"])
        except V2XumError as error:
            raise V2XumError(f"{where}: {error}") from error
        video_id = once(path, record["video_id"], predictions)
        silent += [video_id] * (events is None)
        sentences = _merged(events or [])
        frames = sorted({frame for one in sentences for frame in one.frames})
        text = joined(one.text for one in sentences)
        predictions[video_id] = Prediction(video_id, _FRAMES, tuple(frames), text=text, sentences=tuple(sentences))
    if not predictions:
        raise V2XumError(f"{path}: expected lines of the task captioning, got none")
    if silent:
        logger.warning("%s: %d of %d answers hold no list of events, such as that of %r: empty answers", path,
            len(silent), len(predictions), silent[0])  # fmt: skip
    return predictions


def _events(answer: str) -> list[PredictedSentence] | None:
    """The answer's events; None where it holds no list of them."""
    found = _LIST.search(answer)
    try:
        entries = json.loads(found[0]) if found else None
    except ValueError:
        return None
    return None if entries is None else [_event(n, one) for n, one in enumerate(as_list("events", entries))]


def _event(number: int, entry: Any) -> PredictedSentence:
    entry = checked_object(entry, "event", "timestamps")
    check_prose(f"event {number}", entry["event"])
    span = _SPAN.fullmatch(entry["timestamps"]) if isinstance(entry["timestamps"], str) else None
    if span is None or int(span[1]) > int(span[2]):
        raise V2XumError(f"event {number}: expected timestamps such as 'from 00 to 29', got "
            f"{shown(entry['timestamps'])}")  # fmt: skip
    return PredictedSentence(entry["event"], tuple(range(int(span[1]), int(span[2]) + 1)))


def _merged(events: list[PredictedSentence]) -> list[PredictedSentence]:
    merged: list[PredictedSentence] = []
    for one in events:
        last = merged[-1] if merged else None
        if (
            last is not None
            and abs(one.frames[0] - last.frames[-1]) <= 1
            and difflib.SequenceMatcher(None, last.text, one.text).ratio() > _SAME
        ):
            merged[-1] = PredictedSentence(last.text, tuple(range(last.frames[0], one.frames[-1] + 1)))
        else:
            merged.append(one)
    return merged


VTIMELLM = Format(
    "vtimellm",
    "VTimeLLM's log of the task captioning, JSON lines; times are of 100 frames",
    _read,
    looks=lambda look: look.record.keys() >= {*_KEYS, "query_id"},
    sign="the task, query_id and answer of its first line",
    endings=(".log",),
)
