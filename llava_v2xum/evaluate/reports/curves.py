"""The pictures that a report comes with: the spread of its scores, and its best and worst videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.annotations import Annotation
from ..formats.cases import Case
from ..formats.predictions import Prediction
from ..groups.v2v import annotator_masks, system_at_samples
from ..metric_registry import metric_of
from ..metrics.clocks import second_times
from .plots import VideoCurve, plot_scores, plot_videos
from .report import main_metrics
from .scores import Report

SHOWN = 3  # videos at either end
RANKED_BY = ("spearman", "spearman_per_annotator", "spearman_summary", "f1", "keyshot_f1_avg")  # the table's first


def draw_figures(report: Report, cases: Sequence[Case], folder: Path) -> list[Path]:
    """Draw what the report has figures for; returns the pictures' paths.

    `scores.png` has a histogram for each measure of the table. `best_and_worst.png` has importance and selected frames
    against the annotators, for the videos of the highest and the lowest scores among those that were predicted.
    """
    drawn = []
    if any(np.isfinite(values).any() for values in report.per_video.values()):
        drawn.append(plot_scores(report, folder / "scores.png"))
    shown = [one.name for one in main_metrics(report)]
    ranks = [key for key in RANKED_BY if key in report.per_video]
    key = next((key for key in ranks if key in shown), ranks[0] if ranks else None)
    if key is not None:
        curves = _curves(report, cases, key)
        if curves:
            title = f"{report.system} on {report.dataset}: best and worst videos by {metric_of(key).heading}"
            drawn.append(plot_videos(curves, folder / "best_and_worst.png", title))
    return drawn


def _curves(report: Report, cases: Sequence[Case], key: str) -> list[VideoCurve]:
    values = np.array(report.per_video[key]) * (1 if metric_of(key).higher_is_better else -1)
    predicted = {number: case.prediction for number, case in enumerate(cases) if case.prediction is not None}
    ranked = sorted((number for number in predicted if np.isfinite(values[number])), key=lambda number: -values[number])
    ends = ranked[:SHOWN] + ranked[SHOWN:][-SHOWN:]
    return [_curve(report, number, cases[number].annotation, predicted[number], key) for number in ends]


def _curve(report: Report, number: int, annotation: Annotation, prediction: Prediction, key: str) -> VideoCurve:
    people, times, duration = _samples(annotation)
    importance, selected = system_at_samples(prediction, times, duration, annotation.keyshots is None)
    shown = [one for one in dict.fromkeys((key, "f1", "keyshot_f1_avg")) if one in report.per_video]
    label = ", ".join(f"{metric_of(one).heading} {metric_of(one).text(report.per_video[one][number])}" for one in shown)
    return VideoCurve(annotation.video_id, people, importance, selected, label)


def _samples(annotation: Annotation) -> tuple[np.ndarray, np.ndarray, float]:
    """What annotators selected [A, T] (or how important they found it, 0..1), the samples' times [T], the duration."""
    keyshots = annotation.keyshots
    if keyshots is None:
        people = annotator_masks(annotation)
        return people, second_times(people.shape[1], annotation.known_duration), annotation.known_duration
    times = np.array(keyshots.picks)
    if len(keyshots.user_summaries):
        people = keyshots.user_summary()[:, times]
    else:
        people = np.array(keyshots.scores if keyshots.scores is not None else [keyshots.mean_scores])
        people = people / max(people.max(), 1e-12)
    return people, times.astype(float), keyshots.n_frames
