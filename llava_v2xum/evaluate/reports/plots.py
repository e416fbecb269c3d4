"""Pictures of a report: how the videos' scores are spread, and importance against annotators on single videos.

Shapes: V videos, A annotators, T samples of one video.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.atomic import replacing
from ...core.errors import V2XumError
from ...core.extras import require
from ..metric_registry import ordered_metrics
from ..metrics.metric import Metric
from .report import main_metrics
from .scores import Report

SYSTEM, ANNOTATORS, SELECTED = "#1a5fb4", "#f6b26b", "#c64600"  # the first two as in a summary's importance plot
# random lies over uniform, dotted, because the two often agree
BASELINES = {"uniform": ("#2a9d8f", "-"), "random": ("#30343a", ":"), "human": ("#c64600", "--")}
BINS = 30
MOST_VIDEOS = 12  # more small pictures than that are no longer read


@dataclass(frozen=True)
class VideoCurve:
    """One video for `plot_videos`.

    Args:
        video_id: the title.
        annotators: bool or 0/1 [A, T], what each annotator selected; or their importance, 0..1.
        importance: float [T], the system's importance mapped to the samples; None where it gives none.
        selected: bool [T], the samples that the system selected; None where it selects none.
        label: the rest of the title, such as `F1 41.2, Spearman 0.310`.

    Raises:
        V2XumError: if the numbers of samples do not agree.
    """

    video_id: str
    annotators: np.ndarray
    importance: np.ndarray | None = None
    selected: np.ndarray | None = None
    label: str = ""

    def __post_init__(self) -> None:
        annotators = np.asarray(self.annotators, dtype=float)
        if annotators.ndim != 2 or not annotators.shape[1]:
            raise V2XumError(f"{self.video_id}: expected annotators [A, T], got an array of shape {annotators.shape}")
        object.__setattr__(self, "annotators", annotators)
        for name in ("importance", "selected"):
            values = getattr(self, name)
            if values is not None and np.shape(values) != annotators.shape[1:]:
                raise V2XumError(
                    f"{self.video_id}: expected {name} of {annotators.shape[1]} samples, got {np.shape(values)}"
                )


def plot_scores(report: Report, path: str | os.PathLike[str]) -> Path:
    """Draw how many videos score what, one histogram for each measure of the data set's table, as PNG.

    Each has lines at the system's figure and at those of the baselines. Where the system has none of the table's
    measures, all that it has are drawn.

    Args:
        report: with the system's values on each video.
        path: the PNG; there whole or not at all.

    Returns:
        The path.

    Raises:
        V2XumError: if no measure has a value on any video.
        MissingExtra: if matplotlib is missing; it gives the pip command.
    """
    valued = {key for key, values in report.per_video.items() if np.isfinite(values).any()}
    if not valued:
        raise V2XumError(f"{report.system}: no measure has a value on any video; there is nothing to draw")
    metrics = [one for one in main_metrics(report) if one.name in valued] or ordered_metrics(valued)
    wide = min(4, len(metrics))
    high = math.ceil(len(metrics) / wide)
    figure, axes = _figure((max(4.6, 3.1 * wide + 0.3), 2.5 * high + 0.9), high, wide)
    for axis, shown in zip(axes, metrics):
        _histogram(axis, report, shown)
    for row in range(high):
        axes[row * wide].set_ylabel("videos")
    _title(figure, f"{report.system} on {report.dataset}: scores of {len(report.video_ids)} videos")
    _legend(figure, axes[: len(metrics)])
    _save(figure, path)
    return Path(path)


def plot_videos(curves: Sequence[VideoCurve], path: str | os.PathLike[str], title: str = "") -> Path:
    """Draw importance against annotators, a small picture a video, as PNG.

    The area is the share of annotators that selected a sample, the line the system's importance, scaled so that its
    highest value reaches the top (only its order is scored), and the marks below are the samples that it selected.

    Args:
        curves: MOST_VIDEOS at most, in the order of the pictures.
        path: the PNG; there whole or not at all.
        title: over all of them.

    Returns:
        The path.

    Raises:
        V2XumError: if there are none, or more than MOST_VIDEOS.
        MissingExtra: if matplotlib is missing; it gives the pip command.
    """
    if not 0 < len(curves) <= MOST_VIDEOS:
        raise V2XumError(f"expected 1 to {MOST_VIDEOS} videos to draw, got {len(curves)}")
    wide = min(2, len(curves))
    high = math.ceil(len(curves) / wide)
    figure, axes = _figure((6.0 * wide + 0.4, 1.9 * high + 1.0), high, wide)
    for axis, curve in zip(axes, curves):
        _curve(axis, curve)
    for axis in axes[max(0, len(curves) - wide) : len(curves)]:
        axis.set_xlabel("sample")
    if title:
        _title(figure, title)
    _legend(figure, axes[: len(curves)])
    _save(figure, path)
    return Path(path)


def _figure(size: tuple[float, float], high: int, wide: int) -> tuple[Any, list[Any]]:
    """A figure and its axes, row by row, by the Agg object API: pyplot would keep state for the whole process."""
    require("matplotlib", "metrics")
    figure = require("matplotlib.figure", "metrics").Figure(figsize=size, dpi=120, layout="constrained")
    require("matplotlib.backends.backend_agg", "metrics").FigureCanvasAgg(figure)
    axes = list(figure.subplots(high, wide, squeeze=False).flat)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return figure, axes


def _histogram(axis: Any, report: Report, shown: Metric) -> None:
    values = np.array(report.per_video[shown.name]) * shown.scale
    values = values[np.isfinite(values)]
    scores = {row: report.score(row, shown.name) for row in ("system", *BASELINES)}
    lines = {row: score.value * shown.scale for row, score in scores.items() if score and math.isfinite(score.value)}
    ends = [0.0, *values, *lines.values()]
    if min(ends) == 0 and max(ends) > shown.scale / 2:
        ends.append(shown.scale)  # the whole range of a fraction, where that leaves the bars room
    edges = np.linspace(min(ends), max(max(ends), min(ends) + 1e-6), BINS + 1)
    axis.hist(values, edges, color=SYSTEM, alpha=0.45, label=f"videos of {report.system}")
    if "system" in lines:
        axis.axvline(lines["system"], color=SYSTEM, lw=1.8, label=f"over all videos of {report.system}")
    for row, (colour, dashes) in BASELINES.items():
        if row in lines:
            axis.axvline(lines[row], color=colour, ls=dashes, lw=1.6, label=row)
    figure = scores["system"].value if scores["system"] else None
    axis.set_title(f"{shown.heading}  {shown.text(figure)}", fontsize=10, parse_math=False)
    axis.set_xlim(edges[0], edges[-1])


def _curve(axis: Any, curve: VideoCurve) -> None:
    share = curve.annotators.mean(axis=0)
    edges = np.arange(len(share) + 1) - 0.5
    people = len(curve.annotators)
    axis.stairs(share, edges, fill=True, color=ANNOTATORS, alpha=0.6, label="annotators that selected it (share)")
    if curve.importance is not None:
        importance = np.asarray(curve.importance, dtype=float)
        bottom, top = np.nanmin(importance, initial=0.0), np.nanmax(importance, initial=0.0)
        scaled = (importance - bottom) / (top - bottom) if top > bottom else importance
        axis.plot(scaled, color=SYSTEM, lw=1.3, label="importance (scaled)")
    if curve.selected is not None:
        heights = np.where(np.asarray(curve.selected, dtype=bool), -0.05, -0.14)
        axis.stairs(heights, edges, baseline=-0.14, fill=True, color=SELECTED, label="selected samples")
    parts = [curve.video_id, curve.label, f"{people} annotator{'s' * (people != 1)}"]
    axis.set_title(", ".join(filter(None, parts)), loc="left", fontsize=9, parse_math=False)
    axis.set_xlim(edges[0], edges[-1])
    axis.set_ylim(-0.18, 1.08)
    axis.set_yticks([0, 0.5, 1])


def _title(figure: Any, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=12, parse_math=False)


def _legend(figure: Any, axes: Sequence[Any]) -> None:
    """One legend for all pictures, and no empty frames behind the last."""
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels()):
            entries.setdefault(label, handle)
    for axis in figure.axes[len(axes) :]:
        axis.set_visible(False)
    columns = max(1, int(figure.get_figwidth() / 2.1))
    legend = figure.legend(
        entries.values(), entries.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )
    for text in legend.get_texts():  # a system's name may hold a dollar
        text.set_parse_math(False)


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        figure.savefig(part, format="png")
