"""The key-frame metrics: F1 of sets, rank correlations, and keyshot summaries. NumPy arrays in, no model.

Shapes: T samples of a video, A annotators, F frames; `...` any leading axes, all scored alike.
"""

from __future__ import annotations

import numpy as np

from ...core.errors import V2XumError
from ...core.scores import as_row, as_sets, f1_table, set_f1
from .knapsack import TOP_FRACTION, fitted, keyshot_summary
from .rank_correlation import KINDS, TABLES, Ranks

__all__ = ["PROTOCOLS", "RULES", "TOP_FRACTION", "f1_annotators", "f1_table", "human_rank_correlation", "kendall"]
__all__ += ["keyshot_f1", "keyshot_summary", "rank_correlation", "set_f1", "spearman", "top_fraction"]

RULES = ("top15", "videoxum", "videoxum-script")
PROTOCOLS = ("per-annotator", "mean")


def f1_annotators(selected: np.ndarray, annotators: np.ndarray) -> tuple[float, float]:
    """F1 of one set with each annotator's.

    Args:
        selected: bool [T].
        annotators: bool [A, T].

    Returns:
        the mean and the maximum over annotators.

    Raises:
        V2XumError: as `set_f1`, or if there is no annotator.
    """
    f1 = f1_table(as_row("selected", selected), annotators)
    _check_annotators(f1.shape[1])
    return float(f1.mean()), float(f1.max())


def top_fraction(scores: np.ndarray, fraction: float = TOP_FRACTION, rule: str = "top15") -> np.ndarray:
    """The samples that a summary of a fraction of the video takes, under one of three rules in use.

    With k = int(fraction * T):

    - `top15`: the k highest, and one where k is 0 (our choice, as VideoXum's evaluation takes at least one for its
      VT-CLIPScore); of tied samples the earlier.
    - `videoxum`: every sample that scores at least what the sample at place k of the descending order does: one
      sample more than k, and ties. What VideoXum's `get_top15_frames` means to do.
    - `videoxum-script`: what it does. It is handed [T, 1] arrays, whose sort along the last axis changes nothing; so
      the threshold is the score at place T - 1 - k of the sequence as it stands in time.

    A place behind the last sample (fraction 1) is the last one's.

    Args:
        scores: float [..., T], higher is more important; only the order counts.
        fraction: above 0, at most 1.

    Returns:
        bool [..., T].

    Raises:
        V2XumError: if the rule is unknown, the fraction outside its range, or a score is NaN.
    """
    scores = np.asarray(scores)
    if rule not in RULES:
        raise V2XumError(f"the rule must be one of {', '.join(RULES)}, got {rule!r}")
    if not 0 < fraction <= 1:
        raise V2XumError(f"the fraction must be above 0 and at most 1, got {fraction}")
    if np.isnan(scores).any():
        raise V2XumError("scores must not hold NaN: it has no place in their order")
    samples = scores.shape[-1]
    if not samples:
        return np.zeros(scores.shape, dtype=bool)
    count = int(fraction * samples)
    if rule == "top15":
        count = max(count, 1)
        lowest = _descending(scores, count - 1)
        above, equal = scores > lowest, scores == lowest
        room = count - above.sum(axis=-1, keepdims=True)
        return above | (equal & (np.cumsum(equal, axis=-1) <= room))
    place = min(count, samples - 1)
    return scores >= (_descending(scores, place) if rule == "videoxum" else scores[..., samples - 1 - place, None])


def spearman(scores: np.ndarray, reference: np.ndarray) -> float:
    """Spearman's rho, -1 to 1, with mean ranks for ties; 0 where either is constant or holds a NaN.

    Args:
        scores, reference: [T].

    Raises:
        V2XumError: if they differ in T.
    """
    return _correlation("spearman", scores, reference)


def kendall(scores: np.ndarray, reference: np.ndarray) -> float:
    """Kendall's tau-b, -1 to 1; 0 where either is constant or holds a NaN.

    Args:
        scores, reference: [T].

    Raises:
        V2XumError: if they differ in T.
    """
    return _correlation("kendall", scores, reference)


