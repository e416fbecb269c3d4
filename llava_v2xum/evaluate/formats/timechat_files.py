"""TimeChat's dense captions: `{"ID.mp4": [{"timestamp": [start, end], "caption": text}, ...], ...}`, in seconds.

Source: RenShuhuai-Andy/TimeChat, metrics/dvc (example_pred_file.json, eval_dvc.py). Its spans may end before they start
(`[131.5, 128.0]`); the script takes the lesser as the start, and so does this, and tells how many there are. A video
without any is an empty answer.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ...core.checks import check_prose
from ...core.errors import V2XumError
from ...core.readers import checked_list, checked_object, described, load_object
from .format import Format, naming, once
from .predictions import PredictedSentence, Prediction
from .spans import in_seconds, span_of

logger = logging.getLogger(__name__)


def _read(path: Path, num_frames: int | None = None) -> dict[str, Prediction]:
    predictions: dict[str, Prediction] = {}
    turned: list[str] = []
    for video_id, entries in load_object(path, "captions by video"):
        with naming(path, once(path, video_id, predictions)):
            if not isinstance(entries, list):
                raise V2XumError(f"expected a list of captions, got {described(entries)}")
            sentences = []
            for place, entry in enumerate(entries):
                name = f"caption {place}"
                entry = checked_object(entry, "timestamp", "caption")
                span = checked_list(f"{name}: timestamp", entry["timestamp"], 2)
                check_prose(f"{name}: caption", entry["caption"])
                start, end = span_of(f"{name}: timestamp", sorted(span) if _is_turned(span) else span)
                turned += [video_id] * _is_turned(span)
                sentences.append(PredictedSentence(entry["caption"], (), start, end))
            predictions[video_id] = in_seconds(video_id, sentences)
    if turned:
        logger.warning("%s: %d spans end before they start, such as one of %r; taken the other way round, as "
            "TimeChat's script does", path, len(turned), turned[0])  # fmt: skip
    return predictions


def _is_turned(span: list[Any]) -> bool:
    return all(isinstance(one, (int, float)) for one in span) and span[1] < span[0]


def _looks(content: Any) -> bool:
    first = next((entries[0] for entries in content.values() if isinstance(entries, list) and entries), None)
    return isinstance(first, dict) and first.keys() >= {"timestamp", "caption"}


TIMECHAT = Format(
    "timechat",
    "TimeChat's captions with times: {ID: [{timestamp: [start, end], caption}, ...]}",
    _read,
    looks=lambda look: look.is_json(dict) and _looks(look.content),
    sign="the timestamp and caption of its first video",
    endings=(".json",),
)
