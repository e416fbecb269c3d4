"""What a figure must be held against: random importance, an even choice, and people among themselves.

Shapes: S seeds, T samples, A annotators.
"""

from __future__ import annotations

import zlib

import numpy as np

from ...core.errors import V2XumError
from .keyframes import TOP_FRACTION, f1_table, human_rank_correlation

SEEDS = 100  # Otani et al. 2019, arXiv 1903.11328: the mean over 100 random importances


def random_importance(video_id: str, samples: int, seeds: int = SEEDS, seed: int = 0) -> np.ndarray:
    """Importance drawn evenly from [0, 1), the same for a video whatever else is scored and in whatever order.

    Args:
        video_id: the generator is seeded with its checksum and `seed`.
        samples: T.
        seeds: S, how many draws; the first of them do not depend on how many follow.

    Returns:
        float [S, T].
    """
    return np.random.default_rng([seed, zlib.crc32(video_id.encode())]).random((seeds, samples))


def uniform_selection(samples: int, fraction: float = TOP_FRACTION) -> np.ndarray:
    """int(fraction * T) samples evenly spaced, at least one: the middles of as many equal parts.

    Its importance is the mask itself.

    Returns:
        bool [T].
    """
    selected = np.zeros(samples, dtype=bool)
    count = min(max(int(fraction * samples), 1), samples)
    selected[((np.arange(count) + 0.5) * samples / max(count, 1)).astype(int)] = True
    return selected


def human_f1(annotators: np.ndarray) -> tuple[float, float]:
    """F1 of each annotator with the others, the mean over annotators.

    Args:
        annotators: bool [A, T], at least two.

    Returns:
        the mean over the others, and the maximum over the others.

    Raises:
        V2XumError: if there are fewer than two annotators.
    """
    people = len(annotators)
    if people < 2:
        raise V2XumError(f"expected at least 2 annotators, got {people}")
    others = f1_table(annotators, annotators)[~np.eye(people, dtype=bool)].reshape(people, people - 1)
    return float(others.mean()), float(others.max(axis=1).mean())


def human_correlations(annotators: np.ndarray) -> dict[str, float]:
    """The rank correlations of each annotator with the others, under both protocols.

    Args:
        annotators: [A, T], masks or importance, at least two.

    Returns:
        `spearman`, `kendall`: with the mean of the others; `spearman_per_annotator`, `kendall_per_annotator`: with
        each of them.

    Raises:
        V2XumError: if there are fewer than two annotators.
    """
    found = {}
    for kind in ("spearman", "kendall"):
        found[kind] = human_rank_correlation(annotators, kind, "mean")
        found[f"{kind}_per_annotator"] = human_rank_correlation(annotators, kind, "per-annotator")
    return found