def rank_correlation(
    scores: np.ndarray, annotators: np.ndarray, protocol: str = "per-annotator", kind: str = "spearman"
) -> float:
    """The rank correlation of importance with several annotators, under one of the two protocols in use.

    Args:
        scores: [T].
        annotators: [A, T], masks or importance.
        protocol: `per-annotator`: with each, then the mean (Otani et al. 2019, arXiv 1903.11328, for TVSum); `mean`:
            with the mean of the annotators (VideoXum).
        kind: `spearman` or `kendall`.

    Raises:
        V2XumError: if the protocol or kind is unknown, there is no annotator, or they differ in T.
    """
    annotators = _checked(annotators, protocol, kind, at_least=1)
    table = TABLES[kind](Ranks(as_row("scores", scores)), Ranks(_references(annotators, protocol)))
    return float(table.mean())


def human_rank_correlation(
    annotators: np.ndarray, kind: str = "spearman", protocol: str = "per-annotator"
) -> float:
    """What `rank_correlation` gives for people: each annotator against the others, and the mean of that.

    Args:
        annotators: [A, T], masks or importance; at least two.

    Raises:
        V2XumError: as `rank_correlation`, or if there are fewer than two annotators.
    """
    annotators = _checked(annotators, protocol, kind, at_least=2)
    ranks, people = Ranks(annotators), len(annotators)
    if protocol == "mean":
        return float(np.diagonal(TABLES[kind](ranks, Ranks(_sums_of_others(annotators)))).mean())
    table = TABLES[kind](ranks, ranks)
    return float(table[~np.eye(people, dtype=bool)].mean())


def keyshot_f1(summary: np.ndarray, user_summary: np.ndarray, how: str = "avg") -> float:
    """F1 of a keyshot summary with the annotators' summaries, frame by frame.

    The summary is cut or padded with False to the annotators' length. Source: pytorch-vsumm-reinforce
    `evaluate_summary`, which adds 1e-8 to the sizes; without that, figures agree with its to 1e-7.

    Args:
        summary: bool [F].
        user_summary: bool [A, F].
        how: `avg` over annotators (TVSum) or `max` (SumMe).

    Raises:
        V2XumError: if `how` is another, there is no annotator, or a value is neither 0 nor 1.
    """
    if how not in ("avg", "max"):
        raise V2XumError(f"how must be avg or max, got {how!r}")
    users = as_sets("user_summary", user_summary)
    mean, highest = f1_annotators(fitted(as_row("summary", summary), users.shape[1])[0], users)
    return mean if how == "avg" else highest


def _descending(scores: np.ndarray, place: int) -> np.ndarray:
    """[..., 1]: the score at a place of the descending order."""
    from_the_low_end = scores.shape[-1] - 1 - place
    return np.partition(scores, from_the_low_end, axis=-1)[..., from_the_low_end, None]


def _correlation(kind: str, scores: np.ndarray, reference: np.ndarray) -> float:
    return float(TABLES[kind](Ranks(as_row("scores", scores)), Ranks(as_row("reference", reference)))[0, 0])


def _references(annotators: np.ndarray, protocol: str) -> np.ndarray:
    # The sum has the order of the mean, and no rounding where annotators gave whole numbers.
    return annotators if protocol == "per-annotator" else annotators.sum(axis=0, keepdims=True)


def _sums_of_others(annotators: np.ndarray) -> np.ndarray:
    """[A, T]: what the others of each annotator gave, summed."""
    if annotators.dtype.kind in "biu":
        return annotators.sum(axis=0) - annotators.astype(int)
    # Not the sum less one's own: its rounding would part samples that the others hold to be equal.
    return np.stack([np.delete(annotators, person, axis=0).sum(axis=0) for person in range(len(annotators))])


def _checked(annotators: np.ndarray, protocol: str, kind: str, at_least: int) -> np.ndarray:
    if protocol not in PROTOCOLS:
        raise V2XumError(f"the protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    if kind not in KINDS:
        raise V2XumError(f"the kind must be one of {', '.join(KINDS)}, got {kind!r}")
    annotators = np.asarray(annotators)
    if annotators.ndim != 2:
        raise V2XumError(f"annotators must be [A, T], got an array of shape {annotators.shape}")
    _check_annotators(len(annotators), at_least)
    return annotators


def _check_annotators(people: int, at_least: int = 1) -> None:
    if people < at_least:
        raise V2XumError(f"expected at least {at_least} annotators, got {people}")
