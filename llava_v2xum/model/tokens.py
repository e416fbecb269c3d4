"""Conversations -> token ids and labels, by LLaVA's templates and its tokenization around placeholders.

Shapes: S text positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import torch
from torch import LongTensor

from ..core.errors import V2XumError
from ..core.tasks import CONVERSATION, VIDEO_TOKEN
from ..features.upstream import (
    DEFAULT_IMAGE_TOKEN,
    IGNORE_INDEX,
    IMAGE_TOKEN_INDEX,
    Conversation,
    SeparatorStyle,
    conv_templates,
    tokenizer_image_token,
)
from .compat import mend_tokenizer

if CONVERSATION not in conv_templates:
    # its version stays "v1", from which LLaVA's training code knows how to mask a Vicuna conversation
    conv_templates[CONVERSATION] = conv_templates["v1"].copy()

_KEPT_PIECES = 1024  # more distinct instructions than the tasks have, few enough to stay small


class PieceCache:
    """A tokenizer that remembers the pieces of text between placeholders which come again and again.

    The system prompt and the three instructions are the same in every entry; without them, what is left to tokenize
    is the answer.

    Args:
        tokenizer: a transformers tokenizer, not to be changed afterwards.
    """

    def __init__(self, tokenizer) -> None:
        mend_tokenizer(tokenizer)
        self.tokenizer = tokenizer
        self.bos_token_id = tokenizer.bos_token_id
        self._ids: dict[str, list[int]] = {}

    def __call__(self, text: str) -> SimpleNamespace:
        """The text's `input_ids`, as the tokenizer gives them; what was asked for last is kept longest."""
        ids = self._ids.pop(text, None)
        if ids is None:
            ids = self.tokenizer(text).input_ids
            if len(self._ids) >= _KEPT_PIECES:
                del self._ids[next(iter(self._ids))]
        self._ids[text] = ids
        return SimpleNamespace(input_ids=ids)


def _token_ids(prompt: str, tokenizer) -> list[int]:
    """LLaVA's tokenization around placeholders, with `<video>` as one of them."""
    return tokenizer_image_token(prompt.replace(VIDEO_TOKEN, DEFAULT_IMAGE_TOKEN), tokenizer, IMAGE_TOKEN_INDEX)


def _template(name: str) -> Conversation:
    known = [one for one, template in conv_templates.items() if template.sep_style != SeparatorStyle.PLAIN]
    if name not in known:  # a plain one is a picture and its caption, without a question
        raise V2XumError(f"conversation must be one of {', '.join(sorted(known))}, got {name!r}")
    return conv_templates[name].copy()


def build_input_ids(tokenizer, query: str, conversation: str = "v1") -> LongTensor:
    """The decoder's input for one human turn, up to and with `ASSISTANT:`.

    Args:
        query: the whole human turn with its `<video>` (`tasks.query_for`).
        conversation: a name in LLaVA's `conv_templates`.

    Returns:
        int64 [S], with -200 where the video stands; as the released code's for the released form of the query.

    Raises:
        V2XumError: if LLaVA has no conversation of that name.
    """
    mend_tokenizer(tokenizer)
    template = _template(conversation)
    template.append_message(template.roles[0], query)
    template.append_message(template.roles[1], None)
    return torch.tensor(_token_ids(template.get_prompt(), tokenizer))


def as_inference_asks(value: str) -> str:
    """A human turn in the form that inference writes: `<video>`, line break, blank, instruction.

    Instruct-V2Xum's data has no blank there; trained as it stands, a model would be asked in other ids than it
    learnt from.
    """
    if value.count(VIDEO_TOKEN) != 1:
        return value
    return f"{VIDEO_TOKEN}\n {value.replace(VIDEO_TOKEN, '').strip()}"


def _check_turn(position: int, turn: dict) -> None:
    """Refuse what is out of turn, empty, or would put a placeholder where no video belongs."""
    expected, value = ("human", "gpt")[position % 2], turn["value"]
    if turn["from"] != expected:
        raise V2XumError(f"turn {position}: expected one from {expected!r}, got one from {turn['from']!r}")
    if not value.strip():
        raise V2XumError(f"turn {position}: the {'answer' if expected == 'gpt' else 'question'} is empty")
    if DEFAULT_IMAGE_TOKEN in value:
        raise V2XumError(f"turn {position}: expected {VIDEO_TOKEN} or text, got the placeholder of a still image")
    if expected == "gpt" and VIDEO_TOKEN in value:
        raise V2XumError(f"turn {position}: an answer cannot hold {VIDEO_TOKEN}")


def locate_answers(
    turns: Sequence[dict[str, str]], tokenizer, conversation: str = "v1"
) -> tuple[list[int], list[tuple[int, int]]]:
    """The ids of a conversation of one or more rounds, and where its answers stand in them.

    Every answer is found by the length of the ids before it, whatever the tokenizer's legacy flag: LLaVA's
    `preprocess_v1` counts rounds apart, and with one such setting masks every label of several rounds.

    Args:
        turns: `{"from": "human" | "gpt", "value": ...}`, in turn, human first, an answer last.
        tokenizer: a transformers tokenizer, or a `PieceCache` of it.

    Returns:
        S ids, with -200 where a video stands; and for each answer its half-open range, end of sequence included.

    Raises:
        V2XumError: if the turns do not alternate, one is empty or has a placeholder out of place, the last is no
            answer, or the tokenizer has no token for an answer or joins it with what stands before it.
    """
    if not isinstance(tokenizer, PieceCache):
        mend_tokenizer(tokenizer)
    template = _template(conversation)
    input_ids: list[int] = []
    answers = []
    for position, turn in enumerate(turns):
        _check_turn(position, turn)
        if position % 2 == 0:
            template.append_message(template.roles[0], as_inference_asks(turn["value"]))
            continue
        template.append_message(template.roles[1], None)
        before = _token_ids(template.get_prompt(), tokenizer)
        template.messages[-1][1] = turn["value"]
        input_ids = _token_ids(template.get_prompt(), tokenizer)
        if input_ids[: len(before)] != before:
            raise V2XumError(f"turn {position}: the tokenizer joins the answer with what stands before it")
        if len(input_ids) == len(before):
            raise V2XumError(f"turn {position}: the tokenizer has no token for the answer")
        answers.append((len(before), len(input_ids)))
    if not turns or len(turns) % 2:
        raise V2XumError("no answer to learn from: the last turn must be an answer")
    return input_ids, answers


def tokenize_conversation(
    turns: Sequence[dict[str, str]], tokenizer, conversation: str = "v1"
) -> tuple[LongTensor, LongTensor]:
    """A conversation of one or more rounds -> ids and labels; arguments and errors are those of `locate_answers`.

    Returns:
        input_ids and labels, int64 [S] each; labels are -100 but for the answers with their end of sequence.
    """
    ids, answers = locate_answers(turns, tokenizer, conversation)
    input_ids = torch.tensor(ids)
    labels = torch.full_like(input_ids, IGNORE_INDEX)
    for start, stop in answers:
        labels[start:stop] = input_ids[start:stop]
    return input_ids, labels
