"""Videos -> a feature folder: decoded in parallel, encoded in batches of frames across videos.

Shapes: N frames of a video, m visual tokens of a frame, C feature width, h and w the tower's pixels.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.atomic import append_line
from ..core.errors import V2XumError
from ..core.sampling import FrameSampling
from ..media.helper import Helper
from ..media.read_ahead import Line
from ..media.reading import Request, faults_of
from ..media.video import Video, VideoError, probe_video
from .encoder import FrameEncoder
from .sources import file_source, frame_times, video_source
from .store import DamagedFeatures, FeatureFolder
from .video_features import read_pixels

FRAMES_AT_ONCE = 32  # bounds what padding and resizing hold beside the video's own frames


@dataclass
class Extraction:
    """Puts the features of videos into a folder.

    Args:
        folder: where to.
        encoder: the tower, loaded, and what its features are.
        sampling: says which frames stand for a video.
        workers: decoding processes; 0 decodes in this one.
        track: which of several video tracks (`opening.opened`).
        on_done: called with each video whose features are stored.
        on_failure: called with each video that cannot be done, and the reason, which names it.
        on_warning: called with what was wrong with a file that could be read.
    """

    folder: FeatureFolder
    encoder: FrameEncoder
    sampling: FrameSampling
    workers: int
    on_done: Callable[[Path], None]
    on_failure: Callable[[Path, str], None]
    on_warning: Callable[[str], None]
    track: int | None = None
    sources: dict[Path, dict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shape = self.encoder.feature.shape(self.sampling.num_frames, self.encoder.tower.hidden_size)

    def still_to_do(self, videos: Iterable[Path]) -> list[Path]:
        """The videos whose features are not there; nothing is decoded, and seconds that stores lack are added."""
        todo, here = [], self.folder.ids()
        for path in videos:
            try:
                source = file_source(path, self.track)
                if path.stem not in here or not self.folder.holds(path.stem, self.shape, source):
                    todo.append(path)
                else:
                    self._add_times(path)
            except DamagedFeatures as error:
                self.on_warning(f"{error}; it is made again")
                todo.append(path)
            except (V2XumError, OSError) as error:  # another video's features, or a file that is gone
                self.on_failure(path, str(error))
        return todo

    def _add_times(self, path: Path) -> None:
        """Note when the frames of stored features are shown, which older releases did not; only packets are read."""
        known = self.folder.sources.get(path.stem) or {}
        if "frame_seconds" in known or not known.get("intact"):  # packets tell nothing of damage
            return
        try:
            video = probe_video(path, self.sampling, self.track)
        except VideoError as error:
            self.on_warning(f"{error}; its features stay without the seconds of its frames")
            return
        if video is not None and video.total_frames == known.get("total_frames"):
            self.folder.sources.append(path.stem, {**known, **frame_times(video)})

    def run(self, videos: Iterable[Path]) -> None:
        """Do all of the videos.

        Raises:
            OSError: if the folder cannot be written to.
            HelperStartError: if the decoding processes cannot start.
        """
        for path, features in encode_videos(self.encoder, self._read(videos)):
            source = self.sources.pop(path)
            try:
                self.folder.save(path.stem, features, source)
            except V2XumError as error:
                self.on_failure(path, f"{path}: {error}")
            else:
                self.on_done(path)

    def _read(self, videos: Iterable[Path]) -> Iterator[tuple[Path, np.ndarray]]:
        """The pixels of each video that can be read; at most one a worker waits to be taken."""

        def read(path: Path, helper: Helper | None) -> tuple[Video, dict, np.ndarray]:
            return read_whole(path, self.encoder, self.sampling, helper, self.track)

        todo = list(videos)
        with Line(todo, read, self.workers, ahead=max(self.workers, 1), window=len(todo) + 1) as line:
            while (taken := line.take()) is not None:
                ticket, made = taken
                line.finish(ticket)
                if isinstance(made, V2XumError):
                    self.on_failure(ticket.path, str(made))
                    continue
                video, self.sources[ticket.path], pixels = made
                for warning in video.warnings:
                    self.on_warning(warning)
                yield ticket.path, pixels


def read_whole(
    path: Path,
    encoder: FrameEncoder,
    sampling: FrameSampling,
    helper: Helper | None = None,
    track: int | None = None,
) -> tuple[Video, dict, np.ndarray]:
    """A video without its frames, its `video_source`, and its frames as the tower takes them, uint8 [N, 3, h, w].

    Args:
        helper: the process that decodes and resizes; None does it in this one.
        track: as `Extraction`.

    Raises:
        VideoError: naming the file, if it cannot be read.
        HelperStartError: if the process cannot start.
    """
    with faults_of(path):
        request = Request(path, sampling, FRAMES_AT_ONCE, thumbnails=False, track=track)
        video, parts = read_pixels(request, encoder, helper, convert=np.asarray)
        return video, video_source(video), np.concatenate(parts)


def encode_videos(
    encoder: FrameEncoder, videos: Iterable[tuple[Path, np.ndarray]]
) -> Iterator[tuple[Path, np.ndarray]]:
    """Features of videos, with batches of `encoder.batch_size` frames that go on from one video into the next.

    Args:
        videos: each with its pixels, uint8 [N, 3, h, w].

    Yields:
        Each video with its features, float16 [N, C] or [N, m, C], in the order in which they came.
    """
    batches = _Batches(encoder)
    running: list[_Copy] = []  # the batch before, which a GPU still works on while the next is put together
    for path, pixels in videos:
        batches.add(path, pixels)
        while batches.waiting >= encoder.batch_size:
            launched = batches.run()
            yield from (copy.result() for copy in running)
            running = launched
    while batches.waiting:
        running += batches.run()
    yield from (copy.result() for copy in running)


class _Batches:
    """Frames that wait for the tower, and features that wait for the rest of their video."""

    def __init__(self, encoder: FrameEncoder) -> None:
        self.encoder = encoder
        self.waiting = 0
        self._pixels: deque[tuple[Path, np.ndarray]] = deque()
        self._features: dict[Path, list[Tensor]] = {}

    def add(self, path: Path, pixels: np.ndarray) -> None:
        self._pixels.append((path, pixels))
        self._features[path] = []
        self.waiting += len(pixels)

    def run(self) -> list[_Copy]:
        """Encode one batch; returns the videos that are whole with it."""
        taken: list[tuple[Path, np.ndarray, bool]] = []
        room = self.encoder.batch_size
        while room and self._pixels:
            path, pixels = self._pixels.popleft()
            if len(pixels) > room:
                self._pixels.appendleft((path, pixels[room:]))
            taken.append((path, pixels[:room], len(pixels) <= room))
            room -= len(taken[-1][1])
        batch = torch.from_numpy(np.concatenate([pixels for _, pixels, _ in taken]))
        self.waiting -= len(batch)
        if self.encoder.tower.device.type == "cuda":
            batch = batch.pin_memory()  # only from there can it be copied while the GPU works
        parts = self.encoder.encode(batch).split([len(pixels) for _, pixels, _ in taken])
        whole = []
        for (path, _, is_last), part in zip(taken, parts):
            self._features[path].append(part)
            if is_last:
                whole.append(_Copy(path, torch.cat(self._features.pop(path))))
        return whole


class _Copy:
    """A video's features on their way from the device."""

    def __init__(self, path: Path, features: Tensor) -> None:
        self.path = path
        self.is_remote = features.device.type == "cuda"
        self.host = torch.empty(features.shape, dtype=features.dtype, pin_memory=self.is_remote)
        self.host.copy_(features, non_blocking=self.is_remote)
        if self.is_remote:
            self.copied = torch.cuda.Event()
            self.copied.record(torch.cuda.current_stream(features.device))

    def result(self) -> tuple[Path, np.ndarray]:
        """Waits for the copy; float16."""
        if self.is_remote:
            self.copied.synchronize()
        return self.path, self.host.float().numpy()


class FailureLog:
    """`failed.jsonl` (`failed.R.jsonl` of rank R): a line for each video that this run could not do.

    Args:
        folder: the feature folder.
        world_size: how many processes write; the files of ranks beyond it are of an earlier run.
    """

    def __init__(self, folder: Path, rank: int = 0, world_size: int = 1) -> None:
        self.file = folder / (f"failed.{rank}.jsonl" if rank else "failed.jsonl")
        self.file.unlink(missing_ok=True)
        if rank == 0:
            for file in folder.glob("failed.*.jsonl"):
                number = file.name.split(".")[1]
                if number.isdigit() and int(number) >= world_size:
                    file.unlink(missing_ok=True)

    def append(self, path: Path, reason: str) -> None:
        """Add a video; it is on disk when this returns."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        append_line(self.file, json.dumps({"id": path.stem, "video": str(path), "reason": reason}))
