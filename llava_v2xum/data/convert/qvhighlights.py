"""QVHighlights: JSON lines of queries, each with its windows and three people's saliency of two-second clips.

`{"qid", "query", "duration", "vid", "relevant_windows": [[0, 16]], "relevant_clip_ids": [0, ...], "saliency_scores":
[[4, 1, 1], ...]}`. Saliency is of the relevant clips, 0 (very bad) to 4 (very good); every other clip has 0. A query
is what is scored: its `qid` is the id, so predictions are by query. The seconds of the relevant clips are selected, and
the relevant windows are the key spans, which moment retrieval is scored by. The
test split as first released lacks all three, and its queries are rejected. Source: Lei et al. 2021, arXiv 2107.09609;
jayleicn/moment_detr, data/README.md and standalone_eval/eval.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...core.annotations import Annotation
from ...core.arrays import as_integers, as_numbers
from ...core.checks import is_number
from ...core.data_sets import DataSet
from ...core.errors import V2XumError
from ...core.readers import Accepted, Reader, Rejected, checked_object, load_lines, shown

NAME = "qvhighlights"
CLIP_SECONDS = 2
_KEYS = ("qid", "duration", "relevant_clip_ids", "saliency_scores")


def read(path: Path, tolerance_seconds: float) -> Iterator[Accepted | Rejected]:
    """Read the file; see the module's docstring.

    Raises:
        SourceError: if it is no such file.
    """
    for place, entry in enumerate(load_lines(path, "QVHighlights' queries")):
        try:
            yield Accepted(_annotation(entry), place)
        except V2XumError as error:
            query = entry.get("qid")
            yield Rejected(None if query is None else str(query), place, str(error))


def _annotation(entry: Any) -> Annotation:
    entry = checked_object(entry, *_KEYS)
    if isinstance(entry["qid"], bool) or not isinstance(entry["qid"], (str, int)):
        raise V2XumError(f"qid must be text or an integer, got {shown(entry['qid'])}")
    duration = entry["duration"]
    if not is_number(duration) or duration < CLIP_SECONDS:
        raise V2XumError(f"duration must be {CLIP_SECONDS} seconds or more, got {shown(duration)}")
    clips = int(duration / CLIP_SECONDS)
    relevant = as_integers("relevant_clip_ids", entry["relevant_clip_ids"], 1)
    scores = as_numbers("saliency_scores", entry["saliency_scores"], 2)
    if len(scores) != len(relevant):
        raise V2XumError(f"saliency_scores must have one row for each of {len(relevant)} clips, got {len(scores)}")
    if not 0 <= min(relevant) <= max(relevant) < clips:
        raise V2XumError(f"relevant_clip_ids must lie in 0..{clips - 1}, got {min(relevant)}..{max(relevant)}")
    saliency, selected = np.zeros((scores.shape[1], clips)), np.zeros(clips, dtype=int)
    saliency[:, relevant], selected[relevant] = scores.T, 1
    given = enumerate(entry.get("relevant_windows") or ())
    windows = tuple(_window(f"relevant_windows[{n}]", one, duration) for n, one in given)
    return Annotation(
        str(entry["qid"]),
        duration,
        NAME,
        sampled_frames=clips * CLIP_SECONDS,
        key_spans=(windows,) if windows else (),
        selections=(tuple(np.repeat(selected, CLIP_SECONDS).tolist()),),
        saliency=tuple(map(tuple, np.repeat(saliency, CLIP_SECONDS, axis=1).tolist())),
    )


def _window(name: str, span: Any, duration: float) -> tuple[float, float]:
    if not isinstance(span, list) or len(span) != 2 or not all(map(is_number, span)) or not 0 <= span[0] <= span[1]:
        raise V2XumError(f"{name} must be [start, end] in seconds with 0 <= start <= end, got {shown(span)}")
    if span[1] > duration:
        raise V2XumError(f"{name} ends at {span[1]} s, behind the video's {duration} s")
    return float(span[0]), float(span[1])


READER = Reader(
    read,
    "QVHighlights: highlight_train_release.jsonl, highlight_val_release.jsonl",
    "Reads QVHighlights (highlight_val_release.jsonl): of each query the seconds of its relevant clips, and three "
    "people's saliency.",
    (("highlight_val_release.jsonl --out data", "the annotation form, for the evaluators"),),
    trains=False,
    looks=lambda look: look.record.keys() >= {"qid", "vid", "duration"} and "pred_saliency_scores" not in look.record,
    sign="the qid, vid and duration of its first line",
    data_set=DataSet(
        "QVHighlights: highlights and moments of queries",
        "highlight_val_release.jsonl",
        (NAME,),
        ("f1", "mr_r1_50", "mr_r1_70", "mr_map", "hl_map", "hl_hit1"),
        examples="""examples:
  ... qvhighlights --predictions hl_val_submission.jsonl --annotations highlight_val_release.jsonl
""",
    ),
)
