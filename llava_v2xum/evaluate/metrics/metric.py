"""What is known of a metric besides its figures: its name, how tables show it, what it needs, and why it is absent.

A scorer's file says it of its own metrics: a `Family` is one scorer and the metrics that it gives figures of.
`evaluate/metric_registry.py` lists the families; another metric is a file with one, and a line there.

Figures are fractions everywhere in the package. Tables show them as the literature does: F1 and caption scores in
percent points with one decimal, rank correlations as they are with three (VideoXum's and V2Xum-LLM's tables).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

ABSENT = "-"  # a cell that has no figure


@dataclass(frozen=True)
class Need:
    """Something that a metric cannot do without.

    Args:
        reason: what a report says where it is lacking.
        lacking: (the predictions that there are, the command's settings) -> whether it is. One that cannot tell is
            lacking wherever the metric is absent and all needs before it are there.
    """

    reason: str
    lacking: Callable[[Sequence[Any], Any], bool] = lambda predictions, settings: True


def _part(name: str, *fields: str) -> Need:
    """A part that predictions have or, in all of these fields, have not."""
    return Need(
        f"no prediction has {name}",
        lambda predictions, settings: all(getattr(one, field) is None for one in predictions for field in fields),
    )


FRAMES = _part("frames", "frames")
IMPORTANCE = _part("importance", "importance")
TEXT = _part("text", "text", "sentences")
WINDOWS = _part("windows", "windows")


@dataclass(frozen=True)
class Metric:
    """One metric.

    Args:
        name: its key in reports, files and comparisons, such as `spearman`.
        heading: over its column in tables.
        group: V2V, V2T or V2VT; empty for one that no scorer tells of.
        about: what the figure is, in a few words.
        needs: what it cannot do without; the first that is lacking is the reason for its absence.
        scale: what a fraction is multiplied with.
        decimals: how many are written.
        higher_is_better: the direction.
        note: what a reader must know of every figure of it; `{percent}` is the share of a video that is selected.
        instead: the metric that tables show beside it where a system has that one and not this.
    """

    name: str
    heading: str
    group: str = ""
    about: str = ""
    needs: tuple[Need, ...] = ()
    scale: float = 100.0
    decimals: int = 1
    higher_is_better: bool = True
    note: str = ""
    instead: str = ""

    def absence(self, predictions: Sequence[Any], settings: Any) -> str | None:
        """Why there is no figure of these predictions under a command's settings; None where no need says it."""
        return next((need.reason for need in self.needs if need.lacking(predictions, settings)), None)

    def text(self, value: float | None, low: float | None = None, high: float | None = None) -> str:
        """A figure as tables write it, `29.0`, with its interval if it has one, `29.0 [27.8, 30.1]`."""
        if not _is_there(value):
            return ABSENT
        shown = self._number(value)
        if _is_there(low) and _is_there(high):
            shown += f" [{self._number(low)}, {self._number(high)}]"
        return shown

    def _number(self, value: float) -> str:
        shown = f"{value * self.scale:.{self.decimals}f}"
        return shown.lstrip("-") if float(shown) == 0 else shown  # no -0.000


@dataclass(frozen=True)
class Family:
    """One scorer and its metrics, in the order of tables; what a kind of scorer is handed, its subclass says."""

    metrics: tuple[Metric, ...]


def _is_there(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
