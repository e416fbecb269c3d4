"""Where training takes a video's frames from: stored features, or the video file itself.

Shapes: T frames of one video, m visual tokens of a frame, C feature width, h and w the tower's pixels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import torch
from torch import Tensor

from ..core.errors import V2XumError
from ..core.sampling import FrameSampling
from ..features import FeatureFolder, FrameEncoder
from ..media.video import VIDEO_EXTENSIONS, read_video

_FRAMES_AT_ONCE = 32  # bounds what padding and resizing hold beside the video's own frames


class FrameSource(Protocol):
    """What the data set asks of a place that videos come from."""

    def problem(self, video_id: str) -> str | None:
        """Why the video is not there, or None if it is; to be cheap, as it is asked for every entry."""

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

    def load(self, video_id: str, frame_indices: Sequence[int] | None) -> Tensor:
        """[T, C] or [T, m, C], as stored (float16).

        Raises:
            V2XumError: if the file is missing, damaged, or of another shape.
        """
        features = self.folder.load(video_id, self.shape)
        if features is None:  # there when training started
            raise V2XumError(f"no features of {video_id!r} in {self.folder.path}")
        return torch.from_numpy(features if frame_indices is None else features[list(frame_indices)])


class VideoFiles:
    """Frames decoded from video files named by id, preprocessed to the tower's pixels.

    Needs no tower, so that a loader's worker can have it, also one that is spawned.

    Args:
        folder: holds `ID.mp4` and so on.
        sampling: says which frames stand for a video.
        image_processor: the tower's.
        aspect_ratio: as `FrameEncoder` takes it.
        dtype: of the pixels; the tower's, which casts them to it anyway, and half the memory of float32.

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
    ) -> None:
        self.folder = Path(folder)
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

    def load(self, video_id: str, frame_indices: Sequence[int] | None) -> Tensor:
        """Pixels [T, 3, h, w].

        Raises:
            V2XumError: if there is no such video, or several.
            VideoError: naming the file, if it is gone or cannot be decoded; it is a V2XumError.
        """
        problem = self.problem(video_id)
        if problem is not None:
            raise V2XumError(problem)
        frames = read_video(self.folder / self._files[video_id][0], self.sampling).frames
        if frame_indices is not None:
            frames = frames[list(frame_indices)]
        batches = [frames[start : start + _FRAMES_AT_ONCE] for start in range(0, len(frames), _FRAMES_AT_ONCE)]
        return torch.cat([self._preprocess(batch).to(self.dtype) for batch in batches])
