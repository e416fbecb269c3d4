"""What a captioner is: what describes frames, how much of it is asked for, and how its words are taken.

A new captioner is a file with a `Captioner`, and a line in `captioners.CAPTIONERS`.

Shapes: k frames, H and W pixels.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from ...core.endpoint.budget import Budget
from ...core.endpoint.store import Cost
from ...core.errors import V2XumError
from .prompts import CONTROL

MAX_NEW_TOKENS = 256  # our choice: LLaVA-1.5's detailed descriptions have about 100 words, 130 tokens
BATCH_SIZE = 16  # our choice: with 7B in 16 bits the rows' caches take 7 GB beside 14 GB of weights
MAX_SIDE = 512  # pixels, our choice: hosted models look at one tile of so many, and LLaVA-1.5 itself at 336
MOST_CHARACTERS = 4000  # our choice: what a server sends beyond was not asked for
NO_FEATURES = "features need a captioner with a vision tower here: a checkpoint, not an endpoint"
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s|$)")


class Captioner(Protocol):
    """Describes single frames. It may be pickled; what it loads, it loads at its first use. Threads may share it.

    A class that names this one as its base has the flags of none, and makes no features.

    Attributes:
        takes: the names that `--captioner` may have for it, for `--help`.
        makes_features: whether it has a vision tower here, whose features training takes.
        name: of the model, for people.
        frames_at_once: k that one call is best given; what it gives back is stored at once.
        in_flight: calls of one video that may be under way at the same time.
    """

    takes: ClassVar[str]
    makes_features: ClassVar[bool] = False
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

    def store_features(
        self, path: Path, video_id: str, folder: str | os.PathLike[str], track: int | None = None
    ) -> None:
        """Put a video's features for training into a folder, unless they are there.

        Raises:
            V2XumError: if it makes none.
        """
        raise V2XumError(NO_FEATURES)

    @classmethod
    def add_options(cls, add: Callable[..., Any]) -> None:
        """Add the flags that are of use with it alone, as `CommandStage.add_options`."""

    @classmethod
    def from_arguments(cls, args: argparse.Namespace, budget: Budget) -> Captioner | None:
        """The captioner that the arguments ask for, or None where they ask for another.

        Raises:
            V2XumError: as `CommandStage.from_arguments`.
        """


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
