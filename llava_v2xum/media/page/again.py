"""The pictures of a page that is written after the fact: of a summary on disk, from its video, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.errors import V2XumError
from ...core.sampling import TRACK_KEY
from ..reading import thumbnails
from ..video import Video, stream_frames
from .video_page import Made, frames_shown


def read_shown(made: Sequence[Made]) -> tuple[dict[int, np.ndarray], tuple[str, ...]]:
    """The frames that a page of these summaries shows, small, by their numbers; and what is wrong with the file.

    Args:
        made: the summaries of one video.
    """
    record, numbers = made[0].record, frames_shown(made)
    wanted = np.array([record["frame_seconds"][number] for number in numbers])

    def nearest(seconds: np.ndarray) -> np.ndarray:
        after = np.searchsorted(seconds, wanted).clip(1, len(seconds) - 1)
        return np.where(wanted - seconds[after - 1] < seconds[after] - wanted, after - 1, after)

    frames: list[np.ndarray] = []
    warnings: tuple[str, ...] = ()
    try:
        for came in stream_frames(Path(record["video"]), nearest, record.get(TRACK_KEY)):
            if isinstance(came, Video):
                warnings = came.warnings
            elif isinstance(came, int):
                frames = []
            else:
                frames.append(thumbnails(came[None])[0])
    except V2XumError as error:
        return {}, (f"the frames cannot be read any more: {error}",)
    return dict(zip(numbers, frames)), warnings
