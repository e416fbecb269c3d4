"""The picture of a data card: how the videos, their summaries and the compression are spread (paper, figure 2).

Shapes: V videos.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import V2XumError
from ...core.extras import require

COLOUR, MEAN, PAPER = "#1a5fb4", "#30343a", "#c64600"
MOST_BINS = 30

_PANELS = {  # quantity: title, axis, in whole numbers, scale
    "duration_seconds": ("Source duration", "seconds", False, 1),
    "key_frames": ("Video summary", "key frames", True, 1),
    "text_tokens": ("Text summary", "words and punctuation marks", True, 1),
    "compression": ("Compression ratio", "key frames of sampled frames, %", False, 100),
}


def draw_figure2(values: Mapping[str, Sequence[float]], paper: Mapping[str, float], path: str | Path) -> None:
    """Draw a histogram of each quantity, with its mean and the paper's, as PNG; the same values give the same bytes.

    Args:
        values: [V] of each: duration_seconds, key_frames, text_tokens, compression (a fraction).
        paper: its mean of each.
        path: the file.

    Raises:
        V2XumError: if there is no video.
        MissingExtra: if matplotlib is missing; it gives the pip command.
    """
    count = len(values["duration_seconds"])
    if not count:
        raise V2XumError("there is no video to draw")
    figure = require("matplotlib.figure", "curate").Figure(figsize=(9, 6), dpi=120, layout="constrained")
    # the Agg object API: pyplot would keep state for the whole process
    require("matplotlib.backends.backend_agg", "curate").FigureCanvasAgg(figure)
    for axis, (name, panel) in zip(figure.subplots(2, 2).flat, _PANELS.items()):
        _histogram(axis, np.array(values[name], dtype=float) * panel[3], paper[name] * panel[3], *panel[:3])
    figure.suptitle(f"{count:,} video{'s' * (count != 1)}", x=0.01, ha="left", fontsize=12)
    figure.savefig(path, format="png", metadata={"Software": None})


def bin_edges(values: np.ndarray, whole: bool) -> np.ndarray:
    """The edges of at most MOST_BINS bins, more for more videos; float64 [bins + 1].

    Args:
        values: float [V].
        whole: that they are whole numbers: each bin then holds equally many of them.
    """
    low, high = float(values.min()), float(values.max())
    bins = max(5, min(MOST_BINS, math.ceil(2 * math.sqrt(len(values)))))
    if whole:
        width = max(1, math.ceil((high - low + 1) / bins))
        return low - 0.5 + width * np.arange(math.ceil((high - low + 1) / width) + 1)
    if high - low < 1e-9 * max(1.0, abs(high)):
        return np.array([low - 0.5, low + 0.5])
    return np.linspace(low, high, bins + 1)


def _histogram(axis: Any, values: np.ndarray, paper: float, title: str, unit: str, whole: bool) -> None:
    axis.hist(values, bin_edges(values, whole), color=COLOUR, alpha=0.5, edgecolor="white", linewidth=0.5)
    axis.axvline(values.mean(), color=MEAN, lw=1.8, label=f"mean {_three_digits(values.mean())}")
    axis.axvline(paper, color=PAPER, lw=1.6, ls="--", label=f"paper {_three_digits(paper)}")
    axis.set_title(title, loc="left", fontsize=11)
    axis.set_xlabel(unit)
    axis.set_ylabel("videos")
    axis.set_xlim(left=0)
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=9)
    # over the picture, where it hides no bar
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, frameon=False, fontsize=9, ncols=2,
                handlelength=1.6, columnspacing=1.2)  # fmt: skip


def _three_digits(value: float) -> str:
    """Three digits at least, and no exponent: 9.76, 84.9, 1,234."""
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0}f}"
