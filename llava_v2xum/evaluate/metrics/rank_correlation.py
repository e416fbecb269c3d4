"""Rank correlations of many sequences of scores with many references at once.

Shapes: B sequences to judge, A references, T samples, L levels (different values) of one reference.

Spearman's rho takes the mean rank of tied values; Kendall's tau is tau-b, which corrects for ties. Both are those of
`scipy.stats`, except that a correlation which is not defined (a constant sequence, a NaN in it, fewer than two
samples) is 0, as in VideoXum's `utils.py`.
"""

from __future__ import annotations

import numpy as np

from ...core.errors import V2XumError

KINDS = ("spearman", "kendall")


class Ranks:
    """The order within each sequence, worked out once for every correlation that needs it.

    Args:
        scores: [B, T] of numbers or booleans. Booleans are ranked without a sort, and Kendall's tau with them is one
            product of matrices; the figures are the same as those of 0 and 1.

    Attributes:
        below: int [B, T], how many samples of the sequence score less than this one.
        lead: float [B, T], how many score less, less how many score more: twice the centred mean rank.
        untied: float [B], pairs of samples that differ.
        defined: bool [B], False where a NaN leaves no order.

    Raises:
        V2XumError: if the scores have another shape.
    """

    def __init__(self, scores: np.ndarray) -> None:
        scores = np.asarray(scores)
        if scores.ndim != 2:
            raise V2XumError(f"expected scores [B, T], got an array of shape {scores.shape}")
        self.chosen = scores if scores.dtype == bool else None
        if self.chosen is not None:
            ones = np.count_nonzero(scores, axis=1)[:, None]
            zeros = scores.shape[1] - ones
            self.defined = np.ones(len(scores), dtype=bool)
            self.below = np.where(scores, zeros, 0)
            self.lead = np.where(scores, zeros, -ones).astype(float)
            self.untied = (ones * zeros)[:, 0].astype(float)
            return
        self.defined = ~np.isnan(scores).any(axis=1)
        self.below, above = _below_and_above(scores)
        self.lead = (self.below - above).astype(float)
        self.untied = self.below.sum(axis=1).astype(float)

    def __len__(self) -> int:
        return len(self.lead)


def spearman_table(scores: Ranks, references: Ranks) -> np.ndarray:
    """Spearman's rho of every sequence with every reference.

    Returns:
        float [B, A], -1 to 1.

    Raises:
        V2XumError: if they differ in T.
    """
    _check_lengths(scores, references)
    products = scores.lead @ references.lead.T
    sizes = np.outer((scores.lead**2).sum(axis=1), (references.lead**2).sum(axis=1))
    return _ratio(products, sizes, scores, references)


def kendall_table(scores: Ranks, references: Ranks) -> np.ndarray:
    """Kendall's tau-b of every sequence with every reference.

    Returns:
        float [B, A], -1 to 1.

    Raises:
        V2XumError: if they differ in T.
    """
    _check_lengths(scores, references)
    # Of two levels the pairs are Mann-Whitney's: those within a level cancel in the sum of the chosen ones' leads.
    if references.chosen is not None:
        agreement = scores.lead @ references.chosen.T.astype(float)
    elif scores.chosen is not None:
        agreement = scores.chosen.astype(float) @ references.lead.T
    else:
        agreement = np.stack([_agreement(scores, below) for below in references.below], axis=1)
    return _ratio(agreement, np.outer(scores.untied, references.untied), scores, references)


TABLES = {"spearman": spearman_table, "kendall": kendall_table}


def _below_and_above(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int [B, T] twice: how many samples of the same sequence score less, and how many more."""
    samples = scores.shape[1]
    order = np.argsort(scores, axis=1)
    ascending = np.take_along_axis(scores, order, axis=1)
    first, last = _runs(ascending)
    below, above = np.empty_like(order), np.empty_like(order)
    np.put_along_axis(below, order, first, axis=1)
    np.put_along_axis(above, order, samples - 1 - last, axis=1)
    return below, above


def _runs(ascending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int [B, T] twice: the places of the first and the last of the equal values that a value stands among."""
    places = np.broadcast_to(np.arange(ascending.shape[1]), ascending.shape)
    rises = ascending[:, 1:] != ascending[:, :-1]
    if rises.all():  # no ties, as with most importance
        return places, places
    first, last = places.copy(), places.copy()
    first[:, 1:][~rises] = 0
    last[:, :-1][~rises] = ascending.shape[1]
    np.maximum.accumulate(first, axis=1, out=first)
    return first, np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]


def _agreement(scores: Ranks, reference_below: np.ndarray) -> np.ndarray:
    """Kendall's S of every sequence with one reference: pairs that both order alike, less those ordered otherwise.

    Sorted by score, and tied scores by level, the reference's levels rise over `rising` of the pairs that differ in
    it. Pairs tied in the score alone have risen by that order of ties, and count for neither side.

    Args:
        reference_below: int [T], the reference's `below`: equal where its values are.

    Returns:
        float [B].
    """
    values, level = np.unique(reference_below, return_inverse=True)
    samples, levels = len(level), len(values)
    ordered = np.sort(scores.below * levels + level, axis=1)
    by_score = ordered % levels
    rising = np.zeros(len(scores))
    for number in range(levels - 1):
        seen = np.cumsum(by_score == number, axis=1, dtype=np.float32)  # exact: below 2 ** 24 samples
        rising += np.einsum("bt,bt->b", seen, by_score > number, dtype=float)
    first, _ = _runs(ordered)
    tied_in_both = (np.arange(samples) - first).sum(axis=1)
    tied_in_score = samples * (samples - 1) // 2 - scores.untied
    differ = reference_below.sum()
    return 2 * rising - (tied_in_score - tied_in_both) - differ


def _ratio(above: np.ndarray, squared: np.ndarray, scores: Ranks, references: Ranks) -> np.ndarray:
    there = (squared > 0) & np.logical_and.outer(scores.defined, references.defined)
    ratio = np.divide(above, np.sqrt(squared), out=np.zeros(squared.shape), where=there)
    return np.clip(ratio, -1, 1)  # rounding


def _check_lengths(scores: Ranks, references: Ranks) -> None:
    ours, theirs = scores.lead.shape[1], references.lead.shape[1]
    if ours != theirs:
        raise V2XumError(f"scores and references must have the same samples, got {ours} and {theirs}")
