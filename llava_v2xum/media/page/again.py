"""The pictures of a page that is written after the fact: of a summary on disk, from its video, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.errors import V2XumError
from ...core.sampling import TRACK_KEY
from ..reading import frames_at
from .video_page import Made, frames_shown


def read_shown(made: Sequence[Made]) -> tuple[dict[int, np.ndarray], tuple[str, ...]]:
    """The frames that a page of these summaries shows, small, by their numbers; and what is wrong with the file.

    Args:
        made: the summaries of one video.
    """
    record, numbers = made[0].record, frames_shown(made)
    seconds = [record["frame_seconds"][number] for number in numbers]
    try:
        frames, warnings = frames_at(Path(record["video"]), seconds, record.get(TRACK_KEY))
    except V2XumError as error:
        return {}, (f"the frames cannot be read any more: {error}",)
    return dict(zip(numbers, frames)), warnings
