"""Special tokens written out: at the ends of an answer they go, inside a text they are found."""

from __future__ import annotations

import time

import pytest

from llava_v2xum.core.special_tokens import LEAKED, SPECIAL_TOKENS, special_token_in, spelt, without_leaked_ends

pytestmark = pytest.mark.pinned
LEAKS = ["</s>", "<s>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<eos>", "<\uff5cend\u2581of\u2581sentence\uff5c>"]


@pytest.mark.parametrize("leak", LEAKS)
def test_what_a_server_left_at_the_ends_goes(leak):
    for answer in (f"A man runs.{leak}", f" {leak} A man runs. {leak}\n{leak} ", f"{leak}{leak}A man runs."):
        assert without_leaked_ends(answer) == "A man runs."
    assert without_leaked_ends(f" {leak} {leak}") == without_leaked_ends("") == ""
    inside = f"A man runs. {leak} He sits."
    assert without_leaked_ends(f"{inside}{leak}") == inside and LEAKED.search(inside)[0] == leak


@pytest.mark.parametrize("text", ["A < b > c", "a |im_end| b", "<b>bold</b>", "He says [sic].", "x <f3>", "s>"])
def test_other_text_stays(text):
    assert without_leaked_ends(f" {text} ") == text == spelt(text)
    assert LEAKED.search(text) is None and special_token_in(text) is None


def test_a_model_that_is_told_of_one_does_not_read_one():
    told = spelt("it holds </s> and <|im_end|>, twice </s>")
    assert told == "it holds < /s > and < |im_end| >, twice < /s >" and LEAKED.search(told) is None


def test_the_first_of_those_asked_for_is_named():
    assert [special_token_in(f"a {token} b") for token in SPECIAL_TOKENS] == list(SPECIAL_TOKENS)
    assert special_token_in("a <extra> b") is None and special_token_in("a <extra> b", ["<extra>"]) == "<extra>"


def test_a_flood_of_them_takes_no_time():
    start = time.process_time()
    assert without_leaked_ends("</s>" * 200_000 + "x" + "<s> " * 200_000) == "x"
    assert time.process_time() - start < 5
