"""The picture of a quality score before and after: overlaid histograms, as the paper's figures 4 and 5."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...core.extras import require

BINS = 25  # of 0..1
_BEFORE, _AFTER = "#e08a2e", "#1a5fb4"


def draw_quality(title: str, before: np.ndarray, after: np.ndarray | None, path: str | Path) -> None:
    """Draw how the summaries' scores are spread, with their means marked, as PNG.

    Args:
        title: what was scored, and by what.
        before: float [V] in 0..1; NaN is no summary.
        after: the same of the refined summaries, or None: then one histogram is drawn.

    Raises:
        MissingExtra: if matplotlib is missing.
    """
    require("matplotlib", "metrics")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)  # the Agg object API: pyplot would keep state for the whole process
    axes = figure.add_subplot()
    edges = np.linspace(0, 1, BINS + 1)
    drawn = [("before", before, _BEFORE)] + ([("after", after, _AFTER)] if after is not None else [])
    for name, scores, colour in drawn:
        scores = scores[np.isfinite(scores)]
        if not len(scores):
            continue
        share = np.histogram(scores, edges)[0] / len(scores)
        label = f"{name if after is not None else 'summaries'}: {len(scores):,}, mean {scores.mean():.3f}"
        axes.stairs(share, edges, fill=True, color=colour, alpha=0.4)
        axes.stairs(share, edges, color=colour, lw=1.2)
        axes.axvline(scores.mean(), color=colour, lw=1.8, ls="--", label=label)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.set_xlabel("score of a summary")
    axes.set_ylabel("share of the summaries")
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", frameon=False, fontsize=9)
    figure.savefig(path, format="png")
