"""Refine: a model rewrites the kept captions into short fluent sentences, each still tied to its frame.

arXiv 2404.12353, section 3.1. The captions are given in the order of time, as many at once as fit the context; an
answer that is not one good sentence for each of them is refused, and in the end the captions stay as they are.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from typing import Any

from ...core.citations import BRACKET, PLACEHOLDER
from ...core.endpoint.asking import Unusable
from ...core.endpoint.budget import Budget
from ...core.endpoint.store import Ledger
from ...core.special_tokens import LEAKED, without_leaked_ends
from ...core.summary import canonical_text
from ..store.stage import Source
from .asking_stage import CAPTION_BYTES, AskingStage, Lines, room_of, windows
from .command_stage import CommandStage
from .endpoint_options import endpoint_of
from .prompts import CONTROL, Prompt, one_line

MOST_AT_ONCE = 40  # our choice: a mean video's sentences (30) are one question
SENTENCE_CHARACTERS = 300  # our choice: more is not short; the longest of Instruct-V2Xum's example has 137
SENTENCE_TOKENS = 100  # room for one in the answer, with its frame and JSON around it

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
_MARKS = re.compile(rf"{BRACKET.pattern}|<f\d|{PLACEHOLDER.pattern}|{LEAKED.pattern}")


class RefineStage(AskingStage):
    """Rewrites captions by a model; after the most attempts for a run of captions the video's stay as they are."""

    name = "refine"
    does = "short fluent sentences, one for each kept frame: an LLM behind an endpoint; without one, captions stay"
    recorded = ("no_refine",)
    schema = SCHEMA
    answer_tokens = 64
    least_tokens = 2 * SENTENCE_TOKENS

    @classmethod
    def add_options(cls, add: Callable[..., Any]) -> None:
        add("--refine-prompt", metavar="FILE", help="in place of the packaged one")
        add("--no-refine", action="store_true", help="keep the captions as they are, though there is an endpoint")

    @classmethod
    def from_arguments(cls, args: argparse.Namespace, budget: Budget) -> CommandStage:
        endpoint = None if args.no_refine else endpoint_of(args, budget)
        prompt = Prompt.load("refine", args.refine_prompt)
        return UnrefinedStage() if endpoint is None else cls(endpoint, prompt, **room_of(args))

    def work(self, source: Source, before: Mapping[str, Any], ledger: Ledger) -> dict[str, Any]:
        """{"sentences": one text for each frame of `before["filter"]["frames"]`, "refined": bool, "why": None or text}.

        `why` tells the reason that the captions were kept: each is then on one line, and otherwise as it was.
        """
        frames, kept = before["filter"]["frames"], _kept(before)
        lines = [(frame, one_line(caption, CAPTION_BYTES)) for frame, caption in zip(frames, kept)]
        try:
            parts = windows(lines, self._room, SENTENCE_TOKENS, MOST_AT_ONCE)
            sentences = [text for part in parts for text in self._ask(part, ledger)]
        except Unusable as error:
            return {"sentences": kept, "refined": False, "why": str(error)}
        return {"sentences": sentences, "refined": True, "why": None}

    def _ask(self, lines: Lines, ledger: Ledger) -> list[str]:
        frames = [frame for frame, _ in lines]

        def check(value: Any) -> list[str]:
            return checked_sentences(value["sentences"], frames)

        return self.ask(lines, len(lines), SENTENCE_TOKENS * len(lines), check, ledger)


class UnrefinedStage(CommandStage):
    """Leaves captions as they are, where there is no endpoint."""

    name = RefineStage.name
    recorded = RefineStage.recorded

    def settings(self) -> dict[str, Any]:
        return {"by": None}

    def work(self, source: Source, before: Mapping[str, Any], ledger: Ledger) -> dict[str, Any]:
        """As `RefineStage`."""
        return {"sentences": _kept(before), "refined": False, "why": "no endpoint"}


def _kept(before: Mapping[str, Any]) -> list[str]:
    captions = before["caption"]["captions"]
    return [one_line(captions[frame]) for frame in before["filter"]["frames"]]


def checked_sentences(sentences: list[dict[str, Any]], frames: list[int]) -> list[str]:
    """The texts of an answer, on one line each and ending in a stop, one for each frame in order.

    Raises:
        Unusable: if they are not, or a text could not be read back from an entry of instruction JSON.
    """
    if len(sentences) != len(frames):
        raise Unusable(f"it has {len(sentences)} sentences; {len(frames)} are needed, one for each line")
    texts: list[str] = []
    for sentence, frame in zip(sentences, frames):
        if sentence["frame"] != frame:
            raise Unusable(f"sentence {len(texts) + 1} must be of frame {frame}, and names another")
        text = canonical_text(without_leaked_ends(sentence["text"]))
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
