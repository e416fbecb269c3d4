"""What of the rows' drafts goes into one pass.

A pass takes time in proportion to `free_positions` + its positions: reading the weights takes as long whatever they are
used for. A drafted token saves a pass if it and all before it are right, and the sum of these chances over a draft is
the number of tokens that it is likely to give. The lengths chosen give the most expected tokens for the time of a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, zip_longest

from ..drafting import Drafter

_MEMORY = 0.8  # of a row's drafts before: lists of indexes, where all is right, and prose follow each other closely
_RIGHT, _WRONG = 2.0, 0.5  # what a row is taken to have seen at its start


class Trust:
    """How likely the next token of a row's draft is right if those before it were, learnt from the row's drafts."""

    def __init__(self) -> None:
        self.right, self.wrong = _RIGHT, _WRONG

    def judge(self, right: int, drafted: int) -> None:
        """Take in that the first `right` tokens of a draft were right."""
        if drafted:
            self.right = _MEMORY * self.right + right
            self.wrong = _MEMORY * self.wrong + (right < drafted)

    def chances(self, length: int) -> list[float]:
        """Of each token of a draft that it and all before it are right."""
        likely = self.right / (self.right + self.wrong)
        return [likely**place for place in range(1, length + 1)]


def draft(
    drafter: Drafter, answer: Sequence[int], limit: int, trust: Trust, vocabulary: int, eos: int
) -> tuple[list[int], list[float]]:
    """At most `limit` tokens that may come next and are worth checking, and their chances.

    Ids outside the vocabulary end a draft. So does an end of sequence, which need not be fed: whether the model writes
    it is seen at the token before.
    """
    if limit < 1:
        return [], []
    proposed, chances = drafter.propose(answer, limit)
    ids = list(proposed[:limit])
    stop = next((place for place, token in enumerate(ids) if token == eos or not 0 <= token < vocabulary), len(ids))
    return ids[:stop], trust.chances(stop) if chances is None else list(chances[:stop])


def block_width(
    chances: Sequence[Sequence[float]],
    free_positions: float,
    widths: Sequence[int] | None = None,
    rows: int | None = None,
) -> int:
    """The longest draft that pays, where all rows of a pass are as wide as the widest.

    Args:
        chances: of each row's draft (`draft`).
        widths: ascending lengths of drafts, of which one is taken; None is any up to the longest draft.
        rows: how many a pass computes, whether at work or not; None is those at work.
    """
    gains = [*accumulate((sum(column) for column in zip_longest(*chances, fillvalue=0.0)), initial=len(chances))]
    rows = len(chances) if rows is None else rows

    def rate(width: int) -> float:
        return gains[min(width, len(gains) - 1)] / (free_positions + rows * (1 + width))

    return max(range(len(gains)) if widths is None else widths, key=rate)
