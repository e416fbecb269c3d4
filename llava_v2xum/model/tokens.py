"""Conversations -> token ids and labels, by LLaVA's templates and its tokenization around placeholders.

Shapes: S text positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import torch
from torch import LongTensor

from ..core.errors import V2XumError
from ..core.special_tokens import SPECIAL_TOKENS, special_token_in
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

    Attributes:
        special_tokens: of which no turn may hold one.
    """

    def __init__(self, tokenizer) -> None:
        mend_tokenizer(tokenizer)
        self.tokenizer = tokenizer
        self.bos_token_id = tokenizer.bos_token_id
        self.special_tokens = special_tokens_of(tokenizer)
        self._ids: dict[str, list[int]] = {}
        self._end_length = len(tokenizer(tokenizer.eos_token).input_ids) if tokenizer.eos_token else 0

    @classmethod
    def of(cls, tokenizer) -> PieceCache:
        """The tokenizer's, or itself if it is one."""
        return tokenizer if isinstance(tokenizer, cls) else cls(tokenizer)

    def __call__(self, text: str) -> SimpleNamespace:
        """The text's `input_ids`, as the tokenizer gives them."""
        end = self.tokenizer.eos_token
        # What follows an end of sequence is tokenized as it would be behind any: a round is, once, however many follow.
        first, *following = text.split(end) if end else [text]
        ids = self._piece(first + end if following else first)
        for place, part in enumerate(following, 1):
            is_ended = place < len(following)
            if part or is_ended:
                ids = ids + self._piece(end + part + end * is_ended)[self._end_length :]
        return SimpleNamespace(input_ids=ids)

    def _piece(self, text: str) -> list[int]:
        """The ids of a piece; what was asked for last is kept longest."""
        ids = self._ids.pop(text, None)
        if ids is None:
            ids = self.tokenizer(text).input_ids
            if len(self._ids) >= _KEPT_PIECES:
                del self._ids[next(iter(self._ids))]
        self._ids[text] = ids
        return ids


def special_tokens_of(tokenizer) -> tuple[str, ...]:
    """What a turn must not hold: Llama's and LLaVA's special tokens, and whatever else is one to this tokenizer."""
    added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    return tuple(dict.fromkeys([*SPECIAL_TOKENS, *tokenizer.all_special_tokens, *added]))


def _token_ids(prompt: str, tokenizer) -> list[int]:
    """LLaVA's tokenization around placeholders, with `<video>` as one of them."""
    return tokenizer_image_token(prompt.replace(VIDEO_TOKEN, DEFAULT_IMAGE_TOKEN), tokenizer, IMAGE_TOKEN_INDEX)


def is_plain(conversation: str) -> bool:
    """Whether a template is a picture and its caption, without a question: that of LLaVA's first stage."""
    return conversation in conv_templates and conv_templates[conversation].sep_style == SeparatorStyle.PLAIN


def _template(name: str) -> Conversation:
    # those of LLaVA's mmtag forms put marks around a picture in preparing the data, beside the template
    known = [one for one, form in conv_templates.items() if not is_plain(one) and "mmtag" not in form.version]
    if name not in known:
        raise V2XumError(f"conversation must be one of {', '.join(sorted(known))}, got {name!r}")
    return conv_templates[name].copy()


