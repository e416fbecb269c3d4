"""A stage that asks a model behind an endpoint about captions, in windows that fit its context."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from ...core.endpoint.asking import CORRECTION_TOKENS, LETTERS_PER_TOKEN, ask, tokens_of
from ...core.endpoint.endpoint import Endpoint
from ...core.endpoint.store import Ledger
from ...core.errors import V2XumError
from .command_stage import CommandStage
from .prompts import Prompt, document, one_line

CONTEXT_TOKENS = 8192  # most servers' models have more; a mean video's captions (183 s of 100 words) take six windows
CAPTION_BYTES = 1000  # longer captions are cut for the question
_LEAST_BYTES = 200  # of a caption in the second pass: about 35 words
_LEAST_ROOM_TOKENS = 2 * (CAPTION_BYTES // LETTERS_PER_TOKEN + 12)  # two captions with their numbers, here and there

Lines = Sequence[tuple[int, str]]  # frames with their captions
T = TypeVar("T")


def room_of(args: argparse.Namespace) -> dict[str, int]:
    """The options of a stage that `--context-tokens` and `--thinking-tokens` give."""
    return {"context_tokens": args.context_tokens, "thinking_tokens": args.thinking_tokens}


class AskingStage(CommandStage):
    """Asks for JSON about captions.

    Args:
        prompt: with `$captions` and `$count`.
        context_tokens: what the model reads and writes at most.
        thinking_tokens: what it may write before its answer.
        attempts: the most answers to a question.

    Attributes:
        schema: of an answer.
        answer_tokens: room for the answer's own JSON, or a few words around it.
        least_tokens: room for what the shortest answer says.

    Raises:
        V2XumError: if the context has no room for captions.
    """

    schema: ClassVar[Mapping[str, Any]]
    answer_tokens: ClassVar[int]
    least_tokens: ClassVar[int] = 0
    prompt: Prompt

    def __init__(
        self,
        endpoint: Endpoint,
        prompt: Prompt,
        context_tokens: int = CONTEXT_TOKENS,
        thinking_tokens: int = 0,
        attempts: int = 3,
    ) -> None:
        self.endpoint, self.prompt, self.context_tokens = endpoint, prompt, context_tokens
        self.thinking_tokens, self.attempts = thinking_tokens, attempts
        self.workers, self.model_name = endpoint.concurrency, endpoint.model
        answer_tokens = thinking_tokens + self.answer_tokens + self.least_tokens
        self._room = room_tokens(prompt, self.schema, context_tokens, answer_tokens)

    def settings(self) -> dict[str, Any]:
        return {
            "by": "endpoint",
            **self.endpoint.settings(),
            "prompt": self.prompt.hash,
            "context_tokens": self.context_tokens,
            "thinking_tokens": self.thinking_tokens,
            "attempts": self.attempts,
        }

    def ask(self, lines: Lines, count: int, said_tokens: int, check: Callable[[Any], T], ledger: Ledger) -> T:
        """What the model makes of the lines.

        Args:
            count: the prompt's `$count`.
            said_tokens: the most that the answer says, its own JSON not counted.
            check: as `endpoint.asking.ask`.

        Raises:
            Unusable, Failed, Stop: as `endpoint.asking.ask`.
        """
        question = self.prompt.filled(captions=document(lines), count=count)
        most_tokens = self.thinking_tokens + self.answer_tokens + said_tokens
        return ask(self.endpoint, ledger, question, self.schema, most_tokens, check, self.attempts)


def room_tokens(prompt: Prompt, schema: Mapping[str, Any], context_tokens: int, answer_tokens: int) -> int:
    """How many tokens of captions fit beside the prompt, the schema and the answer.

    Raises:
        V2XumError: if there is room for fewer than two captions.
    """
    others = tokens_of(prompt.text) + tokens_of(json.dumps(schema)) + answer_tokens + CORRECTION_TOKENS
    if context_tokens - others < _LEAST_ROOM_TOKENS:
        raise V2XumError(
            f"a context of {context_tokens} tokens is too short for the {prompt.name} prompt: it needs "
            f"{others + _LEAST_ROOM_TOKENS} (--context-tokens)"
        )
    return context_tokens - others


def windows(lines: Lines, room: int, more_tokens: int = 0, most_lines: int | None = None) -> Sequence[Lines]:
    """Runs of lines that fit the room, together all of them and of about equal numbers.

    Args:
        room: in tokens; a line that is longer than all of it has a window to itself.
        more_tokens: what a line takes beside itself.
        most_lines: of a window.
    """
    parts = _filled(lines, room, more_tokens, most_lines or len(lines))
    return _filled(lines, room, more_tokens, -(-len(lines) // len(parts)))  # else the last may be a line or two


def _filled(lines: Lines, room: int, more_tokens: int, most_lines: int) -> Sequence[Lines]:
    parts: list[list[tuple[int, str]]] = []
    left = 0
    for line in lines:
        need = _tokens(line) + more_tokens
        if not parts or need > left or len(parts[-1]) == most_lines:
            parts.append([])
            left = room
        parts[-1].append(line)
        left -= need
    return parts


def fitted(lines: Lines, room: int, more_tokens: int = 0) -> Lines:
    """The lines, with captions cut to the most bytes at which all fit the room, but not below 35 words.

    Args:
        room, more_tokens: as `windows`.
    """
    low, high = _LEAST_BYTES, CAPTION_BYTES
    while low < high:
        middle = (low + high + 1) // 2
        if sum(_tokens(line) + more_tokens for line in _cut(lines, middle)) <= room:
            low = middle
        else:
            high = middle - 1
    return _cut(lines, low)


def _cut(lines: Lines, most_bytes: int) -> Lines:
    return [(frame, one_line(caption, most_bytes)) for frame, caption in lines]


def _tokens(line: tuple[int, str]) -> int:
    return tokens_of(document([line])) + 1  # the line's end
