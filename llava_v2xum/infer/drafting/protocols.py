"""What a drafter is: to the engine, and to the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...core.errors import V2XumError
from ...core.timeline import Timeline

Proposal = tuple[list[int], list[float] | None]


class Drafter(Protocol):
    """Proposes how an answer may go on."""

    def propose(self, answer: Sequence[int], limit: int) -> Proposal:
        """Token ids that may come next, and how likely they are.

        Args:
            answer: the ids of the answer so far, without the prompt; empty at its start.
            limit: how many ids are wanted at most.

        Returns:
            at most `limit` ids, possibly none; the id of the end of sequence may be one, and is then the last. For each
            of them the chance that it and all before it are right, or None where the drafter does not know: then what
            became of the row's drafts so far tells.
        """
        ...

    def learn(self, answer: Sequence[int]) -> None:
        """Take in a finished answer, with the id of the end of sequence last where the model wrote it."""
        ...

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what answers have taught, for the `load` of its kind.

        Raises:
            V2XumError: if it learns nothing.
        """
        ...


class UndraftableTokenizer(V2XumError):
    """A drafter cannot read what this tokenizer writes; answers come a token a pass, and are none the worse."""


@dataclass(frozen=True)
class DrafterKind:
    """A drafter as `--drafter` knows it.

    Attributes:
        help: what it guesses, in a few words.
        load: makes one for a tokenizer and a timeline, with what the file of an earlier `save` has learnt; that may be
            None, or not be there yet. It raises `UndraftableTokenizer` if the tokenizer is no good, and V2XumError if
            the file is not.
    """

    help: str
    load: Callable[[Any, Timeline, str | os.PathLike[str] | None], Drafter]
