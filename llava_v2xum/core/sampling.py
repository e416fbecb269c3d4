"""Which N frames stand for a video, and which of their indexes a moment has.

A rule is known by its name: checkpoints, feature folders and instruction JSON keep it, and what one rule made is
refused where another is wanted. What names none is older than the rules and counts as "linspace". A further rule is
a class with the methods of `SamplingRule`, and a line in `SAMPLING_RULES`.

Shapes: N frames, F frames of the file, K moments. Times are seconds since the file's first frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .errors import V2XumError

DEFAULT_NUM_FRAMES = 100  # paper, section 4
LINSPACE = "linspace"
TRACK_KEY = "video_track"  # of a record or stored features: the track that was asked for; absent, what players choose
SAMPLING_KEY = "frame_sampling"  # of a rule's name, in config.json, features.json and instruction JSON


class SamplingRule(Protocol):
    """How N frames are chosen. Each method is told the video's id (its file's stem), or None where there is none."""

    def numbers(self, num_frames: int, seconds: np.ndarray, video_id: str | None) -> np.ndarray:
        """The frames' numbers in the file, int64 [N], ascending; `seconds` are those of all frames, float [F]."""

    def indexes_at(self, num_frames: int, seconds: np.ndarray, duration: float, video_id: str | None) -> np.ndarray:
        """The index that a label cites for each moment: float [K] within 0..duration -> int64 [K]."""

    def seconds_of(self, num_frames: int, duration: float, video_id: str | None) -> np.ndarray:
        """The moment that each index stands for in labels: float [N]."""


class Linspace:
    """At even distances, from the first frame to the last (released code)."""

    def numbers(self, num_frames: int, seconds: np.ndarray, video_id: str | None) -> np.ndarray:
        """Linspace over the frame numbers, cast to int; they repeat where the video has fewer than N frames."""
        return np.linspace(0, len(seconds) - 1, num_frames).astype(np.int64)

    def indexes_at(self, num_frames: int, seconds: np.ndarray, duration: float, video_id: str | None) -> np.ndarray:
        """min(round(t / duration * N), N - 1), half to even (released code, `LazySupervisedDataset`)."""
        return np.minimum(np.rint(seconds / duration * num_frames).astype(np.int64), num_frames - 1)

    def seconds_of(self, num_frames: int, duration: float, video_id: str | None) -> np.ndarray:
        """i / N * duration."""
        return np.arange(num_frames) / num_frames * duration


SAMPLING_RULES: dict[str, SamplingRule] = {LINSPACE: Linspace()}


@dataclass(frozen=True)
class FrameSampling:
    """N frames, and the rule by which they are chosen.

    Args:
        num_frames: N, how many frames stand for a video.
        rule: a name in `SAMPLING_RULES`.

    Raises:
        V2XumError: if N is not positive, or no rule has that name.
    """

    num_frames: int = DEFAULT_NUM_FRAMES
    rule: str = field(default=LINSPACE, kw_only=True)

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise V2XumError(f"num_frames must be at least 1, got {self.num_frames}")
        if self.rule not in tuple(SAMPLING_RULES):  # a config may hold anything
            raise V2XumError(f"{SAMPLING_KEY} must be one of {', '.join(SAMPLING_RULES)}, got {self.rule!r}")

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> FrameSampling:
        """That of a checkpoint's config.json, or of a description of features."""
        return cls(fields.get("num_frames", DEFAULT_NUM_FRAMES), rule=fields.get(SAMPLING_KEY, LINSPACE))

    def frame_numbers(self, seconds: np.ndarray, video_id: str | None = None) -> np.ndarray:
        """The numbers of the frames to read.

        Args:
            seconds: of all frames, float [F], ascending from 0.
            video_id: the file's stem.

        Returns:
            int64 [N], ascending, from 0 to F - 1.
        """
        if not len(seconds):
            raise V2XumError("total_frames must be at least 1, got 0")
        return SAMPLING_RULES[self.rule].numbers(self.num_frames, seconds, video_id)

    def sample(self, total_frames: int) -> np.ndarray:
        """The numbers of the frames that stand for a video of `total_frames` frames at an even rate, int64 [N]."""
        return self.frame_numbers(np.arange(total_frames, dtype=np.float64))

    def index_at(self, second: float, duration_seconds: float, video_id: str | None = None) -> int:
        """The index that training labels give to a moment.

        Raises:
            V2XumError: if the duration is not positive or the second lies outside 0..duration.
        """
        check_moment(second, duration_seconds)
        return int(self.indexes_at(np.array([second]), duration_seconds, video_id)[0])

    def indexes_at(self, seconds: np.ndarray, duration_seconds: float, video_id: str | None = None) -> np.ndarray:
        """`index_at` of moments within 0..duration: float [K] -> int64 [K]."""
        return SAMPLING_RULES[self.rule].indexes_at(self.num_frames, seconds, duration_seconds, video_id)

    def seconds_of(self, duration_seconds: float, video_id: str | None = None) -> np.ndarray:
        """The moment that each index stands for in labels, float [N]."""
        return SAMPLING_RULES[self.rule].seconds_of(self.num_frames, duration_seconds, video_id)


def check_moment(second: float, duration_seconds: float) -> None:
    """Check that a moment is one of a video.

    Raises:
        V2XumError: if the duration is not positive or the second lies outside 0..duration.
    """
    if duration_seconds <= 0:
        raise V2XumError(f"duration_seconds must be positive, got {duration_seconds}")
    if not 0 <= second <= duration_seconds:
        raise V2XumError(f"second must lie in 0..{duration_seconds} (the duration), got {second}")
