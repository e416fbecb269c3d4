"""Change points of a video from its frames' features: KTS, kernel temporal segmentation.

Shapes: T samples, C features, S segments, m change points (m = S - 1).
Source: Potapov et al. 2014, "Category-specific video summarization", section 3: for each m the segmentation with the
least scatter within its segments, by dynamic programming; then the m for which the scatter / T + v * m / (2 T) *
(log(T / m) + 1) is least. The dynamic program is that of ruptures (`KernelCPD`, linear kernel); the rest is here.
"""

from __future__ import annotations

import numpy as np

from ...core.errors import V2XumError
from ...core.extras import require

# v; the usual value. What the published change points of TVSum and SumMe were made with is not known, and nobody has
# made them again (github.com/KaiyangZhou/pytorch-vsumm-reinforce, issues 21 and 22): use theirs where a file has them.
PENALTY = 1.0


def kts(features: np.ndarray, penalty: float = PENALTY, max_changes: int | None = None) -> list[int]:
    """Where the segments of a sequence of features begin, the first excepted.

    Args:
        features: float [T, C]. The penalty is in units of their squared length, so scale them to unit length first
            unless they are those that the penalty was chosen for.
        penalty: v; higher gives fewer segments.
        max_changes: the most change points to consider; T - 1 if None.

    Returns:
        m samples, ascending, each the first of its segment; [] where one segment is best, as for constant features.

    Raises:
        V2XumError: if the features are not [T, C] with T > 0, hold a NaN or infinity, or a number is negative.
        MissingExtra: if ruptures is not installed.
    """
    features = np.asarray(features, dtype=float)
    if features.ndim != 2 or not features.size:
        raise V2XumError(f"features must be [T, C] and not empty, got an array of shape {features.shape}")
    if not np.isfinite(features).all():
        raise V2XumError(f"features must be finite, got NaN or infinity in {np.sum(~np.isfinite(features))} places")
    if penalty < 0 or (max_changes is not None and max_changes < 0):
        raise V2XumError(f"penalty and max_changes must not be negative, got {penalty} and {max_changes}")
    samples = len(features)
    most = samples - 1 if max_changes is None else min(max_changes, samples - 1)
    if not most:
        return []
    features = features - features.mean(axis=0)  # the cost does not change, and rounding is less
    program = require("ruptures", "metrics").KernelCPD(kernel="linear", min_size=1).fit(features)
    program.predict(n_bkps=most)  # works all smaller numbers out as well
    candidates = [[], *(program.predict(n_bkps=count)[:-1] for count in range(1, most + 1))]
    scatter = _Scatter(features)
    totals = [
        scatter(changes) / samples + kts_penalty(count, samples, penalty) for count, changes in enumerate(candidates)
    ]
    # of totals that differ by rounding alone the one of fewer segments
    best = np.flatnonzero(np.array(totals) <= min(totals) + 1e-12 * max(1.0, abs(min(totals))))[0]
    return [int(change) for change in candidates[best]]


def kts_penalty(changes: int, samples: int, penalty: float = PENALTY) -> float:
    """What m change points in T samples cost: v * m / (2 T) * (log(T / m) + 1); 0 for none."""
    return penalty * changes / (2 * samples) * (np.log(samples / changes) + 1) if changes else 0.0


def change_points_at(
    features: np.ndarray,
    picks: np.ndarray,
    n_frames: int,
    penalty: float = PENALTY,
    max_changes: int | None = None,
) -> np.ndarray:
    """Change points in a video's own frames, in the form of TVSum's and SumMe's files.

    Args:
        features: float [T, C], of the sampled frames.
        picks: int [T], their frame numbers, ascending.
        n_frames: how many frames the video has.
        penalty, max_changes: as `kts`.

    Returns:
        int [S, 2], first and last frame of each segment, both inclusive: from 0 to n_frames - 1 without gaps. A
        segment begins at the pick of its first sample, the first one at frame 0.

    Raises:
        V2XumError: as `kts`, or if picks do not ascend in 0..n_frames - 1, one a row of the features.
        MissingExtra: if ruptures is not installed.
    """
    picks = np.asarray(picks)
    if picks.shape != (len(features),):
        raise V2XumError(f"expected one pick a sample, got {picks.shape} picks and {len(features)} samples")
    if len(picks) and (picks[0] < 0 or picks[-1] >= n_frames or (np.diff(picks) <= 0).any()):
        raise V2XumError(f"picks must ascend in 0..{n_frames - 1}, each frame once, got {picks[0]}..{picks[-1]}")
    starts = np.array([0, *picks[kts(features, penalty, max_changes)]], dtype=int)
    return np.stack([starts, np.append(starts[1:], n_frames) - 1], axis=1)


class _Scatter:
    """The within-segment scatter of a segmentation: squared distances to the segments' means, summed."""

    def __init__(self, features: np.ndarray) -> None:
        kernel = features @ features.T
        self.squares = np.append(0.0, np.cumsum(np.diag(kernel)))
        self.sums = np.zeros((len(features) + 1,) * 2)
        self.sums[1:, 1:] = kernel.cumsum(axis=0).cumsum(axis=1)
        self.samples = len(features)

    def __call__(self, changes: list[int]) -> float:
        start, stop = np.array([0, *changes]), np.array([*changes, self.samples])
        blocks = self.sums[stop, stop] - self.sums[start, stop] - self.sums[stop, start] + self.sums[start, start]
        return float(self.squares[-1] - (blocks / (stop - start)).sum())
