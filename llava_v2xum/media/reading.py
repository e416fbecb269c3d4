"""What the model's process gets of a video: its frames in parts, to be resized and forgotten, and small ones to keep.

Frames come as they are decoded: however large they are, few of them are in memory at a time.

Loads no torch, so that it can run in a `helper.Helper`.

Shapes: N frames, H and W pixels, h and w those of a thumbnail, n frames of a part.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..core.errors import V2XumError
from ..core.sampling import FrameSampling
from .helper import Helper, HelperError, HelperStartError
from .video import Video, VideoError, chooser, probe_video, stream_frames

logger = logging.getLogger(__name__)

Parts = Generator[Video | np.ndarray | None, None, None]  # see `read_parts`

PART_BYTES = 64 * 2**20  # our choice: ten frames of 1920 x 1080, two of 4096 x 2160
THUMBNAIL_SIDE = 480  # pixels of the longer side: what a contact sheet can show, at a fraction of the memory
FILM_SIDE = 240  # of a film that is told in windows: an hour has a thousand frames


@dataclass(frozen=True)
class Request:
    """What is wanted of a video.

    Attributes:
        path: the file.
        sampling: says which frames stand for it.
        part: n, the most frames that come at once (of large ones fewer do); 0 if the frames themselves are not wanted.
        thumbnails: whether small ones are.
        probe: what the packets tell is enough, where neither is wanted and they tell it (`video.probe_video`).
        track: which of several video tracks (`opening.opened`).
        side: pixels of the small ones' longer side, at most.
    """

    path: Path
    sampling: FrameSampling
    part: int
    thumbnails: bool
    probe: bool = False
    track: int | None = None
    side: int = THUMBNAIL_SIDE


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
    """The frames, uint8 [n, H, W, 3] a part; last the video, with thumbnails or nothing for its frames.

    None among the parts says that those before it are void: the file must be read anew.

    Raises:
        VideoError: naming the file, if it cannot be read.
    """
    path = request.path
    with faults_of(path):
        if request.probe and (probed := probe_video(path, request.sampling, request.track)) is not None:
            yield probed
            return
        small: list[np.ndarray] = []
        waiting: list[np.ndarray] = []
        for came in stream_frames(path, chooser(path, request.sampling), request.track):
            if isinstance(came, int):
                small, waiting = [], []
                yield None
                continue
            if waiting and (isinstance(came, Video) or _is_enough(waiting, request.part)):
                yield np.stack(waiting)
                waiting = []
            if isinstance(came, Video):
                yield replace(came, frames=np.stack(small)) if small else came
                continue
            if request.thumbnails:
                small.append(thumbnails(came[None], request.side)[0])
            if request.part:
                waiting.append(came)


def frames_at(
    path: Path, seconds: Sequence[float], track: int | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The frames nearest to the seconds, small: uint8 [N, h, w, 3]; and what is wrong with the file.

    Raises:
        VideoError: naming the file, if it cannot be read.
    """
    wanted = np.asarray(seconds)

    def choose(of_frames: np.ndarray) -> np.ndarray:
        after = np.clip(np.searchsorted(of_frames, wanted), 1, len(of_frames) - 1)
        return after - (wanted - of_frames[after - 1] < of_frames[after] - wanted)

    small: list[np.ndarray] = []
    warnings: tuple[str, ...] = ()
    with faults_of(path):
        for came in stream_frames(path, choose, track):
            if isinstance(came, int):
                small = []
            elif isinstance(came, Video):
                warnings = came.warnings
            else:
                small.append(thumbnails(came[None])[0])
    return np.stack(small), warnings


def _is_enough(frames: list[np.ndarray], part: int) -> bool:
    """Whether one more would make too large a part."""
    return len(frames) >= part or (len(frames) + 1) * frames[0].nbytes > PART_BYTES


def read(
    request: Request,
    convert: Callable[[np.ndarray], Any],
    helper: Helper | None = None,
    parts_of: Callable[..., Parts] = read_parts,
    arguments: tuple = (),
) -> tuple[Video, list[Any]]:
    """The video and its frames, each part as `convert` makes it when it comes.

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
            made: list[Any] = []
            for part in parts:
                if part is None:
                    made = []
                elif isinstance(part, Video):
                    video = part
                else:
                    made.append(convert(part))
            return video, made
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
