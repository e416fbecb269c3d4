"""A table of what followed in finished answers, by context.

The next token is guessed by interpolated absolute discounting (Ney, Essen and Kneser 1994): what the longest known
context says, and a share of what each shorter one says as large as the counts that the discount took away.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...core.atomic import replacing
from ...core.errors import V2XumError
from ...core.timeline import Timeline
from .indexes import Vocabulary
from .reader import ORDER, Context, Reader

Counts = dict[int, int]  # of the tokens that followed a context

_FORMAT = "llava_v2xum answer n-grams"
_VERSION = 1
_DISCOUNT = 0.5  # 0.3 to 0.8 made no difference on the released models' answers
_OWN_WEIGHT = 3  # how often as much this answer's own words count; 2 to 5 made no difference, 0 cost 18 %
_MOST_TOKENS = 32  # that are kept of what followed one context
_KEPT = 0.75  # of the contexts, when there are too many


class NgramTable:
    """Counts of the tokens that followed each context, learnt from finished answers.

    Args:
        vocabulary: of the answers' tokenizer.
        lists: whether lists of indexes are told from prose (`Reader`).
        max_contexts: above it the contexts that came least often are forgotten, the longest and oldest first. The
            default takes 70 MB and holds about 4,000 answers of the released models.

    Raises:
        V2XumError: if max_contexts is not positive.
    """

    def __init__(self, vocabulary: Vocabulary, lists: bool = True, max_contexts: int = 200_000) -> None:
        if max_contexts < 1:
            raise V2XumError(f"max_contexts must be at least 1, got {max_contexts}")
        self.vocabulary = vocabulary
        self.lists = lists
        self.max_contexts = max_contexts
        self._counts: dict[Context, Counts] = {}

    def __len__(self) -> int:
        """How many contexts are known."""
        return len(self._counts)

    def learn(self, ids: Sequence[int]) -> None:
        """Take in a finished answer, with the end of sequence last where the model wrote it."""
        reader = Reader(self.vocabulary, self.lists)
        for token in ids:
            note(self._counts, reader, token)
            reader.read(token)
        if len(self._counts) > self.max_contexts:
            self._forget()

    def guess(self, contexts: Iterable[Context], own: dict[Context, Counts]) -> tuple[int | None, float]:
        """The likeliest next token and its chance; None where no context is known.

        Args:
            contexts: from the one that says most to the one that says least (`Reader.contexts`).
            own: what followed in this answer so far (`note`).
        """
        chances: dict[int, float] = {}
        likeliest, best = None, 0.0
        share = 1.0  # of the chances that the contexts to come have to give
        for context in contexts:
            counts, mine = self._counts.get(context), own.get(context)
            if mine:
                counts = dict(counts or {})
                for token, count in mine.items():
                    counts[token] = counts.get(token, 0) + _OWN_WEIGHT * count
            if not counts:
                continue
            unit = share / sum(counts.values())
            for token, count in counts.items():
                chance = chances.get(token, 0.0) + unit * (count - _DISCOUNT)
                chances[token] = chance
                if chance > best:
                    likeliest, best = token, chance
            share = unit * _DISCOUNT * len(counts)
            if best >= 0.5 or best >= share + _second(chances):  # nothing can overtake it any more
                break
        return likeliest, best

    def _forget(self) -> None:
        """Drop contexts that came least often, of those the longest, of those the oldest."""
        worth = sorted(self._counts, key=lambda context: (sum(self._counts[context].values()), -len(context)))
        for context in worth[: len(worth) - max(int(_KEPT * self.max_contexts), 1)]:
            del self._counts[context]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as one JSON file."""
        described = {**self._description(), "max_contexts": self.max_contexts}
        entries = [[list(context), list(counts.items())] for context, counts in self._counts.items()]
        with replacing(path) as unfinished:
            unfinished.write_text(json.dumps({**described, "contexts": entries}, separators=(",", ":")))

    @classmethod
    def load(cls, path: str | os.PathLike[str], tokenizer, timeline: Timeline) -> NgramTable:
        """Read a table that was saved for this tokenizer and timeline.

        Raises:
            FileNotFoundError: if there is no such file.
            V2XumError: if the file is no such table, or one of another version, tokenizer or timeline.
        """
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise V2XumError(f"{path}: expected a table of n-grams in JSON, got {error}") from error
        if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
            raise V2XumError(f"{path}: expected a file of the format {_FORMAT!r}")
        try:
            table = cls(Vocabulary.of(tokenizer, timeline), bool(stored["lists"]), int(stored["max_contexts"]))
            for name, expected in table._description().items():
                if stored[name] != expected:
                    raise V2XumError(f"the table is of another {name}: expected {expected}, got {stored[name]}")
            table._counts = {tuple(context): dict(map(tuple, counts)) for context, counts in stored["contexts"]}
        except KeyError as error:
            raise V2XumError(f"{path}: the table has no {error}") from error
        except (TypeError, ValueError) as error:
            raise V2XumError(f"{path}: {error}") from error
        return table

    def _description(self) -> dict:
        timeline = self.vocabulary.timeline
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "vocabulary": self.vocabulary.digest,
            "timeline": [timeline.num_frames, timeline.template],
            "order": ORDER,
            "lists": self.lists,
        }


def note(counts: dict[Context, Counts], reader: Reader, token: int) -> None:
    """Count a token in its contexts, unless the rule of lists gives it."""
    if not reader.after_index and reader.rule():
        return
    for context in reader.contexts():
        followed = counts.setdefault(context, {})
        followed[token] = followed.get(token, 0) + 1
        if len(followed) > _MOST_TOKENS:
            kept = sorted(followed, key=followed.__getitem__, reverse=True)[: _MOST_TOKENS // 2]
            counts[context] = {one: followed[one] for one in kept}


def _second(chances: dict[int, float]) -> float:
    """The second highest chance, 0 where there is but one."""
    return sorted(chances.values())[-2] if len(chances) > 1 else 0.0
