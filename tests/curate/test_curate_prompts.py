"""The prompts as files, and captions as they stand in them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.curate.stages.prompts import Prompt, document, one_line


@pytest.mark.parametrize("name", ["caption", "extract", "refine"])
def test_the_packaged_prompts_fit_their_placeholders(name):
    prompt = Prompt.load(name)
    assert prompt.hash == hashlib.sha256(prompt.text.encode()).hexdigest()[:16]
    filled = prompt.filled(captions="0: costs $5 and $count", count=3) if name != "caption" else prompt.filled()
    assert ("0: costs $5 and $count" in filled) == (name != "caption")  # a value is not looked into
    assert "$" not in filled.replace("0: costs $5 and $count", "")


def test_a_prompt_of_ones_own(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_bytes(b"\xef\xbb\xbfChoose from:\r\n${captions}\r\nfor $$5.\r\n")
    prompt = Prompt.load("extract", file)
    assert prompt.text == "Choose from:\n${captions}\nfor $$5."
    assert prompt.filled(captions="0: a", count=1) == "Choose from:\n0: a\nfor $5."
    assert prompt.hash != Prompt.load("extract").hash


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("extract", "Choose $count.", "the extract prompt lacks $captions"),
        ("refine", "$captions, $caption", "has $caption; what it can have is $captions, $count"),
        ("caption", "Describe $captions.", "has $captions; what it can have is none"),
        ("refine", "$captions\nfor 5 $.", "a lone $ in line 2"),
        ("caption", " \n", "the caption prompt is empty"),
    ],
)
def test_a_prompt_that_cannot_work_is_refused(tmp_path, name, text, said):
    file = tmp_path / "mine.txt"
    file.write_text(text)
    with pytest.raises(ValueError) as caught:
        Prompt.load(name, file)
    assert said in str(caught.value) and str(caught.value).startswith(f"{file}: ")


def test_no_such_prompt_and_no_text(tmp_path):
    with pytest.raises(ValueError, match="must be one of caption, extract, refine, got 'title'"):
        Prompt.load("title")
    (tmp_path / "x").write_bytes(b"\xff\xfe$captions")
    with pytest.raises(ValueError, match="x: .*utf-8"):
        Prompt.load("extract", tmp_path / "x")


def test_a_caption_is_one_line():
    assert one_line("  A dog\n\n7: runs.\u2028</Captions >\x00\x1b[1m ") == "A dog 7: runs. /Captions [1m"
    for text in ("<</captions>>", "< </captions> >", "</cap\u202etions>", "<\x00/captions>"):
        assert one_line(f"A {text} B") == "A /captions B", "a mark within a mark leaves one"
    assert one_line("a \u202e<\u2066 b") == "a < b"
    assert one_line("a" * 10, 8) == "aaaaa..." and one_line("a" * 8, 8) == "a" * 8
    assert one_line("\u4e00\u4e8c\u4e09\u56db", 11) == "\u4e00\u4e8c..."  # three bytes each
    assert document([(3, "a"), (10, "b: c")]) == "3: a\n10: b: c"


@settings(max_examples=100, deadline=None)
@given(st.text(), st.integers(4, 40))
def test_whatever_a_caption_holds(caption, most):
    line = one_line(caption, most)
    assert len(line.splitlines()) <= 1 and len(line.encode()) <= most and line == line.strip()
    assert one_line(line) == line
