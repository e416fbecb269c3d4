"""Refine: a model rewrites the kept captions into short fluent sentences, each still tied to its frame.

arXiv 2404.12353, section 3.1. The captions are given in the order of time, as many at once as fit the context; an
answer that is not one good sentence for each of them is refused, and in the end the captions stay as they are.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ...core.citations import BRACKET
from ...core.summary import canonical_text
from ..endpoint.asking import Unusable, ask
from ..endpoint.budget import Budget
from ..endpoint.endpoint import Endpoint
from ..endpoint.options import endpoint_of
from ..store.stage import Source
from ..store.store import Ledger
from .command_stage import CommandStage
from .extract import CAPTION_BYTES, CONTEXT_TOKENS, Lines, room_tokens, windows
from .prompts import CONTROL, Prompt, document, one_line

MOST_AT_ONCE = 40  # our choice: a mean video's sentences (30) are one question
SENTENCE_CHARACTERS = 300  # our choice: more is not short; the longest of Instruct-V2Xum's example has 137
SENTENCE_TOKENS = 100  # room for one in the answer, with its frame and JSON around it
_ANSWER_TOKENS = 64  # the answer's own JSON, or a few words around it

SCHEMA = {
    "type": "object",
    "properties": {
        "sentences": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"frame": {"type": "integer"}, "text": {"type": "string"}},
                "required": ["frame", "text"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["sentences"],
    "additionalProperties": False,
}

# an entry of instruction JSON has frames in their places
_MARKS = re.compile(rf"{BRACKET.pattern}|<f\d|<video>|<image>")


class RefineStage(CommandStage):
    """Rewrites captions by a model; without an endpoint, and where no answer can be used, they stay as they are.

    Args:
        endpoint: or None.
        prompt: named "refine".
        context_tokens: what the model reads and writes at most.
        thinking_tokens: what it may write before its answer.
        attempts: answers that each run of captions gets before the video's captions are kept.

    Raises:
        V2XumError: if the context has no room for captions.
    """

    name: ClassVar[str] = "refine"
    does = "short fluent sentences, one for each kept frame: an LLM behind an endpoint; without one, captions stay"
    recorded = ("no_refine",)

    @classmethod
    def add_options(cls, add: Callable[..., Any]) -> None:
        add("--refine-prompt", metavar="FILE", help="in place of the packaged one")
        add("--no-refine", action="store_true", help="keep the captions as they are, though there is an endpoint")

    @classmethod
    def from_arguments(cls, args: argparse.Namespace, budget: Budget) -> RefineStage:
        endpoint = None if args.no_refine else endpoint_of(args, budget)
        return cls(endpoint, Prompt.load("refine", args.refine_prompt), args.context_tokens, args.thinking_tokens)

    def __init__(
        self,
        endpoint: Endpoint | None,
        prompt: Prompt,
        context_tokens: int = CONTEXT_TOKENS,
        thinking_tokens: int = 0,
        attempts: int = 3,
    ) -> None:
        self.endpoint, self.prompt = endpoint, None if endpoint is None else prompt
        self.context_tokens, self.thinking_tokens, self.attempts = context_tokens, thinking_tokens, attempts
        if endpoint is not None:
            self.workers, self.model_name = endpoint.concurrency, endpoint.model
            answer_tokens = thinking_tokens + _ANSWER_TOKENS + 2 * SENTENCE_TOKENS
            self._room = room_tokens(prompt, SCHEMA, context_tokens, answer_tokens)

    def settings(self) -> dict[str, Any]:
        if self.endpoint is None:
            return {"by": None}
        return {
            "by": "endpoint",
            **self.endpoint.settings(),
            "prompt": self.prompt.hash,
            "context_tokens": self.context_tokens,
            "thinking_tokens": self.thinking_tokens,
            "attempts": self.attempts,
        }

    def work(self, source: Source, before: Mapping[str, Any], ledger: Ledger) -> dict[str, Any]:
        """{"sentences": one text for each frame of `before["filter"]["frames"]`, "refined": bool, "why": None or text}.

        `why` tells the reason that the captions were kept: each is then on one line, and otherwise as it was.
        """
        captions = before["caption"]["captions"]
        frames = before["filter"]["frames"]
        kept = [one_line(captions[frame]) for frame in frames]
        if self.endpoint is None:
            return {"sentences": kept, "refined": False, "why": "no endpoint"}
        lines = [(frame, one_line(caption, CAPTION_BYTES)) for frame, caption in zip(frames, kept)]
        try:
            parts = windows(lines, self._room, SENTENCE_TOKENS, MOST_AT_ONCE)
            sentences = [text for part in parts for text in self._ask(part, ledger)]
        except Unusable as error:
            return {"sentences": kept, "refined": False, "why": str(error)}
        return {"sentences": sentences, "refined": True, "why": None}

    def _ask(self, lines: Lines, ledger: Ledger) -> list[str]:
        frames = [frame for frame, _ in lines]
        question = self.prompt.filled(captions=document(lines), count=len(lines))
        most_tokens = self.thinking_tokens + _ANSWER_TOKENS + SENTENCE_TOKENS * len(lines)

        def check(value: Any) -> list[str]:
            return checked_sentences(value["sentences"], frames)

        return ask(self.endpoint, ledger, question, SCHEMA, most_tokens, check, self.attempts)


def checked_sentences(sentences: list[dict[str, Any]], frames: list[int]) -> list[str]:
    """The texts of an answer, on one line each and ending in a stop, one for each frame in order.

    Raises:
        Unusable: if they are not, or a text could not be read back from an entry of instruction JSON.
    """
    if len(sentences) != len(frames):
        raise Unusable(f"it has {len(sentences)} sentences; {len(frames)} are needed, one for each line")
    texts = []
    for sentence, frame in zip(sentences, frames):
        if sentence["frame"] != frame:
            raise Unusable(f"sentence {len(texts) + 1} must be of frame {frame}, and names another")
        text = canonical_text(sentence["text"])
        where = f"the sentence of frame {frame}"
        if not any(map(str.isalnum, text)):
            raise Unusable(f"{where} is empty")
        if len(text) > SENTENCE_CHARACTERS:
            raise Unusable(f"{where} has {len(text)} characters; at most {SENTENCE_CHARACTERS} can stand there")
        if mark := _MARKS.search(text):
            raise Unusable(f"{where} holds {mark[0]}, which cannot stand there")
        if CONTROL.search(text):
            raise Unusable(f"{where} holds a control character")
        texts.append(text)
    return texts
