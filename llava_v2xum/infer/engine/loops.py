"""A decoder that goes round in circles, seen in the tokens as it writes them."""

from __future__ import annotations

import numpy as np

LONGEST_ROUND = 128  # tokens: a long sentence with its list of frames
# Our choice, by evidence. That a model has said the same some times is no proof: its context grows with each round, so
# it may find a way out, though each round makes the next one likelier (arXiv 1904.09751, section 4.2). Of 300 answers
# of the released model, those that end repeat nothing for more than 14 tokens, and the one that does not end goes on as
# it is to the limit. The demo, on 194 inputs that are nothing like its training, got out of up to 45 rounds and of
# stretches of up to 203 tokens; random weights out of 320.
LEAST_TOKENS = 400
LEAST_ROUNDS = 8


class LoopWatch:
    """For how long an answer has repeated itself, with every period up to `LONGEST_ROUND` tokens.

    A loop is certain when the last `LEAST_TOKENS` or more tokens are rounds of one period, `LEAST_ROUNDS` or more.
    """

    _periods = np.arange(1, LONGEST_ROUND + 1)
    _needed = np.maximum(LEAST_TOKENS, LEAST_ROUNDS * _periods) - _periods  # repeated tokens; the first round is none

    def __init__(self) -> None:
        self._last = np.full(LONGEST_ROUND, -1)  # the latest token first
        self._runs = np.zeros(LONGEST_ROUND, dtype=int)  # of each period, the tokens in a row that stand it back too

    def add(self, token: int) -> int:
        """Take in the next token of the answer.

        Returns:
            the tokens of a round, the fewest if several fit, where a loop is certain; else 0.
        """
        self._runs = np.where(self._last == token, self._runs + 1, 0)
        self._last = np.concatenate(([token], self._last[:-1]))
        certain = self._periods[self._runs >= self._needed]
        return int(certain[0]) if len(certain) else 0
