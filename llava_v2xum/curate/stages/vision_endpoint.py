"""Captions by a vision model behind an OpenAI-compatible endpoint, a frame a request.

Shapes: k frames, H and W pixels.
"""

from __future__ import annotations

import argparse
import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.endpoint.budget import Budget
from ...core.endpoint.endpoint import Endpoint
from ...core.endpoint.outcomes import Failed, NoResult
from ...core.endpoint.store import Cost
from ...core.special_tokens import LEAKED, spelt
from ..store.stage import Rejected
from .captioner import MAX_NEW_TOKENS, MAX_SIDE, Captioner, clean_caption
from .endpoint_options import endpoint_at

JPEG_QUALITY = 90  # our choice: a 512 x 288 frame takes about 40 kB
ATTEMPTS = 3  # our choice: answers for a frame, where they are empty


class EndpointCaptioner(Captioner):
    """Captions of frames by an endpoint's model.

    Args:
        endpoint: whose `concurrency` is how many frames are under way at a time.
        max_new_tokens: where a caption is cut off.
        max_side: pixels of the longer side; larger frames are sent smaller.
    """

    takes = "with --caption-endpoint the model's name there"

    @classmethod
    def add_options(cls, add: Callable[..., Any]) -> None:
        add("--caption-endpoint", metavar="URL", help="caption by an OpenAI-compatible vision endpoint")

    @classmethod
    def from_arguments(cls, args: argparse.Namespace, budget: Budget) -> EndpointCaptioner | None:
        if args.caption_endpoint is None:
            return None
        return cls(endpoint_at(args.caption_endpoint, args.captioner, args, budget), args.caption_tokens)

    def __init__(self, endpoint: Endpoint, max_new_tokens: int = MAX_NEW_TOKENS, max_side: int = MAX_SIDE) -> None:
        self.endpoint, self.max_new_tokens, self.max_side = endpoint, max_new_tokens, max_side
        self.name = endpoint.model
        self.frames_at_once = 1  # each answer is stored as it comes
        self.in_flight = endpoint.concurrency

    def settings(self) -> dict[str, Any]:
        """As `Captioner`."""
        return {
            "captioner": self.name,
            "max_new_tokens": self.max_new_tokens,
            "max_side": self.max_side,
            "endpoint": self.endpoint.settings(),
        }

    def caption(self, frames: np.ndarray, prompt: str) -> tuple[list[str], Cost]:
        """As `Captioner`; calls are the endpoint's, tries included.

        Raises:
            Rejected: if the server's content filter takes a frame or its caption.
            Failed: if the server gives no answer, or as often as it is asked an empty one, or one that goes on behind a
                special token.
            Stop: as `Endpoint.chat`.
        """
        spent: list[Cost] = []
        try:
            captions = [self._caption(frame, prompt, spent) for frame in frames]
        except NoResult as error:
            error.cost = sum(spent, error.cost)
            raise
        return captions, sum(spent, Cost())

    def _caption(self, frame: np.ndarray, prompt: str, spent: list[Cost]) -> str:
        content = [
            {"type": "text", "text": prompt},
            {"type": "image_url", "image_url": {"url": data_url(frame, self.max_side)}},
        ]
        messages = [{"role": "user", "content": content}]
        for attempt in range(1, ATTEMPTS + 1):
            reply = self.endpoint.chat(messages, None, self.max_new_tokens)
            spent.append(reply.cost)
            if reply.problem is not None and "content filter" in reply.problem:
                raise Rejected("caption", reply.problem)
            caption = clean_caption(reply.text, finished=reply.problem is None)
            leaked = LEAKED.search(caption)  # it ran on behind its end
            if caption and leaked is None:
                return caption
            wrong = "was empty" if leaked is None else f"holds {spelt(leaked[0])}"
            # the same question would get the same answer, from a model that always says what is likeliest
            messages = [
                messages[0],
                {"role": "assistant", "content": "(no answer)"},
                {"role": "user", "content": f"Answer {attempt} of {ATTEMPTS} {wrong}. Describe the frame in words."},
            ]
        raise Failed(f"no caption in {ATTEMPTS} answers: {reply.problem or 'the last ' + wrong}")


def data_url(frame: np.ndarray, max_side: int) -> str:
    """A frame, uint8 [H, W, 3], as the URL of a JPEG whose longer side is at most `max_side` pixels."""
    from PIL import Image

    picture = Image.fromarray(frame)
    picture.thumbnail((max_side, max_side), Image.Resampling.BICUBIC)  # keeps the aspect, and never enlarges
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
