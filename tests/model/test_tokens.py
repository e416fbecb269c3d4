"""Token ids are those of sentencepiece, under both transformers releases."""

from __future__ import annotations

import pytest
import sentencepiece
import tiny
import torch
from llava.constants import IMAGE_TOKEN_INDEX
from llava.conversation import conv_templates
from transformers import AutoTokenizer

from llava_v2xum.core.tasks import TASKS, query_for
from llava_v2xum.data.dataset import build_input_ids
from llava_v2xum.model.compat import mend_tokenizer

pytestmark = pytest.mark.pinned

PIECES = sentencepiece.SentencePieceProcessor(model_proto=tiny.sentencepiece_model())
EOS = 2
TEXTS = [
    " x", "  x", " ", "   ", "", "x", "\n Please", "\nPlease", "▁x", "\n\n [05]A", "[05]", "é\t 日本", "a  b   c ",
    "ASSISTANT: [05]A hand.",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_texts_as_sentencepiece(tokenizer, text):
    for _ in range(2):  # the mend may be called again
        mend_tokenizer(tokenizer)
        assert tokenizer(text).input_ids == [1, *PIECES.encode(text)]
        assert tokenizer(text, add_special_tokens=False).input_ids == PIECES.encode(text)


def test_text_after_a_special_token(tokenizer):
    """The legacy tokenizer begins anew with `▁` there, the other one goes on."""
    mend_tokenizer(tokenizer)
    prefixed = PIECES.encode("USER: hi")
    legacy = getattr(tokenizer, "legacy", True)
    bare = [PIECES.piece_to_id(piece) for piece in ("US", "ER", ":", "▁h", "i")]
    assert tokenizer("</s>USER: hi").input_ids == [1, EOS, *(prefixed if legacy else bare)]
    if legacy:
        assert tokenizer("a </s> USER: hi").input_ids == [1, *PIECES.encode("a "), EOS, *PIECES.encode(" USER: hi")]


def test_a_mended_tokenizer_reads_and_saves_as_before(tokenizer, tmp_path):
    ids = tokenizer("A woman brushes her hair [42, 43].").input_ids
    mend_tokenizer(tokenizer)
    assert tokenizer("A woman brushes her hair [42, 43].").input_ids == ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "A woman brushes her hair [42, 43]."
    tokenizer.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved", use_fast=False)
    mend_tokenizer(again)
    for text in TEXTS:
        assert again(text).input_ids == [1, *PIECES.encode(text)]


def test_a_tokenizer_of_another_kind_is_left_alone():
    mend_tokenizer(object())


@pytest.mark.parametrize("task", TASKS)
def test_the_released_prompt_by_hand(tokenizer, task):
    ids = build_input_ids(tokenizer, query_for(task))
    system = conv_templates["v1"].system
    before = PIECES.encode(f"{system} USER: ")
    after = PIECES.encode(f"\n {query_for(task).split(' ', 1)[1]} ASSISTANT:")
    assert ids.dtype == torch.int64 and ids.tolist() == [1, *before, IMAGE_TOKEN_INDEX, *after]
    assert PIECES.id_to_piece(before[-1]) == "▁"
    assert PIECES.id_to_piece(after[:3]) == ["▁", "<0x0A>", "▁Please"]
    assert "".join(PIECES.id_to_piece(after[-3:])).endswith("ASSISTANT:")


def test_a_query_that_begins_with_a_blank_keeps_it(tokenizer):
    ids = build_input_ids(tokenizer, "<video> Please").tolist()
    after = ids[ids.index(IMAGE_TOKEN_INDEX) + 1 :]
    assert after == PIECES.encode(" Please ASSISTANT:")


def test_unknown_conversations_are_named(tokenizer):
    with pytest.raises(ValueError, match=r"v1.* got 'v9'"):
        build_input_ids(tokenizer, query_for("both"), conversation="v9")
