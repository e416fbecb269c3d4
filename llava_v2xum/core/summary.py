"""Sentences, the frames that they cite, and a summary of them.

Prose that belongs to no list of frames is split at line ends and at `.`, `!` or `?` before a blank and a capital
letter, except after a few titles (`Dr. Smith`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from .citations import BRACKETS

PUNCTUATION = " .,;:!?" + "".join(BRACKETS.values())  # never begins a sentence: what is left between lists

_ENDS_IN_STOP = re.compile(r"[.!?\u2026][\"'\u201d\u2019)\]]*$")
_STOP_THEN_BLANK = re.compile(r"[.!?][\"'\u201d\u2019)]*(\s+)[\"'\u201c\u2018(]*(?=[^\W\d_])")
_TITLES = ("Dr.", "Mr.", "Mrs.", "Ms.", "St.", "Prof.", "Jr.", "Sr.", "vs.")


@lru_cache(maxsize=4096)  # the converter asks for the same sentences of every task and annotator
def canonical_text(text: str) -> str:
    """The one way a sentence is kept: single blanks, no leading punctuation, a stop at its end.

    `A man runs`, `A man runs .` and ` A man\\n runs.` must not be three different sentences: an answer writes
    its stop behind the frames, a person in front of them or not at all.
    """
    text = re.sub(r" ([.!?])$", r"\1", trimmed(text))
    return text if not text or ends_in_stop(text) else text + "."


def trimmed(text: str) -> str:
    """Prose with single blanks, without leading punctuation and without what is no stop at its end."""
    return " ".join(text.split()).lstrip(PUNCTUATION).rstrip(" ,;:")


def ends_in_stop(text: str) -> bool:
    """Whether the last of a text is a stop, quotes and brackets aside."""
    return bool(_ENDS_IN_STOP.search(text))


def split_prose(prose: str) -> list[str]:
    """Split prose that no list belongs to into canonical sentences: see the module's docstring."""
    pieces = []
    for line in prose.splitlines():
        start = 0
        for match in _STOP_THEN_BLANK.finditer(line):
            if line[match.end()].isupper() and not line[: match.start() + 1].endswith(_TITLES):
                pieces.append(line[start : match.start(1)])
                start = match.start(1)
        pieces.append(line[start:])
    return [text for text in map(canonical_text, pieces) if text]


@dataclass(frozen=True)
class Sentence:
    """One sentence and the frames it cites.

    Args:
        text: kept in its canonical form (`canonical_text`); empty for frames alone (VIDEO answers).
        frames: the cited frame indexes, in the order of the answer.
    """

    text: str
    frames: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", canonical_text(self.text))
        object.__setattr__(self, "frames", tuple(int(frame) for frame in self.frames))


@dataclass(frozen=True)
class Summary:
    """What an answer says: sentences, and the problems found in reading it.

    Two summaries are equal when their sentences are. Problems tell of the answer that was read, not of what
    was understood from it, so they take no part: a summary built by hand equals the one read from its text.

    Args:
        sentences: those that have neither text nor frames are left out.
        problems: one line each, for people.
    """

    sentences: tuple[Sentence, ...]
    problems: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sentences", tuple(s for s in self.sentences if s.text or s.frames))
        object.__setattr__(self, "problems", tuple(self.problems))

    @property
    def frames(self) -> tuple[int, ...]:
        """Every cited frame index once, ascending."""
        return tuple(sorted({frame for sentence in self.sentences for frame in sentence.frames}))

    @property
    def text(self) -> str:
        """The sentences, joined by one blank."""
        return " ".join(sentence.text for sentence in self.sentences if sentence.text)
