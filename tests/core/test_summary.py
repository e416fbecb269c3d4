"""Answers of both forms are read, written back and read again; what is wrong with one is listed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.core.answers import format_answer, parse_answer
from llava_v2xum.core.summary import Sentence, Summary, canonical_text, split_prose
from llava_v2xum.core.timeline import Timeline

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def sentences(text: str, **arguments) -> list[tuple[str, tuple[int, ...]]]:
    summary = parse_answer(text, **arguments)
    assert summary.problems == ()
    return [(sentence.text, sentence.frames) for sentence in summary.sentences]


def test_frames_after_the_sentence():
    assert sentences("A woman brushes her hair [42, 43, 44]. She smiles [07].", task="both") == [
        ("A woman brushes her hair.", (42, 43, 44)),
        ("She smiles.", (7,)),
    ]


def test_frames_before_the_sentence():
    assert sentences('\n[05]A hand holds a box. It is white.\n[11]A "cube", on a table\n', task="both") == [
        ("A hand holds a box. It is white.", (5,)),
        ('A "cube", on a table.', (11,)),
    ]
    assert sentences("[05] A hand [06] A box") == [("A hand.", (5,)), ("A box.", (6,))]
    assert sentences("[05]\nA hand\n[06]\nA box") == [("A hand.", (5,)), ("A box.", (6,))]
    assert sentences("[05][06]A hand.") == [("A hand.", (5, 6))]


def test_a_first_line_without_frames_does_not_hide_the_form():
    assert sentences("Objects:\n[05]A hand.\n[06]A box.") == [
        ("Objects.", ()),
        ("A hand.", (5,)),
        ("A box.", (6,)),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[12, 13, 14, 40, 41].", [("", (12, 13, 14, 40, 41))]),
        ("[12, 13] [40, 41]", [("", (12, 13, 40, 41))]),
        ("[12, 13]. [40, 41].", [("", (12, 13)), ("", (40, 41))]),
    ],
)
def test_video_answers(text, expected):
    assert sentences(text, task="video") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "He meets Dr. Smith [03]. Then he goes [04].",
            [("He meets Dr. Smith.", (3,)), ("Then he goes.", (4,))],
        ),
        ("He runs. She walks [03].", [("He runs. She walks.", (3,))]),
        ("Is he running [03]? Yes [04]!", [("Is he running?", (3,)), ("Yes!", (4,))]),
        ("A [03], [04]. B [05]", [("A.", (3, 4)), ("B.", (5,))]),
        ("A man runs [03] and jumps [04].", [("A man runs.", (3,)), ("and jumps.", (4,))]),
        ("He runs [03]. The end. It is dark", [("He runs.", (3,)), ("The end.", ()), ("It is dark.", ())]),
        ("A man\n[03]. A dog.\n[04].", [("A man.", (3,)), ("A dog.", (4,))]),
        ("[music] plays [03]. He [laughs] [04].", [("[music] plays.", (3,)), ("He [laughs].", (4,))]),
        ("He waits... [03].", [("He waits...", (3,))]),
        ("A [5]. B [005].", [("A.", (5,)), ("B.", (5,))]),
        ("A [44, 03]. B [01].", [("A.", (44, 3)), ("B.", (1,))]),
    ],
)
def test_where_a_sentence_ends(text, expected):
    assert sentences(text) == expected


def test_text_answers_are_split_at_a_stop_before_a_capital():
    text = 'Dr. Smith sits. He is 5.5 feet tall! "Who?" e.g. nobody says\nThe end'
    texts = ["Dr. Smith sits.", "He is 5.5 feet tall!", '"Who?" e.g. nobody says.', "The end."]
    assert sentences(text, task="text") == [(item, ()) for item in texts]
    assert parse_answer(text).text == " ".join(texts)


@pytest.mark.parametrize(
    ("text", "task", "problems", "expected"),
    [
        ("A man [07, 100].", "both", ["index 100 lies outside 0..99"], [("A man.", (7,))]),
        ("A man [" + "9" * 5000 + "].", None, ["lies outside 0..99"], [("A man.", ())]),
        ("A man [07, 08", None, ["open bracket: '[07, 08'"], [("A man.", (7, 8))]),
        ("A man [07, 0", None, ["open bracket", "cut-off index: '0'"], [("A man.", (7,))]),
        ("A man [0", None, ["open bracket", "cut-off index: '0'"], [("A man.", ())]),
        ("A man [", "text", ["open bracket"], [("A man.", ())]),
        ("A man [07, 08 and she [09].", None, ["open bracket"], [("A man.", (7, 8)), ("and she.", (9,))]),
        ("A [music man [09].", None, ["open bracket"], [("A [music man.", (9,))]),
        ("A man [[07]].", None, ["open bracket", "closing bracket without"], [("A man.", (7,))]),
        ("A man 07] runs.", None, ["closing bracket without"], [("A man 07] runs.", ())]),
        ("A man [05-09].", "text", ["kept as prose: '[05-09]'"], [("A man [05-09].", ())]),
        ("A man [f05] runs [].", None, ["'[f05]'", "'[]'"], [("A man [f05] runs [].", ())]),
        ("A man [05 06,].", None, ["not parted by single commas"], [("A man.", (5, 6))]),
        ("A man [05].", "text", ["a TEXT answer cites frames"], [("A man.", (5,))]),
        ("A man [05].", "video", ["a VIDEO answer holds prose: 'A man.'"], [("A man.", (5,))]),
        ("A man.", "both", ["a BOTH answer cites no frame"], [("A man.", ())]),
        ("[05].", "both", ["a BOTH answer holds no prose"], [("", (5,))]),
        ("", "both", ["the answer is empty"], []),
        (" .\n", None, ["the answer is empty"], []),
    ],
)
def test_problems_are_listed_and_nothing_is_dropped(text, task, problems, expected):
    summary = parse_answer(text, task=task)
    assert [(sentence.text, sentence.frames) for sentence in summary.sentences] == expected
    assert len(summary.problems) == len(problems)
    for problem, part in zip(summary.problems, problems, strict=True):
        assert part in problem and len(problem) < 120


def test_other_numbers_of_frames():
    timeline = Timeline(num_frames=128, template="[{:03d}]")
    summary = Summary((Sentence("A man", (7, 127)),))
    answer = format_answer(summary, timeline=timeline)
    assert answer == "A man [007, 127]."
    assert parse_answer(answer, num_frames=128) == summary
    assert parse_answer("A man [16].", num_frames=16).problems == ("index 16 lies outside 0..15",)


def test_a_summary_built_by_hand_equals_the_one_read():
    by_hand = Summary((Sentence(" A woman brushes\nher hair", [42, 43]), Sentence("She smiles .", (44,))))
    assert by_hand == parse_answer("A woman brushes her hair [42, 43]. She smiles [44].")
    assert format_answer(by_hand) == "A woman brushes her hair [42, 43]. She smiles [44]."
    assert format_answer(by_hand, "before") == "[42, 43]A woman brushes her hair.\n[44]She smiles."
    assert by_hand.frames == (42, 43, 44)
    assert by_hand == Summary(by_hand.sentences, ("problems tell of the answer, not of the summary",))


def test_bad_arguments():
    with pytest.raises(ValueError, match="task must be one of video, text, both or None, got 'vidoe'"):
        parse_answer("A man.", task="vidoe")
    with pytest.raises(ValueError, match="form must be one of after, before, got 'between'"):
        format_answer(Summary(()), "between")
    with pytest.raises(ValueError, match=r"frames must lie in 0\.\.99, got \[100\]"):
        format_answer(Summary((Sentence("A man", (100,)),)))


def expressible(sentence: Sentence) -> bool:
    """What `format_answer` says it can write: where nothing is cited, text that holds one sentence."""
    return bool(sentence.frames) or split_prose(sentence.text) == [sentence.text]


words = st.sampled_from(
    ["A", "man", "Dr.", "J.", "runs", "2", "[music]", "etc...", "Why?", '"No!"', "a,b", "(so)", "-"]
)
prose = st.one_of(
    st.lists(words, max_size=6).map(" ".join),
    st.text(st.characters(exclude_characters="[]", exclude_categories=("Cs",)), max_size=30),
)
frame_lists = st.lists(st.integers(0, 99), max_size=4).map(tuple)
summaries = st.lists(st.builds(Sentence, prose, frame_lists).filter(expressible), max_size=6).map(
    lambda items: Summary(tuple(items))
)


@settings(max_examples=400, deadline=None, database=None)
@given(summaries, st.sampled_from(["after", "before"]))
def test_written_summaries_read_back(summary, form):
    answer = format_answer(summary, form)
    parsed = parse_answer(answer)
    assert parsed == summary, answer
    assert parsed.problems == (() if summary.sentences else ("the answer is empty",))


@settings(max_examples=400, deadline=None, database=None)
@given(
    st.text(st.sampled_from("aB[]0 19,.-\n?x"), max_size=40), st.sampled_from(["video", "text", "both", None])
)
def test_any_answer_is_read_and_every_index_is_kept_or_named(answer, task):
    summary = parse_answer(answer, task=task)
    for index in re.findall(r"\[\s*([0-9]+)\s*\]", answer):
        assert int(index) in summary.frames or any(f"index {index} lies" in line for line in summary.problems)
    assert all(0 <= frame < 100 for frame in summary.frames)


@settings(max_examples=200, deadline=None, database=None)
@given(prose)
def test_canonical_text_is_stable(text):
    assert canonical_text(canonical_text(text)) == canonical_text(text)


@pytest.mark.skipif(not SHARED.exists(), reason="../shared is not here")
def test_real_answers_have_no_problem_but_one_that_does_not_end():
    lines = (SHARED / "released_model_answers.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    assert len(answers) == 300
    problems = [problem for answer in answers for problem in parse_answer(answer, task="both").problems]
    assert problems == ["the answer repeats itself without end: 'around and'"]
    for answer in answers:
        summary = parse_answer(answer, task="both")
        numbers = [int(number) for number in re.findall(r"\d+", answer)]
        assert [frame for sentence in summary.sentences for frame in sentence.frames] == numbers
        assert len(summary.sentences) == answer.count("[") + (not answer.endswith("]."))
        assert parse_answer(format_answer(summary)) == summary
        assert parse_answer(format_answer(summary, "before")) == summary
        if answer.endswith("]."):
            assert format_answer(summary) == answer


@pytest.mark.skipif(not SHARED.exists(), reason="../shared is not here")
def test_the_published_training_example():
    entry = json.loads((SHARED / "instruct_v2xum_example.json").read_text(encoding="utf-8"))[0]
    timeline, meta = Timeline(), entry["meta"]
    answer = entry["conversations"][1]["value"]
    for name, second in meta["token"].items():
        answer = answer.replace(name, timeline.cite(timeline.index_at(second, meta["duration"])))
    summary = parse_answer(answer, task="both")
    assert summary.problems == ()
    assert len(summary.sentences) == 14
    assert all(len(sentence.frames) == 1 for sentence in summary.sentences)
    assert format_answer(summary, "before") == answer.strip()
