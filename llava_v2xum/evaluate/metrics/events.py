"""Events in time: how well predicted segments find the annotated ones, and the alignment of SODA.

Shapes: V videos, P predicted and R annotated events of a video, U tIoUs, B sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...core.errors import V2XumError
from .measures import Measure
from .metric import TEXT, Family, Metric

TIOUS = (0.3, 0.5, 0.7, 0.9)  # of ActivityNet's dense-captioning challenge
_EPSILON = 1e-8  # in the published evaluators; it keeps an IoU of exactly 0.5 below 0.5


@dataclass(frozen=True)
class Event:
    """One sentence and the part of the video that it tells of.

    Raises:
        V2XumError: unless 0 <= start_seconds <= end_seconds.
    """

    start_seconds: float
    end_seconds: float
    text: str

    def __post_init__(self) -> None:
        if not 0 <= self.start_seconds <= self.end_seconds < float("inf"):
            raise V2XumError(f"expected 0 <= start <= end in seconds, got {self.start_seconds} and {self.end_seconds}")


def temporal_iou(predicted: Sequence[Event], references: Sequence[Event]) -> np.ndarray:
    """The intersection over union of segments in time; the formula of ActivityNet's evaluator and of SODA's.

    A moment (start = end) overlaps nothing, itself included.

    Returns:
        float [P, R], in 0..1.
    """
    start, end = _bounds(predicted)[:, :, None]
    other_start, other_end = _bounds(references)[:, None, :]
    shared = np.maximum(0.0, np.minimum(end, other_end) - np.maximum(start, other_start))
    return shared / (end - start + other_end - other_start - shared + _EPSILON)


def detection(iou: np.ndarray, tiou: float) -> tuple[float, float]:
    """Precision and recall of the predicted segments: shares of them, and of the annotated ones, in a pair above tIoU.

    Args:
        iou: float [P, R], R > 0.

    Returns:
        (precision, recall); both 0 without a predicted event.
    """
    found = iou > tiou
    return (float(found.any(axis=1).mean()), float(found.any(axis=0).mean())) if len(iou) else (0.0, 0.0)


def soda_alignment(gains: np.ndarray) -> float:
    """The largest sum of gains over alignments that keep the time order (Fujita et al. 2020, eq. 3).

    Every event is aligned with at most one of the other side, and no two pairs cross.

    Args:
        gains: float [P, R], at least 0; both sides in time order.
    """
    best = np.zeros(gains.shape[1] + 1)
    for row in gains:
        taken = np.maximum(best[1:], best[:-1] + row)
        best = np.maximum.accumulate(np.concatenate([[0.0], taken]))
    return float(best[-1])


def detection_measures(
    ious: Sequence[np.ndarray], tious: Sequence[float] = TIOUS, cuts: Sequence[Sequence[int]] | None = None
) -> list[Measure]:
    """Precision, recall and F1 of the segments of V videos: means over the tIoUs, then at each.

    F1 is that of the mean precision and the mean recall over videos, as the evaluator has it, so it comes with
    statistics; precision and recall are means.

    Args:
        ious: [V] of float [P, R]; a video with R = 0 has nothing to score and is NaN.
        cuts: [V][any], where the next person's events begin among the R; the best precision counts and the best recall,
            as in densevid_eval's evaluate_detection. None: all are one person's.

    Returns:
        dense_precision, dense_recall, dense_f1, and the three at each tIoU, such as `dense_f1@0.5`.
    """
    there = np.array([iou.shape[1] > 0 for iou in ious], bool)
    nothing = [(0.0, 0.0)] * len(tious)
    people = [np.split(iou, some, axis=1) for iou, some in zip(ious, cuts or [()] * len(ious))]
    scores = [
        [_best_detection(some, tiou) for tiou in tious] if known else nothing for some, known in zip(people, there)
    ]
    precision, recall = np.moveaxis(np.array(scores).reshape(len(ious), len(tious), 2), 2, 0)  # [V, U] each
    measures = _detection_measures("", precision, recall, there)
    for place, tiou in enumerate(tious):
        measures += _detection_measures(f"@{tiou:g}", precision[:, [place]], recall[:, [place]], there)
    return measures


def _best_detection(ious: Sequence[np.ndarray], tiou: float) -> tuple[float, ...]:
    """Precision and recall, each of the person whom the predictions fit best."""
    return tuple(map(max, zip(*(detection(iou, tiou) for iou in ious if iou.shape[1]))))


def _detection_measures(suffix: str, precision: np.ndarray, recall: np.ndarray, there: np.ndarray) -> list[Measure]:
    rows = np.concatenate([precision, recall, np.ones((len(there), 1))], axis=1)
    values = [np.where(there, scores, np.nan) for scores in (precision.mean(1), recall.mean(1), _mean_f1(rows))]
    return [
        Measure("dense_precision" + suffix, values[0]),
        Measure("dense_recall" + suffix, values[1]),
        Measure("dense_f1" + suffix, values[2], rows * there[:, None], _mean_f1),
    ]


def _mean_f1(sums: np.ndarray) -> np.ndarray:
    """The mean over tIoUs of F1, of sums [B, 2 U + 1] of precisions, recalls and how many videos; NaN for no video."""
    videos = sums[:, -1:]
    means = np.divide(sums[:, :-1], videos, out=np.zeros_like(sums[:, :-1]), where=videos > 0)
    precision, recall = np.split(means, 2, axis=1)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return np.where(videos[:, 0] > 0, f1.mean(axis=1), np.nan)


def _bounds(events: Sequence[Event]) -> np.ndarray:
    """float [2, any]: starts and ends."""
    return np.array([[event.start_seconds, event.end_seconds] for event in events], float).reshape(-1, 2).T



def _metric(name: str, heading: str, about: str) -> Metric:
    return Metric(f"dense_{name}", f"dense {heading}", "V2T", about, (TEXT,))


DETECTION = Family(
    (
        _metric("precision", "P", "predicted events that overlap an annotated one, mean over tIoUs"),
        _metric("recall", "R", "annotated events that a predicted one overlaps, mean over tIoUs"),
        _metric("f1", "F1", "of dense precision and recall"),
    )
)
