"""What a decoder asks of a drafter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Drafter(Protocol):
    """Proposes how an answer may go on."""

    def propose(self, answer: Sequence[int], limit: int) -> list[int]:
        """Token ids that may come next.

        Args:
            answer: the ids of the answer so far, without the prompt; empty at its start.
            limit: how many ids are wanted at most.

        Returns:
            at most `limit` ids, possibly none; the id of the end of sequence may be one, and is then the last.
        """
        ...

    def learn(self, answer: Sequence[int]) -> None:
        """Take in a finished answer, with the id of the end of sequence last where the model wrote it."""
        ...
