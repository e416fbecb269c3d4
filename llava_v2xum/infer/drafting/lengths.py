"""How much of each row's proposal is worth checking in one pass.

Shapes: n rows.
"""

from __future__ import annotations

from collections.abc import Sequence


def worthwhile_lengths(chances: Sequence[Sequence[float]], free_positions: float) -> list[int]:
    """The lengths at which a pass gives the most expected tokens for its time.

    A pass over n rows of 1 + w positions is taken to cost `free_positions` + all its positions. It gives every row one
    token, and one more for each drafted token that is right with all before it. A token pays if its chance is above
    what the pass gives for a position; that rises from round to round (Dinkelbach 1967, for ratios) and soon stays.

    Args:
        chances: [n] of each row's proposal, none above the one before (`Drafter.propose`).
        free_positions: how many positions take as long to compute as the weights take to read.

    Returns:
        n lengths.
    """
    lengths = [0] * len(chances)
    rate = 0.0
    while True:
        expected = len(chances) + sum(sum(row[:length]) for row, length in zip(chances, lengths))
        better = expected / max(free_positions + len(chances) + sum(lengths), 1)
        if better <= rate:
            return lengths
        rate = better
        lengths = [sum(chance > rate for chance in row) for row in chances]
