"""Extract, by a model behind an endpoint: the captions that together tell the whole video.

    captions --windows that fit the context--> chosen of each --again, all of them together--> frames

Extractive summarization by an LLM with the captions as one document: arXiv 2404.12353, section 3.1. The paper does not
give its prompt, its windows or the share to choose: these are our choice, the share being its mean compression ratio.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from typing import Any

from ...core.command_line import share
from ...core.endpoint.asking import Unusable
from ...core.endpoint.budget import Budget
from ...core.endpoint.endpoint import Endpoint
from ...core.endpoint.store import Ledger
from ..store.stage import Rejected, Source
from .asking_stage import CAPTION_BYTES, AskingStage, Lines, fitted, room_of, windows
from .command_stage import CommandStage, device_of
from .endpoint_options import endpoint_of
from .extractive import FRACTION, ExtractiveStage
from .prompts import Prompt, one_line

NUMBER_TOKENS = 8  # room for a frame number in the answer, on a line of its own
MOST_OF_COUNT = 2.0  # an answer with more than twice as many as were asked for did not choose
FIRST_PASS = 1.5  # a window chooses half as many again, so that the second pass has something to choose from

SCHEMA = {
    "type": "object",
    "properties": {"frames": {"type": "array", "items": {"type": "integer"}}},
    "required": ["frames"],
    "additionalProperties": False,
}


class ExtractStage(AskingStage):
    """Chooses captions by a model.

    An answer may choose only frames whose captions it was shown, at least one, and at most twice as many as it was
    asked for; a frame that is named twice is chosen once. Otherwise the model is told what is wrong and asked again.

    A video whose captions do not fit the context is read in windows, each asked for half as many again as its share.
    What they choose is then one document, its captions cut to the length at which all fit (as far as 35 words each;
    beyond that it is read in windows too), of which the model chooses the final ones.

    Args:
        prompt: named "extract".
        fraction: the share of the frames to choose.
        options: as `AskingStage`; after the most attempts the video falls out.
    """

    name = "extract"
    does = "the captions that tell the video: an LLM behind an endpoint, or, without one, by similarity alone"
    recorded = ExtractiveStage.recorded
    schema = SCHEMA
    answer_tokens = 128

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
        return cls(endpoint, prompt, args.fraction, **room_of(args))

    def __init__(self, endpoint: Endpoint, prompt: Prompt, fraction: float = FRACTION, **options: int) -> None:
        super().__init__(endpoint, prompt, **options)
        self.fraction = fraction

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "fraction": self.fraction}

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

        return self.ask(lines, count, NUMBER_TOKENS * most, check, ledger)


def _answer_tokens(share: float) -> int:
    """What a line takes of the answer, on average, if such a share of the lines is asked for."""
    return math.ceil(NUMBER_TOKENS * MOST_OF_COUNT * share)
