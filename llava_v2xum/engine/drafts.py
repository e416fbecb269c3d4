"""How much of the rows' drafts goes into one pass.

A pass over more positions costs more, least where reading the weights is what takes the time. All rows of a pass are
as wide as the widest, so the width is chosen for them together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def usable(draft: Sequence[int], limit: int, vocabulary: int, eos: int) -> list[int]:
    """The part of a draft that is worth checking: at most `limit` ids of the vocabulary, before an end of sequence.

    The end itself need not be fed: whether the model writes it is seen at the token before.
    """
    ids = list(draft[:limit])
    stop = next((place for place, token in enumerate(ids) if token == eos or not 0 <= token < vocabulary), len(ids))
    return ids[:stop]


def pass_width(lengths: Sequence[int], trusts: Sequence[float], free_positions: float) -> int:
    """The number of drafted tokens a row at which a pass gives the most expected tokens for its time.

    A draft of w tokens that are each right with probability t, if those before are, gives t + t^2 + ... + t^w tokens.
    A pass over p positions takes time in proportion to `free_positions` + p.

    Args:
        lengths: of each row's draft.
        trusts: t of each row.
        free_positions: that cost as much as reading the weights once does.
    """
    widths = np.arange(max(lengths, default=0) + 1)
    drafted = np.minimum(widths[None], np.asarray(lengths)[:, None])
    trust = np.minimum(np.asarray(trusts, dtype=float), 0.9999)[:, None]
    expected = (trust - trust ** (drafted + 1)) / (1 - trust)
    gain = (len(lengths) + expected.sum(axis=0)) / (free_positions + len(lengths) * (1 + widths))
    return int(gain.argmax())
