"""Moment retrieval: do a query's predicted windows find the windows that people marked.

QVHighlights (Lei et al. 2021, arXiv 2107.09609), as jayleicn/moment_detr, standalone_eval/eval.py computes it:

- mAP: of the first ten windows, by their scores, each finds the marked window that it overlaps most of those that no
  earlier one found, if their IoU reaches the threshold; the average precision is interpolated; the mean over the
  thresholds 0.5, 0.55, ... 0.95, and over queries.
- mAP of short, middle and long windows: up to 10, 30 and 150 s; a query's marked windows of other lengths do not count,
  and a query without any of the length is left out.
- R1: whether the first window's IoU with the marked one that it fits best reaches 0.5, or 0.7.

Shapes: P predicted windows, G marked ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .metric import WINDOWS, Family, Metric, Need

THRESHOLDS = tuple(number / 100 for number in range(50, 100, 5))
MOST_WINDOWS = 10  # of a query
LENGTHS = {"short": (0, 10), "middle": (10, 30), "long": (30, 150)}  # seconds, above the first, up to the second


def ious(windows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The intersection over union of every two windows, [P, G] of [P, 2] and [G, 2]; of two empty ones 0."""
    starts = np.maximum(windows[:, None, 0], others[None, :, 0])
    ends = np.minimum(windows[:, None, 1], others[None, :, 1])
    shared = np.clip(ends - starts, 0, None)
    lengths = np.diff(windows)[:, 0][:, None] + np.diff(others)[:, 0][None] - shared
    return np.divide(shared, lengths, out=np.zeros_like(shared), where=lengths > 0)


def moment_precisions(predicted: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """The interpolated average precision at each of `THRESHOLDS`, float [10].

    Args:
        predicted: [P, 3] start, end and score; the first ten count. P may be 0.
        marked: [G, 2], at least one.
    """
    first = predicted[:MOST_WINDOWS]
    if not len(first):
        return np.zeros(len(THRESHOLDS))
    first = first[np.argsort(-first[:, 2], kind="stable")]
    overlap = ious(first[:, :2], marked)
    return np.array([_precision(overlap, threshold) for threshold in THRESHOLDS])


def _precision(overlap: np.ndarray, threshold: float) -> float:
    """The average precision at a threshold; rows of the IoUs are in the order of the scores."""
    left = overlap.copy()
    found = np.zeros(len(overlap), dtype=bool)
    for place, row in enumerate(left):
        best = len(row) - 1 - int(row[::-1].argmax())  # of equal ones the last
        if row[best] >= threshold:
            found[place] = True
            left[:, best] = -1
    hits = np.cumsum(found)
    precision = hits / np.arange(1, len(found) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(highest[found].sum() / overlap.shape[1])


def first_iou(predicted: np.ndarray, marked: np.ndarray) -> float:
    """The IoU of the first window with the marked one that it fits best; 0 without a window.

    The union is the span from the first start to the last end, as in the script: it is one where the two overlap, and
    a window that reaches the threshold exactly is not lost by rounding in another way.
    """
    if not len(predicted):
        return 0.0
    start, end = predicted[0, :2]
    best = marked[int(ious(predicted[:1, :2], marked)[0].argmax())]
    shared, span = max(0.0, min(end, best[1]) - max(start, best[0])), max(end, best[1]) - min(start, best[0])
    return float(shared / span) if span > 0 else 0.0


def of_length(marked: np.ndarray, length: str) -> np.ndarray:
    """The marked windows of a length of `LENGTHS`."""
    above, most = LENGTHS[length]
    lengths = marked[:, 1] - marked[:, 0]
    return marked[(above < lengths) & (lengths <= most)]


@dataclass(frozen=True)
class MomentFamily(Family):
    """Metrics of moment retrieval.

    Args:
        score: (predicted [P, 3], marked [G, 2]) -> a query's figures; those without anything to find are left out.
    """

    score: Callable[[np.ndarray, np.ndarray], dict[str, float]]


def _score(predicted: np.ndarray, marked: np.ndarray) -> dict[str, float]:
    precisions = moment_precisions(predicted, marked)
    best = first_iou(predicted, marked)
    figures = {"mr_r1_50": float(best >= 0.5), "mr_r1_70": float(best >= 0.7), "mr_map": float(precisions.mean())}
    figures |= {f"mr_map_{share}": float(precisions[THRESHOLDS.index(share / 100)]) for share in (50, 75)}
    for length in LENGTHS:
        some = of_length(marked, length)
        if len(some):
            figures[f"mr_map_{length}"] = float(moment_precisions(predicted, some).mean())
    return figures


_MARKED = Need("needs windows that people marked for a query, which no annotation has")


def _metric(name: str, heading: str, about: str) -> Metric:
    return Metric(name, heading, "V2V", about, (WINDOWS, _MARKED))


MOMENTS = MomentFamily(
    (
        _metric("mr_r1_50", "R1@0.5", "whether the first window's IoU with a marked one reaches 0.5"),
        _metric("mr_r1_70", "R1@0.7", "whether it reaches 0.7"),
        _metric("mr_map", "MR-mAP", "windows by score, against marked ones, mean over IoUs from 0.5 to 0.95"),
        _metric("mr_map_50", "MR-mAP@0.5", "the same at an IoU of 0.5"),
        _metric("mr_map_75", "MR-mAP@0.75", "the same at an IoU of 0.75"),
        *(
            _metric(f"mr_map_{name}", f"MR-mAP {name}", f"of marked windows above {above} and up to {most} s")
            for name, (above, most) in LENGTHS.items()
        ),
    ),
    _score,
)
