"""How sure a figure is: bootstrap intervals over videos, and the paired test between two systems.

A data set's videos are a sample of the videos that one could have asked about. The bootstrap (Efron 1979) draws V
videos out of the V with replacement, B times; the middle 95 % of the B figures are the percentile interval. The paired
test asks whether two systems differ on the same videos: were they alike, swapping their answers on any video would
change nothing (Fisher's randomization test; Riezler and Maxwell 2005 for corpus figures such as BLEU).

Shapes: V videos, K additive statistics, B resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ...core.errors import V2XumError
from .measures import Measure

RESAMPLES = 1000  # the usual choice; the ends of a 95 % interval then rest on 25 resamples each
PERMUTATIONS = 10_000  # the smallest p that can come out is 1 / 10,001
LEVEL = 0.95
BLOCK_CELLS = 4_000_000  # counts held at a time: 32 MB of float64
TOLERANCE = 1e-12  # swaps that only reorder a sum must count as equally extreme


@dataclass(frozen=True)
class Paired:
    """The difference of two systems in one measure, over the same videos.

    Args:
        name: the measure's key.
        a, b: the two figures.
        difference: a - b.
        low, high: its bootstrap interval; NaN where there are fewer than two videos.
        p: two-sided, of the permutation test.
        videos: how many videos the figures rest on.
    """

    name: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    videos: int


def bootstrap_counts(n_videos: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each resample drew each video.

    The same seed draws the same videos for every measure, so that the intervals of a table belong together.

    Args:
        n_videos: V.
        resamples: B.

    Returns:
        float32 [B, V]; each row sums to V. 16 MB for the 4,000 videos of VideoXum's test set.

    Raises:
        V2XumError: for a negative V or B.
    """
    if n_videos < 0 or resamples < 0:
        raise V2XumError(f"expected no negative numbers, got {n_videos} videos and {resamples} resamples")
    draw = np.random.default_rng(seed)
    counts = np.zeros((resamples, n_videos), np.float32)
    for row in counts if n_videos else ():
        row[:] = np.bincount(draw.integers(n_videos, size=n_videos), minlength=n_videos)
    return counts


