"""What is noise and what is not, by hand and by answers as they come."""

from __future__ import annotations

import pytest

from llava_v2xum.core.answers import parse_answer
from llava_v2xum.core.noise import LOOP, noise_in

pytestmark = pytest.mark.pinned


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("A man spins " + "around and " * 40, "around and"),
        ("circle " * 60, "circle"),
        ("[" + ", ".join(["07"] * 40) + "].", "07"),
        ("A man walks. " + "He turns to the left and sits down. " * 4, "He turns to the left and sits down ."),
    ],
)
def test_what_goes_round_in_circles_is_named(answer, named):
    (problem,) = [problem for problem in parse_answer(answer).problems if problem.startswith(LOOP)]
    words = named.split()
    turns = [" ".join(words[start:] + words[:start]) for start in range(len(words))]
    assert any(turn in problem or problem.split(": ", 1)[1].strip("'.") in turn for turn in turns)


@pytest.mark.parametrize(
    "answer",
    [
        "A woman brushes her hair [42, 43, 44]. She smiles [60].",
        "[" + ", ".join(f"{index:02d}" for index in range(100)) + "].",
        "It is very, very, very, very cold and the man is very, very, very happy.",
        "A red star moves across the middle. " * 3 + "A blue star moves across the top.",
        "The men count 1, 2, 3 and go at 10:30 on the 3, the 4 and the 5 of May.",
    ],
)
def test_what_ends_is_no_noise(answer):
    assert noise_in(answer, parse_answer(answer).text) == []


def test_numbers_in_prose_are_named():
    problems = parse_answer("A circle, 0, 0, 0, 0, 12 moves.").problems
    assert problems == ("numbers stand in the prose, outside of brackets: '0, 0, 0, 0, 12'",)
    for row in ("0 1 2 3 4 5 6 7 8", "0,, 1,, 2,, 3,, 4,, 5,, 6,, 7"):
        problems = parse_answer(f"A circle {row} moves.").problems
        assert problems == (f"numbers stand in the prose, outside of brackets: {row!r}",)
    assert parse_answer("They count 5 4 3 2 1 and go.").problems == ()


def test_what_is_said_again_and_again_is_one_problem():
    assert parse_answer("[" + ", ".join(map(str, range(300))) + "].").problems == (
        "200 indexes lie outside 0..99, the first: 100",
    )
    problems = parse_answer("".join(f"A man number {place} sits [105]. " for place in range(30))).problems
    assert problems == ("index 105 lies outside 0..99",)
