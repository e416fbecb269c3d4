"""Where training takes a video's frames from, stored features or the video file itself, and where still images.

Shapes: T frames of one video, m visual tokens of a frame, C feature width, h and w the tower's pixels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from ..core.clock import FrameTimes
from ..core.errors import V2XumError
from ..core.sampling import FrameSampling
from ..features import FeatureFolder, FrameEncoder
from ..features.upstream import process_images
from ..media.reading import Request, read
from ..media.video import VIDEO_EXTENSIONS, VideoError, check_opens

_FRAMES_AT_ONCE = 32  # bounds what decoding, padding and resizing hold


class FrameSource(Protocol):
    """What the data set asks of a place that videos come from."""

    def problem(self, video_id: str) -> str | None:
        """Why the video is not there, or None if it is; to be cheap, as it is asked for every entry."""

    def damage(self, video_id: str, full: bool) -> str | None:
        """What is wrong with a video that is there, or None: from a sample, or with `full` from all of it."""

    def times(self, video_id: str) -> FrameTimes | None:
        """When its N frames are shown, or None where that is not known without reading the file."""

    def load(self, video_id: str, frame_indices: Sequence[int] | None) -> Tensor:
        """The frames of these indexes of the timeline (all N if None), features or pixels, [T, ...]."""


class StoredFeatures:
    """Frame features from a folder; no video is decoded.

    Args:
        folder: the features, by video id.
        shape: of a whole video's features (`LlavaV2XumConfig.feature_shape`).

    Raises:
        V2XumError: if there is no such folder.
    """

    def __init__(self, folder: FeatureFolder, shape: tuple[int, ...]) -> None:
        if not folder.path.is_dir():
            raise V2XumError(f"--feature_folder: {folder.path}: no such folder")
        self.folder = folder
        self.shape = tuple(shape)
        self._stored = frozenset(folder.ids())

    def problem(self, video_id: str) -> str | None:
        return None if video_id in self._stored else f"no features of {video_id!r} in {self.folder.path}"

    def damage(self, video_id: str, full: bool) -> str | None:
        try:
            self.folder.check(video_id, self.shape, full)
        except (V2XumError, OSError) as error:
            return str(error)
        return None

    def times(self, video_id: str) -> FrameTimes | None:
        return self.folder.sources.times(video_id)

    def load(self, video_id: str, frame_indices: Sequence[int] | None) -> Tensor:
        """[T, C] or [T, m, C], as stored (float16).

        Raises:
            V2XumError: if the file is missing, damaged, or of another shape.
        """
        features = self.folder.load(video_id, self.shape)
        if features is None:  # there when training started
            raise V2XumError(f"no features of {video_id!r} in {self.folder.path}")
        return torch.from_numpy(features if frame_indices is None else features[list(frame_indices)])


class NoVideos:
    """Of a run of still images and text alone."""

    def problem(self, video_id: str) -> str:
        return "no --feature_folder and no --video_folder came"

    def damage(self, video_id: str, full: bool) -> None:
        return None

    def times(self, video_id: str) -> None:
        return None

    def load(self, video_id: str, frame_indices: Sequence[int] | None) -> Tensor:
        raise V2XumError(self.problem(video_id))


class VideoFiles:
    """Frames decoded from video files named by id, preprocessed to the tower's pixels.

    Needs no tower, so that a loader's worker can have it, also one that is spawned.

    Args:
        folder: holds `ID.mp4` and so on.
        sampling: says which frames stand for a video.
        image_processor: the tower's.
        aspect_ratio: as `FrameEncoder` takes it.
        dtype: of the pixels; the tower's, which casts them to it anyway, and half the memory of float32.
        track: which of several video tracks (`opening.opened`).

    Raises:
        V2XumError: if the folder cannot be listed.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        sampling: FrameSampling,
        image_processor,
        aspect_ratio: str | None,
        dtype: torch.dtype = torch.float16,
        track: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.track = track
        self.sampling = sampling
        self.dtype = dtype
        processor_alone = SimpleNamespace(is_loaded=True, image_processor=image_processor)
        self._preprocess = FrameEncoder(processor_alone, aspect_ratio, {}).preprocess
        self._files: dict[str, list[str]] = {}
        try:
            names = sorted(os.listdir(self.folder))
        except OSError as error:
            raise V2XumError(f"--video_folder: {folder}: the folder cannot be listed: {error.strerror}") from error
        for name in names:
            stem, extension = os.path.splitext(name)
            if extension.lower() in VIDEO_EXTENSIONS and not name.startswith("."):
                self._files.setdefault(stem, []).append(name)

    def problem(self, video_id: str) -> str | None:
        files = self._files.get(video_id, [])
        if len(files) > 1:
            return f"{self.folder} has several videos of {video_id!r}: {', '.join(files)}"
        return None if files else f"no video of {video_id!r} in {self.folder}"

    def file(self, video_id: str) -> Path:
        """The file of a video that is there (`problem`)."""
        return self.folder / self._files[video_id][0]

    def damage(self, video_id: str, full: bool) -> str | None:
        """Whether the file can be opened and has such a track; with `full`, whether its frames can be decoded."""
        path = self.file(video_id)
        try:
            if full:
                read(Request(path, self.sampling, _FRAMES_AT_ONCE, thumbnails=False, track=self.track), lambda _: None)
            else:
                check_opens(path, self.track)
        except VideoError as error:
            return str(error)
        return None

    def times(self, video_id: str) -> FrameTimes | None:
        return None  # every file would have to be read before training starts

    def load(self, video_id: str, frame_indices: Sequence[int] | None) -> Tensor:
        """Pixels [T, 3, h, w].

        Raises:
            V2XumError: if there is no such video, or several.
            VideoError: naming the file, if it is gone or cannot be decoded; it is a V2XumError.
        """
        problem = self.problem(video_id)
        if problem is not None:
            raise V2XumError(problem)
        path = self.file(video_id)
        request = Request(path, self.sampling, _FRAMES_AT_ONCE, thumbnails=False, track=self.track)
        pixels = torch.cat(read(request, lambda frames: self._preprocess(frames).to(self.dtype))[1])
        return pixels if frame_indices is None else pixels[list(frame_indices)]


class ImageFiles:
    """Still images, read as LLaVA's own data set reads them; needs no tower.

    Args:
        folder: what the entries' names are below.
        image_processor: the tower's.
        aspect_ratio: "pad" pads to a square with the mean colour; anything else leaves the processor's centre crop.
        positions: P, the patches of an image.
    """

    def __init__(self, folder: str | os.PathLike, image_processor, aspect_ratio: str | None, positions: int) -> None:
        self.folder = Path(folder)
        self.positions = positions
        self._processor = image_processor
        self._config = SimpleNamespace(image_aspect_ratio=aspect_ratio)
        self._listed: dict[str, frozenset[str]] = {}

    def problem(self, name: str) -> str | None:
        """Why the image is not there, or None if it is; a folder is listed once, as it may hold half a million."""
        folder, file = os.path.split(self.folder / name)
        if folder not in self._listed:
            found = os.listdir(folder) if os.path.isdir(folder) else ()
            self._listed[folder] = frozenset(found)
        return None if file in self._listed[folder] else f"no image {name!r} in {self.folder}"

    def load(self, name: str) -> Tensor:
        """Pixels [3, h, w].

        Raises:
            V2XumError: naming the file, if it cannot be read.
        """
        path = self.folder / name
        try:
            with Image.open(path) as image:
                image = image.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # as formats have them
            raise V2XumError(f"{path}: cannot be read as an image: {error}") from error
        return process_images([image], self._processor, self._config)[0]