def interval(measure: Measure, counts: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The percentile bootstrap interval of a figure.

    Resamples in which no video has a value are left out.

    Args:
        counts: [B, V], from `bootstrap_counts`.
        level: how much of the resamples the interval holds.

    Returns:
        (low, high); both NaN where fewer than two videos have a value, because resamples of one video say nothing.

    Raises:
        V2XumError: if the counts are of another number of videos, or the level is not between 0 and 1.
    """
    _check_level(level)
    if counts.ndim != 2 or counts.shape[1] != len(measure.values):
        raise V2XumError(f"{measure.name}: expected counts of {len(measure.values)} videos, got {counts.shape}")
    if np.isfinite(measure.values).sum() < 2:
        return math.nan, math.nan
    figures = [measure.under(block.astype(float)) for block in _in_blocks(counts)]
    return _percentiles(np.concatenate([np.zeros(0), *figures]), level)


def paired(
    measure_a: Measure,
    measure_b: Measure,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    level: float = LEVEL,
) -> Paired:
    """Whether two systems differ in one measure over the same videos.

    The interval is that of a - b when both are resampled together. The p is (1 + extreme) / (1 + permutations), where
    each permutation swaps a and b on videos chosen by a fair coin, and is extreme when its absolute difference is at
    least the observed one.

    Args:
        measure_a, measure_b: the same measure of two systems, the videos in the same order.

    Raises:
        V2XumError: if names, videos or statistics do not agree, or a video has a value in one of them only (whether a
            video can be scored is a matter of its annotation).
    """
    _check_level(level)
    _check_pair(measure_a, measure_b)
    there = np.isfinite(measure_a.values)
    if not there.any():
        a = b = difference = low = high = p = math.nan
        return Paired(measure_a.name, a, b, difference, low, high, p, videos=0)
    figure, rows_a, rows_b = _pooled(measure_a, measure_b, there)
    videos = len(rows_a)
    draw = np.random.default_rng(seed)
    coins = (draw.random((size, videos)) < 0.5 for size in _blocks(permutations, videos))
    exchanged = _sums(coins, rows_b - rows_a)
    counts = bootstrap_counts(videos, resamples if videos > 1 else 0, seed)
    sums = [
        *(rows.sum(axis=0, keepdims=True) for rows in (rows_a, rows_b)),
        *(rows_a.sum(axis=0) + exchanged, rows_b.sum(axis=0) - exchanged),
        *(_sums(_in_blocks(counts), rows) for rows in (rows_a, rows_b)),
    ]
    # at once, because a figure may come from another program, which takes its time to start
    parts = np.split(figure(np.concatenate(sums)), np.cumsum([len(part) for part in sums])[:-1])
    (a,), (b,), swapped_a, swapped_b, resampled_a, resampled_b = parts
    scale = max(abs(a), abs(b), 1.0)
    extreme = int(np.sum(np.abs(swapped_a - swapped_b) >= abs(a - b) - TOLERANCE * scale))
    low, high = _percentiles(resampled_a - resampled_b, level)
    p = (1 + extreme) / (1 + permutations)
    return Paired(measure_a.name, float(a), float(b), float(a - b), low, high, p, int(there.sum()))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's (1979) step-down correction: p values that hold when several measures are tested at once.

    Args:
        p_values: float [M]; NaN is no test and stays NaN.

    Returns:
        float [M], at least p and at most 1.
    """
    p_values = np.asarray(p_values, dtype=float)
    corrected = np.full(p_values.shape, np.nan)
    order = [place for place in np.argsort(p_values, kind="stable") if np.isfinite(p_values[place])]
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise V2XumError(f"the level must lie between 0 and 1, got {level}")


def _check_pair(a: Measure, b: Measure) -> None:
    if a.name != b.name:
        raise V2XumError(f"expected the same measure of two systems, got {a.name} and {b.name}")
    if len(a.values) != len(b.values):
        raise V2XumError(f"{a.name}: expected the same videos, got {len(a.values)} and {len(b.values)}")
    if (a.statistics is None) != (b.statistics is None):
        raise V2XumError(f"{a.name}: one system's figure is a mean over videos, the other's is made of statistics")
    if a.statistics is not None and b.statistics is not None and a.statistics.shape != b.statistics.shape:
        raise V2XumError(f"{a.name}: expected statistics of one shape, got {a.statistics.shape}, {b.statistics.shape}")
    apart = np.flatnonzero(np.isfinite(a.values) != np.isfinite(b.values))
    if len(apart):
        raise V2XumError(f"{a.name}: video number {apart[0]} has a value for one of the two systems only")


def _pooled(
    a: Measure, b: Measure, there: np.ndarray
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray, np.ndarray]:
    """What makes the figure out of sums, and the rows [V, K] to be summed: a mean is a sum and how many there are."""
    if a.combine is not None:
        return a.combine, np.asarray(a.statistics, float), np.asarray(b.statistics, float)
    ones = np.ones(there.sum())
    rows_a, rows_b = (np.stack([measure.values[there], ones], axis=1) for measure in (a, b))
    return _ratio, rows_a, rows_b


def _ratio(sums: np.ndarray) -> np.ndarray:
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)


def _in_blocks(counts: np.ndarray) -> Iterator[np.ndarray]:
    first = 0
    for size in _blocks(*counts.shape):
        yield counts[first : first + size]
        first += size


def _sums(weights: Iterable[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """The statistics' sums [B, K] under weights [B, V], which come in blocks."""
    return np.concatenate([np.zeros((0, rows.shape[1])), *(block.astype(float) @ rows for block in weights)])


def _blocks(rows: int, videos: int) -> Iterator[int]:
    most = max(1, BLOCK_CELLS // max(1, videos))
    while rows > 0:
        yield min(rows, most)
        rows -= most


def _percentiles(figures: np.ndarray, level: float) -> tuple[float, float]:
    figures = figures[np.isfinite(figures)]
    if not len(figures):
        return math.nan, math.nan
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
