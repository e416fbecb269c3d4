"""The citation grammar is told in one place: other brackets and a further answer form are read, written and shown."""

from __future__ import annotations

import pytest

from llava_v2xum.core import citations
from llava_v2xum.core.answer_forms import FORMS, AnswerForm
from llava_v2xum.core.answers import format_answer, parse_answer
from llava_v2xum.core.citations import CitationGrammar
from llava_v2xum.core.summary import Sentence, Summary
from llava_v2xum.core.timeline import Timeline

ROUND = CitationGrammar("(", ")", " + ", digits=3)


@pytest.mark.parametrize(
    ("template", "written"),
    [("[{:02d}]", "[07, 12]"), ("{:02d}", "[07, 12]"), ("[f{:02d}]", "[07, 12]"), ("|{:03d}|", "[007, 012]")],
)
def test_a_template_says_how_its_prompts_are_cited(template, written):
    assert CitationGrammar.of(template).write((7, 12)) == Timeline(100, template).citations.write((7, 12)) == written


def test_a_further_bracket_is_known_to_the_templates_that_begin_with_it(monkeypatch):
    monkeypatch.setitem(citations.BRACKETS, "(", ")")
    timeline = Timeline(100, "({:02d})")
    summary = Summary((Sentence("A [red] man", (7, 12)), Sentence("He runs [05]", (40,))))
    answer = format_answer(summary, timeline=timeline)
    assert answer == "A [red] man (07, 12). He runs [05] (40)."
    read = parse_answer(answer, grammar=timeline.citations)
    assert read == summary and not read.problems
    assert Timeline(100, "[{:02d}]").citations == CitationGrammar()


def test_every_mark_of_a_grammar_is_its_own():
    assert ROUND.write((7, 12)) == "(007 + 012)"
    assert parse_answer("(007+ 12)A man.", grammar=ROUND).sentences == (Sentence("A man", (7, 12)),)
    assert parse_answer("A man (007 12).", grammar=ROUND).problems == (
        "indexes that are not parted by ' + ': '(007 12)'",
    )
    cut_off = parse_answer("A man (007 + 01", grammar=ROUND)
    assert cut_off.frames == (7,) and "a cut-off index: '01'" in cut_off.problems[1]


@pytest.mark.parametrize(
    ("piece", "is_open", "behind"),
    [
        ("▁(", False, True),
        (").", True, False),
        (")(", False, True),
        ("()", True, False),
        ("[", False, False),
        ("5", True, True),
    ],
)
def test_the_last_bracket_of_a_piece_says_whether_a_list_is_open(piece, is_open, behind):
    assert ROUND.open_behind(piece, is_open) is behind


def test_published_lists_take_the_brackets_that_a_model_reads():
    published = "\n[<f0>]A [red] man.\n[<f1>, <f2>]He runs <f3>.\n"
    assert ROUND.adopt(published) == "\n(<f0>)A [red] man.\n(<f1>, <f2>)He runs <f3>.\n"
    assert CitationGrammar().adopt(published) == published


def test_a_further_form_is_written_read_and_known_by_its_entry(monkeypatch):
    def read(text, lists):
        starts = [item.end for item in lists]
        ends = [*(item.start for item in lists[1:]), len(text)]
        return [Sentence(text[a:b].lstrip(": "), item.frames) for a, b, item in zip(starts, ends, lists)]

    form = AnswerForm(
        "table",
        known_from="a test has it",
        join=lambda text, cited: f"{cited}: {text}",
        between="\n",
        shown_at=lambda text, lists: 0 if text[lists[0].end :].startswith(":") else float("inf"),
        read=read,
    )
    monkeypatch.setitem(FORMS, "table", form)
    summary = Summary((Sentence("A man runs", (7,)), Sentence("He waits", (12, 13))))
    answer = format_answer(summary, "table")
    assert answer == "[07]: A man runs.\n[12, 13]: He waits."
    assert parse_answer(answer, task="both") == summary
    assert parse_answer(format_answer(summary, "before")) == parse_answer(format_answer(summary)) == summary


def test_a_timeline_of_many_frames_has_the_digits_for_them():
    assert Timeline.of(5) == Timeline(5)
    assert Timeline.of(100) == Timeline()
    assert Timeline.of(101) == Timeline(101, "[{:03d}]")
