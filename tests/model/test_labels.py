"""Conversations -> ids and labels, token by token: exactly the answers and their end tokens are learned."""

from __future__ import annotations

from types import MappingProxyType, SimpleNamespace

import pytest
import sentencepiece
import tiny
import torch
import weights
from instruct import an_entry, gpt, human
from llava.constants import IGNORE_INDEX, IMAGE_TOKEN_INDEX
from llava.conversation import conv_templates

from llava_v2xum.core.tasks import INSTRUCTIONS, TASKS, query_for
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.data.entries import with_frame_indexes
from llava_v2xum.model.tokens import (
    PieceCache,
    as_inference_asks,
    build_input_ids,
    check_conversation,
    tokenize_conversation,
)

pytestmark = pytest.mark.pinned

PIECES = sentencepiece.SentencePieceProcessor(model_proto=tiny.sentencepiece_model())
BOS, EOS = 1, 2
LINE = "<0x0A>"  # a line break, by its byte

# an answer to each task in each form, and what is learned of it, written out by hand
LEARNED = {
    ("video", "after"): ("[02, 03].", ["▁[", "0", "2", ",", "▁", "0", "3", "].", "</s>"]),
    ("video", "before"): ("\n[02][03]", ["▁", LINE, "[", "0", "2", "]", "[", "0", "3", "]", "</s>"]),
    ("text", "after"): ("A man runs.", ["▁A", "▁", "man", "▁", "ru", "n", "s", ".", "</s>"]),
    ("text", "before"): ("\nA man runs.", ["▁", LINE, "A", "▁", "man", "▁", "ru", "n", "s", ".", "</s>"]),
    ("both", "after"): (
        "A man runs [02, 03].",
        ["▁A", "▁", "man", "▁", "ru", "n", "s", "▁[", "0", "2", ",", "▁", "0", "3", "].", "</s>"],
    ),
    ("both", "before"): (
        "\n[02][03]A man runs.\n",
        ["▁", LINE, "[", "0", "2", "]", "[", "0", "3", "]", "A", "▁", "man", "▁", "ru", "n", "s", ".", LINE, "</s>"],
    ),
}


def ids_of(pieces: list[str]) -> list[int]:
    ids = [PIECES.piece_to_id(piece) for piece in pieces]
    assert PIECES.unk_id() not in ids, pieces
    return ids


def prompt_ids(task: str) -> list[int]:
    """By sentencepiece alone: system prompt, role, the video's place, instruction, role."""
    before = PIECES.encode(f"{conv_templates['v1'].system} USER: ")
    return [BOS, *before, IMAGE_TOKEN_INDEX, *PIECES.encode(f"\n {INSTRUCTIONS[task]} ASSISTANT:")]


@pytest.mark.parametrize(("task", "form"), LEARNED)
def test_exactly_the_answer_and_its_end_are_learned(tokenizer, task, form):
    answer, learned = LEARNED[task, form]
    input_ids, labels = tokenize_conversation([human("<video>\n" + INSTRUCTIONS[task]), gpt(answer)], tokenizer)
    asked = prompt_ids(task)
    assert input_ids.dtype == labels.dtype == torch.int64
    assert input_ids.tolist() == asked + ids_of(learned)
    assert labels.tolist() == [IGNORE_INDEX] * len(asked) + ids_of(learned)


@pytest.mark.parametrize("task", TASKS)
def test_trained_ids_are_those_that_inference_asks_with(tokenizer, task):
    input_ids, _ = tokenize_conversation([human("<video>\n" + INSTRUCTIONS[task]), gpt("A man.")], tokenizer)
    asked = build_input_ids(tokenizer, query_for(task))
    assert torch.equal(input_ids[: len(asked)], asked)


