"""QVHighlights' predictions, one a query: `{"qid", "vid", "pred_relevant_windows", "pred_saliency_scores"}`.

JSON lines, or a JSON list (TimeChat). Windows are `[start, end, score]` in seconds, the best first: the first is the
selected part, and moment retrieval is scored by all; one without a score has 0 (TimeChat). Saliency has one number for
each clip of two seconds. A query is what is scored, so its `qid` is the id. Source: jayleicn/moment_detr,
standalone_eval/README.md; RenShuhuai-Andy/TimeChat, metrics/vhd.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...core.arrays import as_numbers
from ...core.checks import json_lines
from ...core.errors import V2XumError
from ...core.readers import checked_list, checked_object, load_list, shown
from ...data.convert.qvhighlights import CLIP_SECONDS
from .format import Format, naming, once
from .predictions import SECONDS, Prediction
from .spans import seconds_of, span_of

_WINDOWS, _SALIENCY = "pred_relevant_windows", "pred_saliency_scores"


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """Each entry and where it stands."""
    if path.suffix.lower() == ".json":
        yield from ((f"{path}: entry {place}", one) for place, one in enumerate(load_list(path, "queries")))
    else:
        yield from ((where, one) for _, where, one in json_lines(path))


def _read(path: Path, num_frames: int | None = None) -> dict[str, Prediction]:
    predictions: dict[str, Prediction] = {}
    for where, entry in _entries(path):
        try:
            entry = checked_object(entry, "qid")
            if isinstance(entry["qid"], bool) or not isinstance(entry["qid"], (str, int)):
                raise V2XumError(f"qid must be text or an integer, got {shown(entry['qid'])}")
            if entry.keys().isdisjoint({_WINDOWS, _SALIENCY}):
                raise V2XumError(f"missing: {_WINDOWS} or {_SALIENCY}")
        except V2XumError as error:
            raise V2XumError(f"{where}: {error}") from error
        query = once(path, str(entry["qid"]), predictions)
        with naming(path, query):
            predictions[query] = _prediction(query, entry)
    if not predictions:
        raise V2XumError(f"{path}: expected one query a line, got an empty file")
    return predictions


def _prediction(query: str, entry: dict[str, Any]) -> Prediction:
    frames = saliency = windows = None
    count = 1
    if _WINDOWS in entry:
        given = [checked_list(_WINDOWS, one) for one in checked_list(_WINDOWS, entry[_WINDOWS])]
        spans = [span_of(_WINDOWS, one) for one in given]
        scores = [one[2] if len(one) > 2 else 0.0 for one in given]
        windows = tuple((*span, score) for span, score in zip(spans, scores))
        window = spans[0]
        # up to its end: the next window begins with that second
        frames = seconds_of([(window[0], max(window[0], math.ceil(window[1]) - 1))])
        count = frames[-1] + 1
    if _SALIENCY in entry:
        saliency = np.repeat(as_numbers(_SALIENCY, entry[_SALIENCY], 1).astype(float), CLIP_SECONDS)
        saliency = np.pad(saliency, (0, max(0, count - len(saliency))))
        count = len(saliency)
    return Prediction(query, count, frames, saliency, clock=SECONDS, windows=windows)


QVHIGHLIGHTS = Format(
    "qvhighlights-predictions",
    "QVHighlights' windows and saliency of each query: JSON lines, or a JSON list",
    _read,
    looks=lambda look: not {_WINDOWS, _SALIENCY}.isdisjoint(look.first),
    sign="the windows or saliency that its first query is predicted",
)
