"""Where the shots of a video begin, by PySceneDetect, on the clock of its frames."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..core.extras import require
from .video import Video, stream_frames

EXTRA = "edit"
WIDTH = 256  # our choice: to as many columns pictures are thinned out for the detector, which then compares colours


def shot_starts(path: str | Path, track: int | None = None) -> list[float]:
    """The seconds at which shots begin, ascending from 0, and the video's end as the last.

    By change against that of neighbouring frames (AdaptiveDetector): by change alone a camera that is swung makes a row
    of shots. All frames are decoded, one at a time. That a shot is short is for `core.shots` to respect.

    Raises:
        VideoError: as `stream_frames`.
        MissingExtra: if PySceneDetect is not installed.
    """
    scenedetect = require("scenedetect", EXTRA)
    cuts: list[int] = []
    for came in stream_frames(path, lambda seconds: np.arange(len(seconds)), track):
        if isinstance(came, Video):
            video = came
        elif isinstance(came, int):  # a reading begins, or begins anew
            detector, cuts, place = scenedetect.AdaptiveDetector(min_scene_len=1), [], 0
        else:
            step = math.ceil(came.shape[1] / WIDTH)
            picture = np.ascontiguousarray(came[::step, ::step, ::-1])  # its colours are blue, green, red
            found = detector.process_frame(scenedetect.FrameTimecode(place, 25.0), picture)  # places count, no clock
            cuts += [one.frame_num for one in found]
            place += 1
    starts = sorted({0.0, *(round(float(video.frame_seconds[cut]), 6) for cut in cuts)})
    return [*(start for start in starts if start < video.duration_seconds), video.duration_seconds]