def test_an_entry_of_instruct_v2xum(tokenizer):
    turns = with_frame_indexes(an_entry(), Timeline(10))
    input_ids, labels = tokenize_conversation(turns, tokenizer)
    learned = [
        "▁", LINE, "[", "0", "0", "]", "A", "▁", "w", "o", "man", "▁b", "r", "us", "h", "es", "▁h", "er",
        "▁h", "ai", "r", ".",
        LINE, "[", "0", "5", "]", "[", "0", "9", "]", "A", "▁", "man", "▁", "ru", "n", "s", ".", "</s>",
    ]  # fmt: skip
    asked = prompt_ids("both")
    assert input_ids.tolist() == asked + ids_of(learned)
    assert labels.tolist() == [IGNORE_INDEX] * len(asked) + ids_of(learned)


def test_several_turns(tokenizer):
    """With LLaVA's own `preprocess_v1` one of the two legacy flags masks every label here."""
    turns = [
        human("<video>\n" + INSTRUCTIONS["video"]), gpt("[02]."),
        human(INSTRUCTIONS["text"]), gpt("\nA man."),
        human("Please."), gpt("[09]."),
    ]  # fmt: skip
    input_ids, labels = tokenize_conversation(turns, tokenizer)
    user = ["▁USER", ":"] if getattr(tokenizer, "legacy", True) else ["US", "ER", ":"]
    parts = [
        (prompt_ids("video"), ids_of(["▁[", "0", "2", "].", "</s>"])),
        (
            ids_of(user) + PIECES.encode(f"{INSTRUCTIONS['text']} ASSISTANT:"),
            ids_of(["▁", LINE, "A", "▁", "man", ".", "</s>"]),
        ),
        (ids_of([*user, "▁Please", "."]) + PIECES.encode("ASSISTANT:"), ids_of(["▁[", "0", "9", "].", "</s>"])),
    ]
    assert input_ids.tolist() == [token for asked, answer in parts for token in asked + answer]
    assert labels.tolist() == [token for asked, answer in parts for token in [IGNORE_INDEX] * len(asked) + answer]


def test_two_videos_in_one_question(tokenizer):
    turns = [human("<video> or <video>?"), gpt("[05].")]
    input_ids, labels = tokenize_conversation(turns, tokenizer)
    before = PIECES.encode(f"{conv_templates['v1'].system} USER: ")
    asked = [BOS, *before, IMAGE_TOKEN_INDEX, *PIECES.encode(" or "), IMAGE_TOKEN_INDEX]
    asked += PIECES.encode("? ASSISTANT:")
    assert input_ids.tolist() == asked + ids_of(["▁[", "0", "5", "].", "</s>"])
    assert labels.tolist() == [IGNORE_INDEX] * len(asked) + input_ids[len(asked) :].tolist()


def test_remembered_pieces_change_no_id(tokenizer):
    pieces = PieceCache(tokenizer)
    for _ in range(2):
        for task, form in LEARNED:
            turns = [human("<video>\n" + INSTRUCTIONS[task]), gpt(LEARNED[task, form][0])]
            for kept, fresh in zip(tokenize_conversation(turns, pieces), tokenize_conversation(turns, tokenizer)):
                assert torch.equal(kept, fresh)


class StandIn:
    """What is asked of a tokenizer beside the ids of a text."""

    bos_token_id = BOS
    eos_token = "</s>"
    all_special_tokens = ("<s>", "</s>")
    added_tokens_decoder = MappingProxyType({})


def test_what_comes_again_is_tokenized_once():
    asked: list[str] = []

    class Counting(StandIn):
        def __call__(self, text: str):
            asked.append(text)
            return weights.tokenizer()(text)

    pieces = PieceCache(Counting())
    for number in range(2000):  # more than are remembered
        tokenize_conversation([human("<video>\n" + INSTRUCTIONS["both"]), gpt(f"A man {number}.")], pieces)
    assert len(asked) == 2000 + 3  # end of sequence, system prompt, instruction; then each answer


