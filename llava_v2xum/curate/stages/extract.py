"""Extract, by a model behind an endpoint: the captions that together tell the whole video.

    captions --windows that fit the context--> chosen of each --again, all of them together--> frames

Extractive summarization by an LLM with the captions as one document: arXiv 2404.12353, section 3.1. The paper does not
give its prompt, its windows or the share to choose: these are our choice, the share being its mean compression ratio.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from ...core.command_line import share
from ...core.errors import V2XumError
from ..endpoint.asking import CORRECTION_TOKENS, LETTERS_PER_TOKEN, Unusable, ask, tokens_of
from ..endpoint.budget import Budget
from ..endpoint.endpoint import Endpoint
from ..endpoint.options import endpoint_of
from ..store.stage import Rejected, Source
from ..store.store import Ledger
from .command_stage import CommandStage, device_of
from .extractive import FRACTION, ExtractiveStage
from .prompts import Prompt, document, one_line

CONTEXT_TOKENS = 8192  # most servers' models have more; a mean video's captions (183 s of 100 words) take six windows
NUMBER_TOKENS = 8  # room for a frame number in the answer, on a line of its own
MOST_OF_COUNT = 2.0  # an answer with more than twice as many as were asked for did not choose
FIRST_PASS = 1.5  # a window chooses half as many again, so that the second pass has something to choose from
CAPTION_BYTES = 1000  # longer captions are cut for the question
_LEAST_BYTES = 200  # of a caption in the second pass: about 35 words
_ANSWER_TOKENS = 128  # the answer's own JSON, or a few words around it
_LEAST_ROOM_TOKENS = 2 * (CAPTION_BYTES // LETTERS_PER_TOKEN + 12)  # two captions with their numbers, here and there

SCHEMA = {
    "type": "object",
    "properties": {"frames": {"type": "array", "items": {"type": "integer"}}},
    "required": ["frames"],
    "additionalProperties": False,
}

Lines = Sequence[tuple[int, str]]  # frames with their captions


class ExtractStage(CommandStage):
    """Chooses captions by a model.

    An answer may choose only frames whose captions it was shown, at least one, and at most twice as many as it was
    asked for; a frame that is named twice is chosen once. Otherwise the model is told what is wrong and asked again.

    A video whose captions do not fit the context is read in windows, each asked for half as many again as its share.
    What they choose is then one document, its captions cut to the length at which all fit (as far as 35 words each;
    beyond that it is read in windows too), of which the model chooses the final ones.

    Args:
        prompt: named "extract".
        fraction: the share of the frames to choose.
        context_tokens: what the model reads and writes at most.
        thinking_tokens: what it may write before its answer.
        attempts: answers that a video gets before it falls out.

    Raises:
        V2XumError: if the context has no room for captions.
    """

    name: ClassVar[str] = "extract"
    does = "the captions that tell the video: an LLM behind an endpoint, or, without one, by similarity alone"
    recorded = ExtractiveStage.recorded

    @classmethod
    def add_options(cls, add: Callable[..., Any]) -> None:
        add("--fraction", type=share, default=FRACTION, metavar="X",
            help="share of the frames to choose, the paper's compression ratio (%(default)g)")  # fmt: skip
        add("--extract-prompt", metavar="FILE", help="in place of the packaged one")
        add("--extract-encoder", metavar="NAME", help="without an endpoint: compare captions by this encoder (a folder "
            "or hub name) in place of their words")  # fmt: skip

    @classmethod
    def from_arguments(cls, args: argparse.Namespace, budget: Budget) -> CommandStage:
        endpoint = endpoint_of(args, budget)
        if endpoint is None:
            return ExtractiveStage(args.fraction, args.extract_encoder, device_of(args))
        prompt = Prompt.load("extract", args.extract_prompt)
        return cls(endpoint, prompt, args.fraction, args.context_tokens, args.thinking_tokens)

    def __init__(
        self,
        endpoint: Endpoint,
        prompt: Prompt,
        fraction: float = FRACTION,
        context_tokens: int = CONTEXT_TOKENS,
        thinking_tokens: int = 0,
        attempts: int = 3,
    ) -> None:
        self.endpoint, self.prompt, self.fraction = endpoint, prompt, fraction
        self.context_tokens, self.thinking_tokens, self.attempts = context_tokens, thinking_tokens, attempts
        self.workers, self.model_name = endpoint.concurrency, endpoint.model
        self._room = room_tokens(prompt, SCHEMA, context_tokens, thinking_tokens + _ANSWER_TOKENS)

    def settings(self) -> dict[str, Any]:
        return {
            "by": "endpoint",
            **self.endpoint.settings(),
            "prompt": self.prompt.hash,
            "fraction": self.fraction,
            "context_tokens": self.context_tokens,
            "thinking_tokens": self.thinking_tokens,
            "attempts": self.attempts,
        }

    def work(self, source: Source, before: Mapping[str, Any], ledger: Ledger) -> dict[str, Any]:
        """{"frames": ascending frame numbers, at least 1}, of `before["caption"]["captions"]`.

        Raises:
            Rejected: if no answer could be used.
        """
        captions = before["caption"]["captions"]
        lines = [(frame, one_line(caption, CAPTION_BYTES)) for frame, caption in enumerate(captions)]
        try:
            return {"frames": self._chosen(lines, ledger)}
        except Unusable as error:
            raise Rejected("extract", str(error)) from error

    def _chosen(self, lines: Lines, ledger: Ledger) -> list[int]:
        count = max(1, round(self.fraction * len(lines)))
        if len(windows(lines, self._room, _answer_tokens(count / len(lines)))) == 1:
            return self._ask(lines, count, ledger)
        chosen = self._ask_each(lines, FIRST_PASS * count / len(lines), ledger)
        captions, share = dict(lines), min(count / len(chosen), 1.0)
        fitting = fitted([(frame, captions[frame]) for frame in chosen], self._room, _answer_tokens(share))
        return self._ask_each(fitting, share, ledger)

    def _ask_each(self, lines: Lines, share: float, ledger: Ledger) -> list[int]:
        """What is chosen of each window, `share` of it asked for."""
        parts = windows(lines, self._room, _answer_tokens(share))
        return [frame for part in parts for frame in self._ask(part, max(1, round(share * len(part))), ledger)]

    def _ask(self, lines: Lines, count: int, ledger: Ledger) -> list[int]:
        if len(lines) <= count:  # nothing to choose
            return [frame for frame, _ in lines]
        shown_frames = {frame for frame, _ in lines}
        most = max(round(MOST_OF_COUNT * count), 3)

        def check(value: Any) -> list[int]:
            frames = sorted({int(frame) for frame in value["frames"]})
            if unknown := [frame for frame in frames if frame not in shown_frames]:
                # numbers of a model may have any length
                names = ", ".join(str(frame) if abs(frame) < 10**9 else "a huge number" for frame in unknown[:5])
                raise Unusable(f"it names frames that are not in the document: {names}")
            if not frames:
                raise Unusable("it names no frame; at least one must be chosen")
            if len(frames) > most:
                raise Unusable(f"it names {len(frames)} frames; choose about {count}, and at most {most}")
            return frames

        question = self.prompt.filled(captions=document(lines), count=count)
        most_tokens = self.thinking_tokens + _ANSWER_TOKENS + NUMBER_TOKENS * most
        return ask(self.endpoint, ledger, question, SCHEMA, most_tokens, check, self.attempts)


def _answer_tokens(share: float) -> int:
    """What a line takes of the answer, on average, if such a share of the lines is asked for."""
    return math.ceil(NUMBER_TOKENS * MOST_OF_COUNT * share)


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


def windows(lines: Lines, room: int, more_tokens: int = 0, most_lines: int | None = None) -> list[Lines]:
    """Runs of lines that fit the room, together all of them and of about equal numbers.

    Args:
        room: in tokens; a line that is longer than all of it has a window to itself.
        more_tokens: what a line takes beside itself.
        most_lines: of a window.
    """
    parts = _filled(lines, room, more_tokens, most_lines or len(lines))
    return _filled(lines, room, more_tokens, -(-len(lines) // len(parts)))  # else the last may be a line or two


def _filled(lines: Lines, room: int, more_tokens: int, most_lines: int) -> list[Lines]:
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
