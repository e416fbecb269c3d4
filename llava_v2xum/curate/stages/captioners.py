"""What describes frames, and which one a name stands for.

Shapes: k frames, H and W pixels.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..store.store import Cost
from .prompts import CONTROL

if TYPE_CHECKING:
    from ..endpoint.endpoint import Endpoint

SHAPES = "shapes"  # the name of the captioner that ships with the package
SHAPES_FOLDER = Path(__file__).parents[2] / "shapes" / "captioner"
MAX_NEW_TOKENS = 256  # our choice: LLaVA-1.5's detailed descriptions have about 100 words, 130 tokens
BATCH_SIZE = 16  # our choice: with 7B in 16 bits the rows' caches take 7 GB beside 14 GB of weights
MAX_SIDE = 512  # pixels, our choice: hosted models look at one tile of so many, and LLaVA-1.5 itself at 336
MOST_CHARACTERS = 4000  # our choice: what a server sends beyond was not asked for
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s|$)")


class Captioner(Protocol):
    """Describes single frames. It may be pickled; what it loads, it loads at its first use. Threads may share it.

    Attributes:
        name: of the model, for people.
        frames_at_once: k that one call is best given; what it gives back is stored at once.
        in_flight: calls of one video that may be under way at the same time.
    """

    name: str
    frames_at_once: int
    in_flight: int

    def settings(self) -> dict[str, Any]:
        """What its captions depend on, as `Stage.settings`."""

    def caption(self, frames: np.ndarray, prompt: str) -> tuple[list[str], Cost]:
        """One caption for each frame, alone.

        Args:
            frames: uint8 [k, H, W, 3], RGB.
            prompt: what is asked about each.

        Returns:
            k captions, each one line and possibly empty; and what they cost, a frame counting as a call.

        Raises:
            Rejected, Failed, Stop: as `Stage.work`.
        """


def captioner_of(
    name: str,
    endpoint: Endpoint | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int = BATCH_SIZE,
    max_new_tokens: int = MAX_NEW_TOKENS,
    max_side: int = MAX_SIDE,
) -> Captioner:
    """The captioner of a name.

    Args:
        name: "shapes" for the small one of the rendered world that ships with the package, or a LLaVA-1.5
            checkpoint's folder or hub name; with an endpoint it is not looked at.
        endpoint: whose model describes the frames.
        device, dtype, batch_size: see `LlavaCaptioner`; not for an endpoint.
        max_new_tokens: where a caption is cut off, at the end of its last whole sentence.
        max_side: pixels of the longer side that frames are sent to an endpoint with; smaller ones stay as they are.

    Raises:
        ValueError: if the name can be neither, or a number is out of range.
    """
    if endpoint is not None:
        from .vision_endpoint import EndpointCaptioner

        return EndpointCaptioner(endpoint, max_new_tokens, max_side)
    from .llava_captioner import LlavaCaptioner

    if name == SHAPES:
        return LlavaCaptioner(SHAPES_FOLDER, device, dtype, batch_size, max_new_tokens, name=SHAPES)
    path = Path(name).expanduser()
    if not name or (not path.is_dir() and (path.exists() or not _HUB_NAME.fullmatch(name))):
        raise ValueError(f"expected {SHAPES!r}, a LLaVA-1.5 checkpoint's folder or its hub name, got {name!r}")
    return LlavaCaptioner(path if path.is_dir() else name, device, dtype, batch_size, max_new_tokens)


def clean_caption(text: str, finished: bool = True) -> str:
    """What a model wrote, as one line of printable text, "" where nothing is left.

    Args:
        finished: False if it was cut off: then it ends with its last whole sentence, if it has one.
    """
    text = " ".join(text.encode(errors="replace").decode().split())  # half a surrogate pair cannot be stored
    text = CONTROL.sub("", text)
    if len(text) > MOST_CHARACTERS:
        text, finished = text[:MOST_CHARACTERS], False
    ends = [] if finished else [match.end() for match in _SENTENCE_END.finditer(text)]
    return (text[: ends[-1]] if ends else text).strip()
