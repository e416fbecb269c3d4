"""What every metric gives the report: a value for each video, and how the videos' values make one figure.

Shapes: V videos, K additive statistics, B weightings of the videos (resamples).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...core.errors import V2XumError

ROWS = ("system", "random", "uniform", "human")  # of a report, in the order of its tables
Combine = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Measure:
    """One metric of one system over V videos, in the order of the annotations.

    Most figures are the mean of the videos' values. BLEU and METEOR are not: they are made of counts summed over the
    videos, so they hand over those counts and what to do with their sums.

    Args:
        name: the metric's key, such as `spearman`.
        values: float [V], each video's own value; NaN where the annotation leaves nothing to score (no annotator, no
            text), which leaves the video out of the figure. A video that was not predicted has the value of a miss.
        statistics: float [V, K], counts that add up over videos; None where the figure is the mean.
        combine: float [B, K], sums of the statistics -> float [B], the figure.
        notes: what a reader must know about this figure, one line each.

    Raises:
        V2XumError: if the shapes do not agree, or only one of statistics and combine is given.
    """

    name: str
    values: np.ndarray
    statistics: np.ndarray | None = None
    combine: Combine | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=float)
        if values.ndim != 1:
            raise V2XumError(f"{self.name}: expected one value a video, got an array of shape {values.shape}")
        object.__setattr__(self, "values", values)
        if (self.statistics is None) != (self.combine is None):
            raise V2XumError(f"{self.name}: statistics and combine go together")
        if self.statistics is not None and len(self.statistics) != len(values):
            raise V2XumError(f"{self.name}: expected statistics of {len(values)} videos, got {len(self.statistics)}")

    @property
    def value(self) -> float:
        """The figure over all videos; NaN where no video has one."""
        return float(self.under(np.ones((1, len(self.values))))[0])

    def under(self, counts: np.ndarray) -> np.ndarray:
        """The figure when video v counts `counts[b, v]` times.

        Args:
            counts: float [B, V].

        Returns:
            float [B]; NaN where no video that counts has a value.
        """
        if self.statistics is not None and self.combine is not None:
            return self.combine(counts @ self.statistics)
        there = np.isfinite(self.values)
        weights = counts @ there
        sums = counts @ np.where(there, self.values, 0.0)
        return np.divide(sums, weights, out=np.full(len(weights), np.nan), where=weights > 0)


def mean_over_splits(measure: Measure, splits: Sequence[int]) -> Measure:
    """A measure whose figure is the mean over splits of the mean over each split's videos.

    Args:
        measure: of V videos, its figure the mean of their values.
        splits: [V], the split of each, from 0.

    Raises:
        V2XumError: if the figure is no mean of the videos' values.
    """
    if measure.statistics is not None:
        raise V2XumError(f"{measure.name}: its figure is no mean over videos, so it has none over splits")
    there = np.isfinite(measure.values)
    own = np.eye(max(splits) + 1)[list(splits)]  # [V, S]
    sums = np.concatenate([own * np.where(there, measure.values, 0.0)[:, None], own * there[:, None]], axis=1)

    def combine(totals: np.ndarray) -> np.ndarray:
        total, count = np.split(totals, 2, axis=1)
        means = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
        some = (count > 0).sum(axis=1)
        return np.divide(means.sum(axis=1), some, out=np.full(len(totals), np.nan), where=some > 0)

    return replace(measure, statistics=sums, combine=combine)
