"""A video's features on the way to the decoder: read, resized and encoded here, or taken from a feature folder.

Shapes: N frames, n frames of a part, m visual tokens of a frame, C feature width, H, W, h, w pixels.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.sampling import FrameSampling
from ..core.windows import Window
from ..media.helper import Helper
from ..media.reading import FILM_SIDE, THUMBNAIL_SIDE, Parts, Request, read, read_parts
from ..media.video import Video
from . import FeatureFolder, FrameEncoder, file_source, resize
from .sources import video_source


@dataclass
class ReadVideo:
    """A video that has been read.

    Attributes:
        video: `frames` holds thumbnails, or nothing.
        pixels: its frames as the tower takes them, uint8 [n, 3, h, w] a batch; empty once there are features.
        features: [N, C] or [N, m, C], or None before the tower has seen the pixels.
        window: of a film, whose N frames these are; None for the whole video's.
    """

    video: Video
    pixels: list[Tensor]
    features: Tensor | None = None
    window: Window | None = None


class VideoFeatures:
    """Reads and encodes videos; threads may share one.

    Args:
        encoder: the tower and what its features are.
        sampling: says which frames stand for a video.
        shape: of a video's features, (N, C) or (N, m, C).
        folder: where features are taken from, and those that are missing put; None for nowhere.
        thumbnails: whether small frames are kept, for pictures.
        track: which of several video tracks (`opening.opened`).
        seconds: where to add up `seconds`, with a default of 0; None begins anew.
        resize_apart: whether helpers resize too: they then load torch, which takes seconds, and this process's threads
            keep out of the decoder's way. None does so where the tower is on a GPU.

    Attributes:
        seconds: by part, added up over threads: "read" (decoding and resizing) and "encode".
    """

    def __init__(
        self,
        encoder: FrameEncoder,
        sampling: FrameSampling,
        shape: tuple[int, ...],
        folder: FeatureFolder | None = None,
        thumbnails: bool = True,
        seconds: dict[str, float] | None = None,
        resize_apart: bool | None = None,
        track: int | None = None,
    ) -> None:
        encoder.load()
        self.encoder = encoder
        self.sampling = sampling
        self.shape = tuple(shape)
        self.folder = folder
        self.thumbnails = thumbnails
        self.track = track
        self.seconds = defaultdict(float) if seconds is None else seconds
        self.resize_apart = self.on_gpu if resize_apart is None else resize_apart
        self._lock = threading.Lock()  # of the folder and the seconds
        self._tower_lock = threading.Lock()

    def read(self, path: Path, helper: Helper | None = None, window: Window | None = None) -> ReadVideo:
        """Read a video; of one whose features are stored nothing is decoded, unless thumbnails are wanted.

        Args:
            helper: the process that decodes; None decodes in this one.
            window: of a film, to read alone.

        Raises:
            VideoError: naming the file, if it cannot be read.
            V2XumError: if its stored features are no good.
            HelperStartError: if the process cannot start.
        """
        with self._timed("read"):
            known = self._stored_source(path, window)
            part = self.encoder.batch_size if known is None else 0
            # only of a file that was read before without a warning do the packets tell everything
            probe = known is not None and bool(known.get("intact")) and not self.thumbnails
            sampling, side = (self.sampling, THUMBNAIL_SIDE) if window is None else (window, FILM_SIDE)
            request = Request(path, sampling, part, self.thumbnails, probe, self.track, side)
            video, pixels = self._read(request, helper)
            if known is not None and probe and video.total_frames != known["total_frames"]:
                video, pixels = self._read(replace(request, probe=False), helper)
            features = None
            if self.folder is not None and known is not None:
                features = self._load(self.folder, path, video.total_frames, window)
        return ReadVideo(video, pixels, features, window)

    def encode(self, made: ReadVideo) -> ReadVideo:
        """Give a video its features, if it has none yet; one thread at a time has the tower.

        Raises:
            V2XumError: if the folder cannot hold the features.
        """
        if made.features is not None:
            return made
        with self._tower_lock, self._timed("encode"):
            features = torch.cat([self.encoder.encode(part) for part in made.pixels])
            if self.folder is not None:
                features = self._save(self.folder, made.video, features, made.window)
        made.pixels, made.features = [], features
        return made

    @property
    def on_gpu(self) -> bool:
        """Whether the tower is on one."""
        return self.encoder.tower.device.type == "cuda"

    def _stored_source(self, path: Path, window: Window | None) -> dict | None:
        """What is known of the file that the stored features were made of ({} for nothing); None without features."""
        if self.folder is None or not path.is_file():  # reading says what is wrong with it
            return None
        with self._lock:
            name = stored_name(path, window)
            if not self.folder.holds(name, self.shape, _of_window(file_source(path, self.track), window)):
                return None
            return self.folder.sources.get(name) or {}

    def _load(self, folder: FeatureFolder, path: Path, total_frames: int, window: Window | None) -> Tensor:
        source = _of_window(file_source(path, self.track, total_frames), window)
        with self._lock:
            stored = folder.load(stored_name(path, window), self.shape, source)
        return torch.from_numpy(stored.astype(np.float16))

    def _save(self, folder: FeatureFolder, video: Video, features: Tensor, window: Window | None) -> Tensor:
        stored = features.float().cpu().numpy()
        with self._lock:
            folder.save(stored_name(video.path, window), stored, _of_window(video_source(video), window))
        # taken in float16 also this first time, so that a second run answers the same
        return torch.from_numpy(stored.astype(np.float16))

    def _read(self, request: Request, helper: Helper | None) -> tuple[Video, list[Tensor]]:
        """The video, and its frames as uint8 [n, 3, h, w], in the batches that the tower takes."""
        video, parts = read_pixels(request, self.encoder, helper, self.resize_apart, torch.as_tensor)
        if any(len(part) < request.part for part in parts[:-1]):  # large frames come a few at a time
            parts = [batch.clone() for batch in torch.cat(parts).split(request.part)]
        return video, [self._pinned(part) for part in parts]

    def _pinned(self, pixels: Tensor) -> Tensor:
        """Pixels where a GPU can fetch them while it works."""
        if not self.on_gpu:
            return pixels
        with torch.cuda.device(self.encoder.tower.device):  # else it would open the first GPU's context too
            return pixels.pin_memory()

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[part] += time.perf_counter() - start


def stored_name(path: Path, window: Window | None) -> str:
    """What a feature folder calls the features of a video, or of a film's window."""
    return path.stem if window is None else f"{path.stem}.{window.name}"


