"""What the model's process gets of a video: its frames in parts, to be encoded and forgotten, and small ones to keep.

Loads no torch, so that it can run in a `helper.Helper`.

Shapes: N frames, H and W pixels, h and w those of a thumbnail, n frames of a part.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..core.errors import V2XumError
from ..core.sampling import FrameSampling
from .helper import Helper, HelperError, HelperStartError
from .video import Video, VideoError, probe_video, read_video

logger = logging.getLogger(__name__)

Parts = Generator[Video | np.ndarray, None, None]  # see `read_parts`

THUMBNAIL_SIDE = 480  # pixels of the longer side: what a contact sheet can show, at a fraction of the memory


@dataclass(frozen=True)
class Request:
    """What is wanted of a video.

    Attributes:
        path: the file.
        sampling: says which frames stand for it.
        part: n, frames that come at once; 0 if the frames themselves are not wanted.
        thumbnails: whether small ones are.
        probe: what the packets tell is enough, where neither is wanted and they tell it (`video.probe_video`).
    """

    path: Path
    sampling: FrameSampling
    part: int
    thumbnails: bool
    probe: bool = False


@contextmanager
def faults_of(path: Path) -> Iterator[None]:
    """Make a VideoError of whatever fails in reading a video: the reason is told with its name, and logged whole.

    What tells people already (V2XumError), or is no fault of the video (a helper that cannot start), passes.
    """
    try:
        yield
    except (V2XumError, HelperStartError):
        raise
    except Exception as error:
        logger.exception("%s: a fault in reading it", path)
        raise VideoError(f"{path}: {type(error).__name__}: {error}") from error


def read_parts(request: Request) -> Parts:
    """The video, with thumbnails or nothing for its frames; then its frames, uint8 [n, H, W, 3] a part.

    Raises:
        VideoError: naming the file, if it cannot be read.
    """
    path = request.path
    with faults_of(path):
        if request.probe and (probed := probe_video(path, request.sampling)) is not None:
            yield probed
            return
        video = read_video(path, request.sampling)
    none = np.empty((0, *video.frames.shape[1:]), dtype=np.uint8)  # a slice would keep all of them in memory
    yield replace(video, frames=thumbnails(video.frames) if request.thumbnails else none)
    for start in range(0, len(video.frames) if request.part else 0, request.part or 1):
        yield video.frames[start : start + request.part]


def read(
    request: Request,
    convert: Callable[[np.ndarray], Any],
    helper: Helper | None = None,
    parts_of: Callable[..., Parts] = read_parts,
    arguments: tuple = (),
) -> tuple[Video, list[Any]]:
    """The video and its frames, each part as `convert` makes it; one part at a time is held at full size.

    Args:
        helper: the process that decodes; None decodes in this one.
        parts_of: what is called there, `read_parts` or one that does more to the parts.
        arguments: of it, behind the request.

    Raises:
        VideoError: naming the file, if it cannot be read, or its process was ended by it.
        HelperStartError: if the process cannot start.
    """
    call = parts_of(request, *arguments) if helper is None else helper.call(parts_of, request, *arguments)
    with closing(call) as parts:
        try:
            video = next(parts)
            return video, [convert(part) for part in parts]
        except HelperError as error:
            raise VideoError(f"{request.path}: it could not be read: {error}") from error


def thumbnails(frames: np.ndarray, side: int = THUMBNAIL_SIDE) -> np.ndarray:
    """uint8 [N, H, W, 3] -> the same with the longer side at most `side` pixels."""
    height, width = frames.shape[1:3]
    scale = side / max(height, width)
    if scale >= 1:
        return frames
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in frames])
