"""The drafter that reads lists of indexes and knows phrases."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ...core.errors import V2XumError
from ...core.timeline import Timeline
from .indexes import Vocabulary
from .ngrams import NgramTable, note
from .protocols import DrafterKind
from .reader import Reader

KINDS = ("indexes", "ngrams")

LEAST_CHANCE = 0.01  # at 64 tokens, real answers: 0.3 % more passes than with 0, and 44 % fewer positions
_RULE_CHANCE = 0.97  # of successive indexes in real answers differ by one
_GOING_ON_CHANCE = 0.9  # lists of real answers have ten indexes
_KEPT_ANSWERS = 1024  # in the making; more than a batch has rows


def drafter_for(
    tokenizer,
    timeline: Timeline,
    learnt: NgramTable | None = None,
    kinds: Sequence[str] = KINDS,
    least_chance: float = LEAST_CHANCE,
) -> AnswerDrafter:
    """A drafter for the answers of a model.

    Args:
        tokenizer: the model's.
        timeline: the model's.
        learnt: what it knows from the beginning; it goes on learning from finished answers.
        kinds: "indexes" (a list's run of indexes goes on), "ngrams" (what followed before follows again) or both.
        least_chance: a proposal ends before the token at which it is less likely than this to be right as a whole.

    Raises:
        V2XumError: if a kind is none of these or there is none, or the table is another tokenizer's, timeline's or
            kind's.
        UndraftableTokenizer: if the tokenizer does not write indexes digit by digit.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise V2XumError(f"kinds must be one or both of {', '.join(KINDS)}, got {list(kinds)}")
    vocabulary, lists = Vocabulary.of(tokenizer, timeline), "indexes" in kinds
    if learnt is None:
        learnt = NgramTable(vocabulary, lists) if "ngrams" in kinds else None
    elif "ngrams" not in kinds:
        raise V2XumError(f"a table of n-grams is of no use to the kinds {list(kinds)}")
    elif learnt.vocabulary != vocabulary or learnt.lists != lists:
        raise V2XumError("the table of n-grams is of another tokenizer, timeline or kinds")
    return AnswerDrafter(vocabulary, learnt, lists, least_chance)


class AnswerDrafter:
    """Lists go on by rule, all else as it did before: in this answer, in finished ones and in the table's.

    What it has read of an answer is remembered, so that a call reads only what is new. For that, an answer should be
    the same list in every call; another gives the same proposal, later.

    Args:
        vocabulary: the tokenizer's.
        table: None drafts by the rule of lists alone.
        lists: whether lists are told from prose, and go on by rule.
        least_chance: see `drafter_for`.
    """

    def __init__(
        self, vocabulary: Vocabulary, table: NgramTable | None, lists: bool = True, least_chance: float = LEAST_CHANCE
    ) -> None:
        self.vocabulary = vocabulary
        self.table = table
        self.lists = lists
        self.least_chance = least_chance
        self._progress: dict[int, _Progress] = {}

    def propose(self, answer: Sequence[int], limit: int) -> tuple[list[int], list[float]]:
        """As in `Drafter`, with chances: their sum over w tokens is what a pass over these is likely to save."""
        progress = self._follow(answer)
        reader, own = progress.reader.copy(), progress.own
        ids: list[int] = []
        chances: list[float] = []
        chance = 1.0
        while len(ids) < limit:
            tokens, by_rule, likely = self._next(reader, own)
            chance *= likely
            if not likely or chance < self.least_chance:
                break
            ids += tokens
            chances += [chance] * len(tokens)
            if by_rule:
                reader.go_on()
            elif tokens[0] == self.vocabulary.eos:
                break
            else:
                reader.read(tokens[0])
        return ids[:limit], chances[:limit]

    def learn(self, answer: Sequence[int]) -> None:
        """As in `Drafter`; without a table there is nothing to learn."""
        self._progress.pop(id(answer), None)
        if self.table is not None:
            self.table.learn(answer)

    def save(self, path: str | os.PathLike[str]) -> None:
        """As in `Drafter`: the table of n-grams."""
        if self.table is None:
            raise V2XumError(f"{path}: there is no draft table to save: lists go on by rule, which nothing teaches")
        self.table.save(path)

    def _next(self, reader: Reader, own: dict) -> tuple[tuple[int, ...], bool, float]:
        """The ids of a list that goes on by rule, or else the next token; which; the chance, 0 where none is known."""
        ruled = reader.rule()
        if ruled and not reader.after_index:
            return ruled, True, _RULE_CHANCE
        token, likely = (None, 0.0) if self.table is None else self.table.guess(reader.contexts(), own)
        if ruled and token in (None, ruled[0]):
            return ruled, True, (_GOING_ON_CHANCE if token is None else likely) * _RULE_CHANCE
        return () if token is None else (token,), False, likely

    def _follow(self, answer: Sequence[int]) -> _Progress:
        """What is known of an answer, brought up to its last token."""
        progress = self._progress.pop(id(answer), None)
        if progress is None or list(answer[: len(progress.ids)]) != progress.ids:
            progress = _Progress(Reader(self.vocabulary, self.lists))
        for token in answer[len(progress.ids) :]:
            if self.table is not None:
                note(progress.own, progress.reader, token)
            progress.reader.read(token)
            progress.ids.append(token)
        self._progress[id(answer)] = progress
        if len(self._progress) > _KEPT_ANSWERS:
            del self._progress[next(iter(self._progress))]  # the one that was asked about longest ago
        return progress


class _Progress:
    """What has been read of an answer in the making."""

    def __init__(self, reader: Reader) -> None:
        self.ids: list[int] = []
        self.reader = reader
        self.own: dict = {}


def _load(
    tokenizer, timeline: Timeline, path: str | os.PathLike[str] | None, kinds: Sequence[str]
) -> AnswerDrafter:
    """See `DrafterKind.load`."""
    if path is not None and "ngrams" not in kinds:
        raise V2XumError(f"{path}: a draft table is of no use where lists alone are drafted")
    learnt = NgramTable.load(path, tokenizer, timeline) if path is not None and Path(path).exists() else None
    return drafter_for(tokenizer, timeline, learnt, kinds)


ANSWERS = DrafterKind("lists of indexes go on, and phrases come again", partial(_load, kinds=KINDS))
INDEXES = DrafterKind("lists of indexes alone", partial(_load, kinds=("indexes",)))
PHRASES = DrafterKind("phrases alone, indexes as any other words", partial(_load, kinds=("ngrams",)))