def _of_window(source: dict, window: Window | None) -> dict:
    """A source that tells which part of the file it is."""
    if window is None:
        return source
    return {**source, "window_seconds": [round(window.start_seconds, 6), window.number + 1, window.count]}


def read_pixels(
    request: Request,
    encoder: FrameEncoder,
    helper: Helper | None = None,
    resize_apart: bool = True,
    convert: Callable[[np.ndarray | Tensor], Any] = torch.as_tensor,
) -> tuple[Video, list[Any]]:
    """A video, and its frames as the tower takes them.

    Args:
        helper: the process that decodes; None decodes in this one.
        resize_apart: whether the helper resizes too; it then loads torch.
        convert: makes what is handed out of each part, uint8 [n, 3, h, w].

    Raises:
        VideoError, HelperStartError: as `reading.read`.
    """
    how = encoder.tower.image_processor, encoder.aspect_ratio
    if resize_apart and helper is not None and request.part:
        return read(request, convert, helper, _resized_parts, how)
    return read(request, lambda frames: convert(resize(frames, *how)), helper)


def _resized_parts(request: Request, image_processor, aspect_ratio: str | None) -> Parts:
    """`read_parts` with the parts as the tower takes them, uint8 [n, 3, h, w]; runs in a helper."""
    torch.set_num_threads(1)  # the helpers share the cores
    for part in read_parts(request):
        yield resize(part, image_processor, aspect_ratio).numpy() if isinstance(part, np.ndarray) else part
