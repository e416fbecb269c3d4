"""Highlight detection: does importance rank the moments that people found good above the others.

- QVHighlights (Lei et al. 2021; jayleicn/moment_detr, standalone_eval): a two-second clip is positive for a person who
  gave it at least 2 (fair), 3 (good) or 4 (very good). mAP is the mean over people of the interpolated average
  precision, HIT@1 whether the clip of the highest importance (of equal ones the first) is positive for anybody.
- Mr. HiSum (Sul et al. 2023; MRHiSum/MR.HiSum, model/utils/evaluate_map.py): importance and the annotators' mean are
  averaged over pieces of five samples, the last of those that are left; the int(N / 2), or int(0.15 N), pieces with the
  highest mean are positive, and the average precision is scikit-learn's. Its samples are a second each.
- F1 at budgets: the top 5, 10, 15, ... 50 % by importance, and the mean over those shares, which is the area under the
  curve in steps of five points. Our choice of shares: published ones differ.

Shapes: B candidates, A annotators, T samples, C clips or pieces.
"""

from __future__ import annotations

import numpy as np

from .keyframes import f1_table, top_fraction
from .metric import IMPORTANCE, Family, Metric, Need
from .v2v_scores import SampledVideo, SampleFamily, Scores

CLIP_SAMPLES = 2  # QVHighlights' clips, of samples a second each
PIECE_SAMPLES = 5  # Mr. HiSum's uniform_clip
GRADES = {"": (4, "very good"), "_good": (3, "good or better"), "_fair": (2, "fair or better")}
BUDGETS = tuple(number / 20 for number in range(1, 11))
SHOWN_BUDGETS = (5, 10, 20, 30)  # percent, with a column of their own


def average_precision(positive: np.ndarray, scores: np.ndarray, interpolated: bool = False) -> float:
    """The average precision of a ranking, equal scores as one step.

    Args:
        positive: bool [C].
        scores: float [C].
        interpolated: as QVHighlights' get_ap: a step counts the highest precision at its recall or above, and every
            step that finds a positive counts alike; else scikit-learn's average_precision_score, whose steps count by
            the recall that they gain.

    Returns:
        0 where nothing is positive; with `interpolated` 1 where everything is.
    """
    if not positive.any():
        return 0.0
    if interpolated and positive.all():
        return 1.0
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of each step
    found = np.cumsum(positive[order])[last]
    precision, gained = found / (last + 1), np.diff(found, prepend=0)
    if interpolated:
        return float(np.maximum.accumulate(precision[::-1])[::-1][gained > 0].mean())
    return float(precision @ gained / positive.sum())


def _highlights(video: SampledVideo) -> Scores:
    """Of videos whose samples people graded."""
    if video.grades is None:
        return {}
    clips = video.grades[:, ::CLIP_SAMPLES]
    importance = video.importance[:, ::CLIP_SAMPLES]
    first = importance.argmax(axis=1)
    scores: Scores = {}
    for suffix, (least, _) in GRADES.items():
        good = clips >= least
        precisions = [[average_precision(person, row, interpolated=True) for person in good] for row in importance]
        scores[f"hl_map{suffix}"] = np.mean(precisions, axis=1)
        scores[f"hl_hit1{suffix}"] = good.any(axis=0)[first].astype(float)
    return scores


def _pieces(rows: np.ndarray) -> np.ndarray:
    """[B, T] -> [B, C]: means of five samples each."""
    starts = np.arange(0, rows.shape[1], PIECE_SAMPLES)
    return np.add.reduceat(rows, starts, axis=1) / np.diff(starts, append=rows.shape[1])


def _map_of_mean(video: SampledVideo) -> Scores:
    if not video.ranking:
        return {}
    wanted = _pieces(np.asarray(video.mean, dtype=float)[None])[0]
    order = np.argsort(-wanted, kind="stable")
    importance = _pieces(video.importance)
    scores: Scores = {}
    for percent in (50, 15):
        positive = np.zeros(len(wanted), dtype=bool)
        positive[order[: len(wanted) * percent // 100]] = True
        if positive.any():
            scores[f"map{percent}"] = np.array([average_precision(positive, row) for row in importance])
    return scores


def _budgets(video: SampledVideo) -> Scores:
    if not video.ranking or not len(video.marks):
        return {}
    at = {share: f1_table(top_fraction(video.importance, share), video.marks).mean(axis=1) for share in BUDGETS}
    shown = {f"f1_top{percent}": at[percent / 100] for percent in SHOWN_BUDGETS}
    return {**shown, "f1_area": np.mean(list(at.values()), axis=0)}


def _metric(name: str, heading: str, about: str, *needs: Need) -> Metric:
    return Metric(name, heading, "V2V", about, (IMPORTANCE, *needs))


_GRADES = Need("needs people's grades of clips, which no annotation has")
_ASKED = Need("left out without --ranking", lambda predictions, settings: not settings.ranking)

HIGHLIGHTS: Family = SampleFamily(
    tuple(
        _metric(f"hl_{key}{suffix}", f"{heading} {grade}", f"{what} {grade}", _GRADES)
        for suffix, (_, grade) in GRADES.items()
        for key, heading, what in (
            ("map", "mAP", "clips by importance, against those graded"),
            ("hit1", "HIT@1", "whether the clip of the highest importance is, to anybody,"),
        )
    ),
    _highlights,
)
PIECES: Family = SampleFamily(
    tuple(
        _metric(f"map{share}", f"mAP{share}", f"top {share} % of pieces of five samples, as Mr. HiSum has it", _ASKED)
        for share in (50, 15)
    ),
    _map_of_mean,
)
AT_BUDGETS: Family = SampleFamily(
    (
        *(
            _metric(f"f1_top{share}", f"F1 top{share}", f"top {share} % by importance, mean over annotators", _ASKED)
            for share in SHOWN_BUDGETS
        ),
        _metric("f1_area", "F1 area", "F1 of the top 5, 10, ... 50 % by importance, their mean", _ASKED),
    ),
    _budgets,
)
