"""How much of the rows' drafts goes into one pass.

A pass takes time in proportion to `free_positions` + its positions: reading the weights takes as long whatever they are
used for. Of a draft whose tokens are each right with probability t if those before were, the d-th gives t^d tokens.
The lengths chosen give the most expected tokens for the time of the pass.

Shapes: n rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

MOST_TRUST = 0.999  # a draft of any length must not seem free


def usable(draft: Sequence[int], limit: int, vocabulary: int, eos: int) -> list[int]:
    """The part of a draft that is worth checking: at most `limit` ids of the vocabulary, before an end of sequence.

    The end itself need not be fed: whether the model writes it is seen at the token before.
    """
    ids = list(draft[:limit])
    stop = next((place for place, token in enumerate(ids) if token == eos or not 0 <= token < vocabulary), len(ids))
    return ids[:stop]


def draft_lengths(lengths: Sequence[int], trusts: Sequence[float], free_positions: float) -> list[int]:
    """How much of each row's draft pays, where every row may bring another number of positions.

    A token pays if it gives more for its time than the pass as a whole does. What the pass gives grows with each
    round (Dinkelbach's method for ratios), so few rounds find it.

    Args:
        lengths: of each row's draft.
        trusts: t of each row.
        free_positions: that cost as much time as reading the weights once.
    """
    chosen = [0] * len(lengths)
    while True:
        expected = len(lengths) + sum(_expected(length, trust) for length, trust in zip(chosen, trusts))
        rate = expected / (free_positions + len(lengths) + sum(chosen))
        better = [min(length, _worth(trust, rate)) for length, trust in zip(lengths, trusts)]
        if better == chosen:
            return chosen
        chosen = better


def _worth(trust: float, rate: float) -> int:
    """The last d with t^d above the rate."""
    trust = min(trust, MOST_TRUST)
    return int(math.log(rate) / math.log(trust)) if rate < 1 else 0


def block_width(lengths: Sequence[int], trusts: Sequence[float], free_positions: float) -> int:
    """The longest draft that pays, where all rows of a pass are as wide as the widest."""
    widths = np.arange(max(lengths, default=0) + 1)
    expected = np.array(
        [sum(_expected(min(width, length), trust) for length, trust in zip(lengths, trusts)) for width in widths]
    )
    return int(((len(lengths) + expected) / (free_positions + len(lengths) * (1 + widths))).argmax())


def _expected(length: int, trust: float) -> float:
    """t + t^2 + ... + t^length."""
    trust = min(trust, MOST_TRUST)
    return (trust - trust ** (length + 1)) / (1 - trust)