def test_rounds_are_tokenized_once_and_as_they_stand_in_the_whole(tokenizer):
    asked: list[str] = []

    class Counting(PieceCache):
        def _piece(self, text: str) -> list[int]:
            if text not in self._ids:
                asked.append(text)
            return super()._piece(text)

    pieces, turns, rounds = Counting(tokenizer), [], 8
    for number in range(rounds):
        turns += [human("<video>\nGo." if not number else f" And  {number}?\n"), gpt(f"\tA man {number} . ")]
    tokenize_conversation(turns, pieces)
    assert len(asked) <= 1 + 2 * rounds + 1  # the system prompt; each question, and it with its answer; the end
    end = tokenizer.eos_token
    texts = [end, end + end, f"a{end}", f"{end}b", f"a {end} b{end}{end}\n c"]
    for text in [*texts, *(f"USER: a{end}{turn['value']}" for turn in turns)]:
        assert pieces(text).input_ids == tokenizer(text).input_ids, text


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        ("<video>\nPlease go.", "<video>\n Please go."),
        ("<video>\n Please go.", "<video>\n Please go."),
        ("Please go.\n<video>", "<video>\n Please go."),
        ("And then?", "And then?"),
        ("<video> or <video>?", "<video> or <video>?"),
    ],
)
def test_questions_take_the_form_of_inference(value, asked):
    assert as_inference_asks(value) == asked


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([gpt("A box.")], "turn 0: expected one from 'human', got one from 'gpt'"),
        ([human("hi"), human("hi")], "turn 1: expected one from 'gpt', got one from 'human'"),
        ([human("hi"), {"from": "system", "value": "x"}], "turn 1: .* got one from 'system'"),
        ([human("hi"), gpt(" \n\t")], "turn 1: the answer is empty"),
        ([human(" "), gpt("A box.")], "turn 0: the question is empty"),
        ([human("<image> or <image>?"), gpt("A box.")], "turn 0: expected one <image> and no <video> beside it"),
        ([human("<image> or <video>?"), gpt("A box.")], "turn 0: expected one <image> and no <video> beside it"),
        ([human("hi"), gpt("An <image>.")], "turn 1: an answer cannot hold <image>"),
        ([human("hi"), gpt("A <video>.")], "turn 1: an answer cannot hold <video>"),
        ([human("hi")], "no answer to learn from"),
        ([human("hi"), gpt("A box."), human("and?")], "no answer to learn from: the last turn must be an answer"),
        ([], "no answer to learn from"),
    ],
)
def test_conversations_that_cannot_be_learnt(turns, said):
    with pytest.raises(ValueError, match=said):
        tokenize_conversation(turns, weights.tokenizer())


@pytest.mark.parametrize("name", ["plain", "none", "v1_mmtag"])
def test_questions_need_a_template_with_questions(name):
    with pytest.raises(ValueError, match=rf"conversation must be one of .*v1.*, got '{name}'"):
        build_input_ids(weights.tokenizer(), "<video>\nhi", name)


def test_what_cannot_be_trained_is_told_before_any_entry():
    check_conversation("v1")
    check_conversation("plain")
    with pytest.raises(ValueError, match="got 'v0_mmtag'"):
        check_conversation("v0_mmtag")


@pytest.mark.parametrize("turns", [[human("hi"), gpt("A.")], [human("<image>"), gpt("A.")] * 2, []])
def test_a_caption_has_one_picture_and_no_more_turns(turns):
    with pytest.raises(ValueError, match="expected one image or video and its caption, two turns"):
        tokenize_conversation(turns, weights.tokenizer(), "plain")


class OddTokenizer(StandIn):
    """Changes the ids of a text that goes on after `ASSISTANT:`."""

    def __init__(self, change) -> None:
        self.change = change

    def __call__(self, text: str) -> SimpleNamespace:
        asked, role, answer = text.partition("ASSISTANT:")
        ids = weights.tokenizer()(asked + role).input_ids
        return SimpleNamespace(input_ids=self.change(ids) if answer else ids)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda ids: [*ids[:-1], 5, 6], "turn 1: the tokenizer joins the answer with what stands before it"),
        (lambda ids: ids, "turn 1: the tokenizer has no token for the answer"),
    ],
)
def test_a_tokenizer_that_leaves_no_clean_answer(change, said):
    with pytest.raises(ValueError, match=said):
        tokenize_conversation([human("hi"), gpt("A box.")], OddTokenizer(change))
