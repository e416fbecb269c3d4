"""Annotators' key spans -> targets -> answers: rules against brute force, answers read back."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.core.annotations import AnnotatedSentence, Annotation
from llava_v2xum.core.answers import parse_answer
from llava_v2xum.core.errors import V2XumError
from llava_v2xum.core.keyshots import Keyshots
from llava_v2xum.core.summary import Sentence
from llava_v2xum.core.tasks import TASKS
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.data.convert import AnswerSettings, entries_of, targets_of
from llava_v2xum.data.convert.targets import covered, frames_of, medoid

pytestmark = pytest.mark.pinned

DURATION = 50.0
THREE = Annotation(
    "v_1",
    DURATION,
    "videoxum",
    (
        AnnotatedSentence("A man runs.", (0.0, 20.0), (((1.0, 5.0),), ((3.0, 7.0),), ((4.0, 9.0),))),
        AnnotatedSentence("He stops.", (18.0, 50.0), (((20.0, 21.0),), ((30.0, 31.0),), ((40.0, 41.0),))),
    ),
    5,
    selections=((1, 1, 0, 0, 1), (1, 1, 1, 0, 0), (0, 1, 1, 0, 0)),
)


def answers_of(annotation: Annotation, **arguments) -> dict[str, list[str]]:
    entries, _ = entries_of(annotation, AnswerSettings(**arguments))
    return {task: [one["conversations"][1]["value"] for one in some] for task, some in entries.items()}


def test_the_rules_by_hand():
    # F1 with the others: annotator 0 has 4/6 and 2/5, 1 has 4/6 and 4/5, 2 has 2/5 and 4/5
    assert medoid(THREE) == 1
    [chosen] = targets_of(THREE, "medoid")
    assert (chosen.annotator, chosen.sentence_spans) == (1, (((3.0, 7.0),), ((30.0, 31.0),)))
    assert chosen.video_spans == ((3.0, 7.0), (30.0, 31.0))
    [both] = targets_of(THREE, "majority")  # two of three; for the second sentence nobody agrees: all of them
    assert both.sentence_spans == (((3.0, 7.0),), ((20.0, 21.0), (30.0, 31.0), (40.0, 41.0)))
    assert both.annotator is None
    [union] = targets_of(THREE, "union")
    assert union.sentence_spans == (((1.0, 9.0),), ((20.0, 21.0), (30.0, 31.0), (40.0, 41.0)))
    assert targets_of(THREE, "all") == [targets_of(THREE, person)[0] for person in range(3)]
    assert targets_of(THREE, "first") == targets_of(THREE, 0)


def test_an_unknown_rule_and_a_missing_annotator():
    with pytest.raises(ValueError, match="one of medoid, majority, union, first, all or an annotator's number"):
        targets_of(THREE, "mediod")
    with pytest.raises(ValueError, match="annotator 3 is asked for, and the video has 0 to 2"):
        targets_of(THREE, 3)


def test_samples_without_a_duration_are_no_spans():
    keyshots = Keyshots(30, (0, 15), mean_scores=(0.5, 1.0))
    annotation = Annotation("v", None, "x", selections=((1, 0),), keyshots=keyshots)
    with pytest.raises(V2XumError, match="v: times are asked for, and duration_seconds is null"):
        targets_of(annotation)
    with pytest.raises(V2XumError, match="no VIDEO answer: the annotation marks no part of the video"):
        entries_of(Annotation("v", None, "x", keyshots=keyshots), AnswerSettings(tasks=("video",)))


def test_a_tie_goes_to_the_first_and_an_empty_selection_never_wins():
    def annotation(rows):
        return Annotation("v", 4.0, "x", selections=rows)

    assert medoid(annotation([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])) == 0
    assert medoid(annotation([[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])) == 2


def test_without_selections_the_touched_seconds_decide():
    spans = [((0.0, 1.5),), ((8.0, 9.5),), ((1.2, 2.0),), ()]
    assert medoid(Annotation("v", 10.0, "x", (AnnotatedSentence("A man.", None, tuple(spans)),))) == 0
    spans[0], spans[2] = spans[1], spans[0]
    assert medoid(Annotation("v", 10.0, "x", (AnnotatedSentence("A man.", None, tuple(spans)),))) == 0


@settings(max_examples=100, deadline=None, database=None)
@given(st.integers(1, 12).flatmap(
    lambda samples: st.lists(st.lists(st.integers(0, 1), min_size=samples, max_size=samples), min_size=2, max_size=6)
))  # fmt: skip
def test_the_medoid_is_the_one_of_a_plain_loop(rows):
    sets = [{place for place, one in enumerate(row) if one} for row in rows]

    def f1(a, b):
        return 2 * len(a & b) / (len(a) + len(b)) if a or b else 0.0

    means = [round(math.fsum(f1(a, b) for other, b in enumerate(sets) if other != place), 9)
             for place, a in enumerate(sets)]  # fmt: skip
    assert medoid(Annotation("v", 20.0, "x", selections=rows)) == means.index(max(means))


whole_spans = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(lambda span: tuple(map(float, sorted(span))))


@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(st.lists(whole_spans, max_size=3).map(tuple), min_size=1, max_size=5), st.integers(1, 5))
def test_covered_moments_are_those_of_a_plain_count(annotators, at_least):
    found = covered(annotators, at_least)
    moments = np.arange(0, 12.25, 0.25)

    def holds(spans, moment):
        return any(start <= moment <= end for start, end in spans)

    counts = [sum(holds(spans, moment) for spans in annotators) for moment in moments]
    threshold = min(at_least, max(counts))
    expected = [count >= threshold and count > 0 for count in counts]
    assert [holds(found, moment) for moment in moments] == expected
    assert list(found) == sorted(found) and all(a[1] < b[0] for a, b in pairwise(found))


def test_a_span_is_every_index_from_its_start_to_its_end():
    timeline = Timeline()
    assert frames_of([(0.0, 1.0)], DURATION, timeline) == (0, 1, 2)
    assert frames_of([(10.2, 10.2)], DURATION, timeline) == (20,)
    assert frames_of([(49.0, 50.0), (48.6, 49.2)], DURATION, timeline) == (97, 98, 99)
    assert frames_of([(0.0, 50.0)], DURATION, Timeline(4)) == (0, 1, 2, 3)
    assert frames_of([], DURATION, timeline) == ()


def test_the_answers_by_hand():
    assert answers_of(THREE, annotators=1) == {
        "both": ["A man runs [06, 07, 08, 09, 10, 11, 12, 13, 14]. He stops [60, 61, 62]."],
        "video": ["[06, 07, 08, 09, 10, 11, 12, 13, 14, 60, 61, 62]."],
        "text": ["A man runs. He stops."],
    }
    assert answers_of(THREE, annotators=1, form="before", tasks=("both",)) == {
        "both": ["[06, 07, 08, 09, 10, 11, 12, 13, 14]A man runs.\n[60, 61, 62]He stops."],
    }
    assert answers_of(THREE, annotators=1, timeline=Timeline(8, "[{:03d}]"))["both"] == [
        "A man runs [000, 001]. He stops [005]."
    ]


def test_an_entry_is_a_conversation():
    entries, missing = entries_of(THREE, AnswerSettings(tasks=("video",), annotators=1, timeline=Timeline(8)))
    assert missing == {}
    assert entries == {
        "video": [
            {
                "id": "v_1",
                "num_frames": 8,
                "conversations": [
                    {"from": "human", "value": "<video>\nPlease generate a VIDEO summarization for this video."},
                    {"from": "gpt", "value": "[00, 01, 05]."},
                ],
                "annotator": 1,
            }
        ]
    }


def test_all_annotators_give_text_once():
    entries, _ = entries_of(THREE, AnswerSettings(annotators="all"))
    assert {task: len(some) for task, some in entries.items()} == {"both": 3, "video": 3, "text": 1}
    assert [entry["annotator"] for entry in entries["both"]] == [0, 1, 2]
    assert "annotator" not in entries["text"][0]


def test_a_task_without_an_answer_is_told():
    told = Annotation("v", DURATION, "x", (AnnotatedSentence("A man runs."),))
    entries, missing = entries_of(told, AnswerSettings())
    assert list(entries) == ["text"]
    assert missing == {
        "both": "no sentence of the annotation has a part of the video marked",
        "video": "the annotation marks no part of the video",
    }
    with pytest.raises(ValueError, match="no VIDEO answer: the annotation marks no part of the video"):
        entries_of(told, AnswerSettings(tasks=("video",)))
    shown = Annotation("v", DURATION, "x", key_spans=(((1.0, 1.0), (2.0, 3.0)),))
    assert answers_of(shown, tasks=("video",)) == {"video": ["[02, 04, 05, 06]."]}
    assert entries_of(shown, AnswerSettings())[1]["text"] == "the annotation has no text"


def test_selected_samples_alone_are_a_video_answer():
    rows = ((0, 1, 1, 1, 0, 1), (0, 0, 1, 1, 0, 0))
    selected = Annotation("v", 5.4, "x", selections=rows)
    assert targets_of(selected, 0)[0].video_spans == ((1.0, 3.0), (5.0, 5.0))
    assert targets_of(selected, "union")[0].video_spans == ((1.0, 3.0), (5.0, 5.0))
    assert targets_of(selected, "majority")[0].video_spans == ((1.0, 3.0), (5.0, 5.0))  # one of two is half
    assert answers_of(selected, annotators=1, tasks=("video",), timeline=Timeline(6)) == {"video": ["[02, 03]."]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A man [05] runs.", "BOTH answer does not read back"),
        ("A man runs 05].", "BOTH answer does not read back: a closing bracket"),
        ("A man <image> runs.", "the text holds <image>"),
        ("A <video> of a man.", "the text holds <video>"),
        ("A man runs. </s> He sits.", "the text holds </s>"),
        ("A man runs.</s>", "the text holds </s>"),
        ("<s>A man runs.", "the text holds <s>"),
        ("A man <unk> runs.", "the text holds <unk>"),
        ("A man <im_start> runs.", "the text holds <im_start>"),
        ("A man <f3> runs.", "the text holds <f3>"),
    ],
)
def test_text_that_no_answer_can_hold_is_an_error(text, message):
    annotation = Annotation("v", DURATION, "x", (AnnotatedSentence(text, (1.0, 2.0)),))
    with pytest.raises(ValueError, match=message):
        entries_of(annotation, AnswerSettings())


def test_bad_settings():
    with pytest.raises(ValueError, match="tasks must be of video, text, both, got vidoe"):
        AnswerSettings(tasks=("vidoe",))
    with pytest.raises(ValueError, match="form must be one of after, before, got 'between'"):
        AnswerSettings(form="between")
    with pytest.raises(ValueError, match="annotators must be one of medoid, .* or a number, got 'mediod'"):
        AnswerSettings(annotators="mediod")


seconds = st.floats(0, DURATION)
spans = st.tuples(seconds, seconds).map(lambda span: tuple(sorted(span)))
words = st.sampled_from(["man", "Dr.", "runs,", "2", "[music]", "etc...", "stops. He", '"No!"', "-", "\n"])
captions = st.lists(words, min_size=1, max_size=5).map(lambda some: "A " + " ".join(some))


@st.composite
def annotations(draw):
    people = draw(st.integers(0, 4))
    spans_of_all = st.lists(st.lists(spans, min_size=1, max_size=2).map(tuple), min_size=people, max_size=people)
    sentence = st.builds(AnnotatedSentence, captions, spans, spans_of_all.map(tuple))
    return Annotation("v", DURATION, "x", tuple(draw(st.lists(sentence, min_size=1, max_size=4))))


@settings(max_examples=150, deadline=None, database=None)
@given(
    annotations(),
    st.sampled_from(["after", "before"]),
    st.sampled_from(["medoid", "majority", "union", "first", "all"]),
    st.integers(1, 100),
)
def test_answers_read_back_to_the_same_sentences_and_frames(annotation, form, rule, num_frames):
    chosen = AnswerSettings(TASKS, form, rule, Timeline(num_frames))

    def indexes(some):
        edges = [[min(round(t / DURATION * num_frames), num_frames - 1) for t in span] for span in some]
        return {index for first, last in edges for index in range(first, last + 1)}

    targets = targets_of(annotation, rule)
    answers = answers_of(annotation, tasks=TASKS, form=form, annotators=rule, timeline=chosen.timeline)
    assert {task: len(some) for task, some in answers.items()} == {
        "video": len(targets), "text": 1, "both": len(targets)
    }  # fmt: skip
    for target, both, video in zip(targets, answers["both"], answers["video"]):
        read = parse_answer(both, num_frames, "both")
        expected = tuple(
            Sentence(one.text, sorted(indexes(some)))
            for one, some in zip(annotation.sentences, target.sentence_spans)
        )
        assert (read.sentences, read.problems) == (expected, ())
        read = parse_answer(video, num_frames, "video")
        assert (set(read.frames), read.text, read.problems) == (indexes(target.video_spans), "", ())
    read = parse_answer(answers["text"][0], num_frames, "text")
    assert read.text == " ".join(Sentence(one.text).text for one in annotation.sentences)
    assert (read.frames, read.problems) == ((), ())
