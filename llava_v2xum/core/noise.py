"""Answers that are no summaries: a decoder that does not end goes round in circles, or lists numbers as prose."""

from __future__ import annotations

import re

from .citations import excerpt

LOOP = "the answer repeats itself without end"
_LONGEST_PHRASE = 40  # words
# our choice: of 300 answers of the released model they name the one that does not end
_FEWEST_ROUNDS, _FEWEST_WORDS = 4, 24
_MANY_ROUNDS = 8
# with single commas as a list is written, or in any way if there are more than a person would write
_NUMBERS = re.compile(r"(?<![\w.:/-])(?:\d+(?:\s*,\s*\d+){3,}|\d+(?:[\s,]+\d+){7,})(?![\w:/-])")
_WORD = re.compile(r"\w+|[^\w\s]")


def noise_in(answer: str, prose: str) -> list[str]:
    """What makes an answer noise, one line each.

    Args:
        answer: as it was generated.
        prose: the text of its sentences, without the frames that they cite.
    """
    problems = []
    words = _WORD.findall(answer)
    phrase = _repeated_at(words)
    if phrase:
        problems.append(f"{LOOP}: {excerpt(' '.join(phrase))}")
    numbers = numbers_in(prose)
    if numbers:
        problems.append(f"numbers stand in the prose, outside of brackets: {excerpt(numbers)}")
    return problems


def numbers_in(prose: str) -> str | None:
    """The first row of numbers that stands in prose as if it were a list of frames."""
    found = _NUMBERS.search(prose)
    return found and found[0]


def _repeated_at(words: list[str]) -> list[str]:
    """The words that a run of words says again and again; none if no run does."""
    for length in range(1, min(_LONGEST_PHRASE, len(words) // _FEWEST_ROUNDS) + 1):
        run = 0  # words in a row that stand `length` words before too
        for place in range(length, len(words)):
            run = run + 1 if words[place] == words[place - length] else 0
            rounds = run // length + 1
            is_loop = rounds >= _MANY_ROUNDS or (rounds >= _FEWEST_ROUNDS and place == len(words) - 1)
            if is_loop and run + length >= _FEWEST_WORDS:
                return words[place - length + 1 : place + 1]
    return []