def check_conversation(name: str) -> None:
    """Refuse a name of no conversation that can be trained."""
    if not is_plain(name):
        _template(name)


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
    learnt from. A still image comes first too, and without a blank, as in LLaVA's own training.
    """
    if DEFAULT_IMAGE_TOKEN in value:
        return f"{DEFAULT_IMAGE_TOKEN}\n{value.replace(DEFAULT_IMAGE_TOKEN, '').strip()}".strip()
    if value.count(VIDEO_TOKEN) != 1:
        return value
    return f"{VIDEO_TOKEN}\n {value.replace(VIDEO_TOKEN, '').strip()}"


def _check_turn(position: int, turn: dict, special_tokens: Sequence[str]) -> None:
    """Refuse what is out of turn, empty, or would put a placeholder or a special token where none belongs."""
    expected, value = ("human", "gpt")[position % 2], turn["value"]
    if turn["from"] != expected:
        raise V2XumError(f"turn {position}: expected one from {expected!r}, got one from {turn['from']!r}")
    if not value.strip():
        raise V2XumError(f"turn {position}: the {'answer' if expected == 'gpt' else 'question'} is empty")
    for token in (VIDEO_TOKEN, DEFAULT_IMAGE_TOKEN):
        if expected == "gpt" and token in value:
            raise V2XumError(f"turn {position}: an answer cannot hold {token}")
    if value.count(DEFAULT_IMAGE_TOKEN) > 1 or (DEFAULT_IMAGE_TOKEN in value and VIDEO_TOKEN in value):
        raise V2XumError(f"turn {position}: expected one {DEFAULT_IMAGE_TOKEN} and no {VIDEO_TOKEN} beside it")
    special = special_token_in(value, special_tokens)
    if special:
        raise V2XumError(f"turn {position}: the text holds {special}, which would be read as a special token")


def locate_answers(
    turns: Sequence[dict[str, str]], tokenizer, conversation: str = "v1"
) -> tuple[list[int], list[tuple[int, int]]]:
    """The ids of a conversation of one or more rounds, and where its answers stand in them.

    Every answer is found by the length of the ids before it, whatever the tokenizer's legacy flag: LLaVA's
    `preprocess_v1` counts rounds apart, and with one such setting masks every label of several rounds.

    Args:
        turns: `{"from": "human" | "gpt", "value": ...}`, in turn, human first, an answer last.
        tokenizer: a transformers tokenizer, or a `PieceCache` of it.
        conversation: a name in LLaVA's `conv_templates`; a plain one leaves the question's words out, as LLaVA does.

    Returns:
        S ids, with -200 where a video or image stands; and for each answer its half-open range, end of sequence
        included.

    Raises:
        V2XumError: if the turns do not alternate, one is empty or has a placeholder out of place or a special token
            written out, the last is no answer, or the tokenizer has no token for an answer or joins it with what stands
            before it.
    """
    pieces = PieceCache.of(tokenizer)
    if is_plain(conversation):
        return _locate_caption(turns, pieces, conv_templates[conversation].sep)
    template = _template(conversation)
    input_ids: list[int] = []
    answers = []
    for position, turn in enumerate(turns):
        _check_turn(position, turn, pieces.special_tokens)
        if position % 2 == 0:
            template.append_message(template.roles[0], as_inference_asks(turn["value"]))
            continue
        template.append_message(template.roles[1], None)
        before = _token_ids(template.get_prompt(), pieces)
        template.messages[-1][1] = turn["value"]
        input_ids = _token_ids(template.get_prompt(), pieces)
        if input_ids[: len(before)] != before:
            raise V2XumError(f"turn {position}: the tokenizer joins the answer with what stands before it")
        if len(input_ids) == len(before):
            raise V2XumError(f"turn {position}: the tokenizer has no token for the answer")
        answers.append((len(before), len(input_ids)))
    if not turns or len(turns) % 2:
        raise V2XumError("no answer to learn from: the last turn must be an answer")
    return input_ids, answers


def _locate_caption(
    turns: Sequence[dict[str, str]], pieces: PieceCache, end: str
) -> tuple[list[int], list[tuple[int, int]]]:
    """As `locate_answers`, of one image or video and its caption, which `end` ends."""
    for position, turn in enumerate(turns):
        _check_turn(position, turn, pieces.special_tokens)
    asked = turns[0]["value"] if len(turns) == 2 else ""
    if asked.count(VIDEO_TOKEN) + asked.count(DEFAULT_IMAGE_TOKEN) != 1:
        raise V2XumError("expected one image or video and its caption, two turns (--version plain)")
    before = _token_ids(DEFAULT_IMAGE_TOKEN, pieces)
    ids = _token_ids(DEFAULT_IMAGE_TOKEN + turns[1]["value"] + end, pieces)
    return ids, [(len(before), len(ids))]


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
