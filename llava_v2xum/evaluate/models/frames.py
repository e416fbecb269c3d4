"""The frames of a video that stand for its temporal prompts and for its samples at 1 FPS.

Shapes: F frames of the file, K moments, H and W pixels.

A system's index i is the frame that its temporal prompt i of N stood for: what `read_video` samples. An annotator's
sample k is the frame shown nearest to second k of the file; beyond the file's end, its last frame. TVSum's and SumMe's
samples are frames by their numbers (the picks).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...core.errors import V2XumError
from ...core.sampling import FrameSampling
from ..metrics.clocks import nearest

logger = logging.getLogger(__name__)

BATCH_BYTES = 256 * 2**20  # our choice: 44 frames of 1920 x 1080, all of most videos' samples at 320 x 240
FIRST_FRAMES = 16  # read before the picture's size is known


class Prompt(NamedTuple):
    """The frame of temporal prompt `place` of `num_frames`."""

    place: int
    num_frames: int


class Second(NamedTuple):
    """The frame nearest to a second of the file."""

    second: float


class Frame(NamedTuple):
    """The frame of this number in the file."""

    number: int


Moment = Prompt | Second | Frame


def frame_numbers(moments: Sequence[Moment], seconds: np.ndarray) -> np.ndarray:
    """Which frames of a file the moments are.

    Args:
        moments: [K].
        seconds: float [F], ascending, the time of every frame.

    Returns:
        int64 [K], each in 0..F-1; of two frames equally near to a second, the earlier.

    Raises:
        V2XumError: for an index outside 0..N-1, a number outside 0..F-1, or a second that is negative or not finite.
    """
    return np.array([_frame_number(moment, seconds) for moment in moments], dtype=np.int64)


def read_moments(
    path: str | Path, moments: Sequence[Moment], batch_bytes: int = BATCH_BYTES, track: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Read the frames of moments, in their order in the file and never more than a batch of them at once.

    Args:
        track: which of several video tracks, as `llava_v2xum.media.video.read_frames`.

    Yields:
        int64 [k], which of the moments, and uint8 [k, H, W, 3], their frames.

    Raises:
        VideoError: as `llava_v2xum.media.video.read_frames`.
        V2XumError: as `frame_numbers`.
    """
    from ...media.video import read_frames  # here, because it loads the decoder

    order = np.empty(0, dtype=np.int64)  # known once the first reading has told the frames' times

    def choose(seconds: np.ndarray) -> np.ndarray:
        nonlocal order
        try:
            numbers = frame_numbers(moments, seconds)
        except V2XumError as error:
            raise V2XumError(f"{path}: {error}") from error
        if not len(order):
            order = np.argsort(numbers, kind="stable")
        return numbers[order[done : done + count]]

    told: set[str] = set()
    done, count = 0, FIRST_FRAMES
    while done < len(moments):
        video = read_frames(path, choose, track)
        for warning in video.warnings:
            if warning not in told:
                logger.warning(warning)
        told.update(video.warnings)
        yield order[done : done + count], video.frames
        done += count
        count = max(1, batch_bytes // video.frames[0].nbytes)


def _frame_number(moment: Moment, seconds: np.ndarray) -> int:
    total = len(seconds)
    if isinstance(moment, Second):
        if not 0 <= moment.second < np.inf:
            raise V2XumError(f"expected a second that is not negative, got {moment.second}")
        return int(nearest(np.array([moment.second]), seconds)[0])
    place, count = (moment.place, moment.num_frames) if isinstance(moment, Prompt) else (moment.number, total)
    if not 0 <= place < count:
        raise V2XumError(f"expected an index in 0..{count - 1}, got {place}")
    return int(FrameSampling(count).sample(total)[place]) if isinstance(moment, Prompt) else place
