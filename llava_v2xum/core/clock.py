"""Seconds <-> the N indexes of a video: by its frames' own seconds, or by the released rule.

An index stands for a frame, and seconds stand for time. Where frames come at an even rate the two are one, and the
released rule, min(round(t / duration * N), N - 1), tells the index of second t. Where the rate varies, or the file is
of another length than its annotation, only the frames' own seconds tell it; they are used where they are known.

Shapes: N frames, K moments.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from .checks import as_list, checked_numbers, first_few, is_number
from .errors import V2XumError
from .sampling import FrameSampling, check_moment

FRAMES, RELEASED = "frames", "released"
CLOCKS = {
    FRAMES: "a frame's own second, where it is known and the rate varies; else as released",
    RELEASED: "second t is index min(round(t / duration * N), N - 1), whatever the rate",
}
_ROUNDING_STEPS = 0.25  # our choice: stamps are rounded (Matroska: milliseconds)
_MUCH_SECONDS = 1.0  # our choice: ActivityNet's durations differ by about that much where they do
_MUCH_STEPS = 2  # our choice: nor are labels moved by more than that many indexes


def check_duration(duration_seconds: Any) -> None:
    """Check that a value is a duration.

    Raises:
        V2XumError: if it is no positive number.
    """
    if not is_number(duration_seconds) or duration_seconds <= 0:
        raise V2XumError(f"duration_seconds must be a positive number, got {duration_seconds!r}")


@dataclass(frozen=True)
class FrameTimes:
    """When the N frames of a video are shown.

    Args:
        seconds: [N], ascending from 0 or later.
        duration_seconds: of the file.

    Raises:
        V2XumError: for what are no such numbers.
    """

    seconds: tuple[float, ...]
    duration_seconds: float

    def __post_init__(self) -> None:
        seconds = checked_numbers("frame_seconds", self.seconds, len(self.seconds))
        if not seconds or seconds[0] < 0 or any(np.diff(seconds) < 0):
            raise V2XumError(f"frame_seconds must ascend from 0 or later, got {list(seconds)}")
        check_duration(self.duration_seconds)
        object.__setattr__(self, "seconds", seconds)

    @classmethod
    def of(cls, seconds: Any, duration_seconds: Any) -> FrameTimes:
        """Those of a JSON object; where it tells no duration, a mean step behind the last frame.

        Raises:
            V2XumError: for what are no such numbers.
        """
        values = tuple(as_list("frame_seconds", seconds))
        if duration_seconds is not None:
            return cls(values, duration_seconds)
        known = cls(values, 1.0)
        return cls(values, known.seconds[-1] + (known.mean_step or 1.0))

    @property
    def mean_step(self) -> float:
        """Seconds from one frame to the next that is another; 0 where all are one."""
        return (self.seconds[-1] - self.seconds[0]) / max(len(set(self.seconds)) - 1, 1)

    def are_even(self, sampling: FrameSampling, video_id: str | None = None) -> bool:
        """Whether the sampling chose them, as far as can be told, from frames at an even rate."""
        seconds, different = np.array(self.seconds), len(set(self.seconds))
        if different == 1:
            return True
        # Of fewer than N frames it is known how they repeat. Of more, their number is not, by which each lies up to one
        # step from where it does of very many.
        is_fewer = different < len(seconds)
        total = different if is_fewer else 100 * len(seconds)
        numbers = sampling.frame_numbers(np.arange(total, dtype=np.float64), video_id)
        shares = (numbers - numbers[0]) / max(numbers[-1] - numbers[0], 1)
        expected = seconds[0] + shares * (seconds[-1] - seconds[0])
        return bool(np.abs(seconds - expected).max() <= (_ROUNDING_STEPS + (not is_fewer)) * self.mean_step)


def lengths_differ(duration_seconds: float, other_seconds: float, num_frames: int) -> bool:
    """Whether two durations, said to be of one video, differ so much that indexes by one are not those by the other."""
    much = max(_MUCH_SECONDS, _MUCH_STEPS * duration_seconds / num_frames)
    return abs(duration_seconds - other_seconds) > much


@dataclass(frozen=True)
class Clock:
    """Which index each moment of one video has, and which moment each index stands for.

    Args:
        sampling: N, and the rule by which frames are chosen.
        duration: D, in the unit of the moments: seconds, or frames of the file.
        times: of the frames, where they are what counts; None for the sampling's own rule.
        video_id: the file's stem.
    """

    sampling: FrameSampling
    duration: float
    times: FrameTimes | None = None
    video_id: str | None = None

    @classmethod
    def of(
        cls,
        sampling: FrameSampling,
        duration_seconds: float,
        times: FrameTimes | None,
        name: str = FRAMES,
        video_id: str | None = None,
    ) -> Clock:
        """The clock of a video that was annotated over so many seconds.

        Args:
            times: of its frames; None where only the mean rate is known.
            name: of `CLOCKS`.

        Raises:
            V2XumError: if there are not N frames.
        """
        if times is not None and len(times.seconds) != sampling.num_frames:
            raise V2XumError(f"expected the seconds of {sampling.num_frames} frames, got {len(times.seconds)}")
        is_frames = (
            name == FRAMES
            and times is not None
            and (
                not times.are_even(sampling, video_id)
                or lengths_differ(duration_seconds, times.duration_seconds, sampling.num_frames)
            )
        )
        return cls(sampling, duration_seconds, times if is_frames else None, video_id)

    def indexes_at(self, moments: np.ndarray) -> np.ndarray:
        """The index of each moment: float [K] within 0..D -> int64 [K].

        By the frames' seconds a moment belongs to the frame that is shown then; as others lie unseen between two, to
        the one that comes within half a mean step (which is rounding, where the rate is even). Of indexes that repeat
        a frame it is the first.
        """
        if self.times is None:
            return self.sampling.indexes_at(moments, self.duration, self.video_id)
        different, first = np.unique(self.times.seconds, return_index=True)
        starts = different[1:] - np.minimum(np.diff(different), self.times.mean_step) / 2
        return first[np.searchsorted(starts, moments)].astype(np.int64)

    def moments(self) -> np.ndarray:
        """The moment that each index stands for, float [N]."""
        if self.times is None:
            return self.sampling.seconds_of(self.duration, self.video_id)
        return np.array(self.times.seconds)


class Clocks:
    """The clocks of many videos, and what must be said of them.

    Args:
        name: of `CLOCKS`.
        times: tells the seconds of a video's frames by its id, or None where only its mean rate is known.

    Raises:
        V2XumError: if there is no clock of that name.
    """

    def __init__(self, name: str = FRAMES, times: Callable[[str], FrameTimes | None] = lambda video_id: None) -> None:
        if name not in CLOCKS:
            raise V2XumError(f"clock must be one of {', '.join(CLOCKS)}, got {name!r}")
        self.name = name
        self._times = times
        self._last: tuple[tuple, Clock] | None = None  # a video's moments are asked for one after another
        self._seen: set[str] = set()
        self._known: set[str] = set()
        self._by_frames: set[str] = set()
        self._differing: dict[str, tuple[float, float]] = {}

    def of(self, sampling: FrameSampling, duration_seconds: float, video_id: str | None) -> Clock:
        """The clock of a video that was annotated over so many seconds; without an id only the mean rate is known.

        Raises:
            V2XumError: if it has the seconds of another number of frames.
        """
        if video_id is None:
            return Clock(sampling, duration_seconds)
        key = (sampling, duration_seconds, video_id)
        if self._last is None or self._last[0] != key:
            times = self._times(video_id)
            clock = Clock.of(sampling, duration_seconds, times, self.name, video_id)
            self._last = (key, clock)
            self._seen.add(video_id)
            if times is not None:
                self._known.add(video_id)
                if lengths_differ(duration_seconds, times.duration_seconds, sampling.num_frames):
                    self._differing[video_id] = (times.duration_seconds, duration_seconds)
            if clock.times is not None:
                self._by_frames.add(video_id)
        return self._last[1]

    def index_at(
        self, sampling: FrameSampling, second: float, duration_seconds: float, video_id: str | None = None
    ) -> int:
        """The index that a label cites for a moment of a video.

        Raises:
            V2XumError: as `of` and `check_moment`.
        """
        check_moment(second, duration_seconds)
        return int(self.of(sampling, duration_seconds, video_id).indexes_at(np.array([second]))[0])

    def anew(self) -> Clocks:
        """The same, of which nothing is to be said yet."""
        return Clocks(self.name, self._times)

    def counts(self) -> dict[str, int]:
        """How many videos were asked about, and of how many which clock was used."""
        return {
            "videos": len(self._seen),
            "by_frame_seconds": len(self._by_frames),
            "mean_rate_alone_known": len(self._seen - self._known),
            "other_lengths": len(self._differing),
        }

    def notes(self) -> list[str]:
        """What a user must know, one line each."""
        notes, unknown = [], len(self._seen - self._known)
        if unknown and self.name == FRAMES:
            notes.append(f"of {unknown} of {len(self._seen)} videos only the mean frame rate is known: second t is "
                "index round(t / duration * N), which is wrong where the rate varies; python -m llava_v2xum.features "
                "keeps the seconds of the frames")  # fmt: skip
        if self._by_frames:
            notes.append(f"{_counted(self._by_frames)} with frames at a varying rate, or of another length than "
                "annotated: the indexes go by the seconds of the frames")  # fmt: skip
        if self._differing:
            worst = max(self._differing, key=lambda video_id: abs(np.subtract(*self._differing[video_id])))
            found, annotated = self._differing[worst]
            notes.append(f"{_counted(self._differing)} of a much other length than annotated, most of all {worst!r} "
                f"({found:.1f} s, annotated {annotated:.1f} s): perhaps other files, or cut ones")  # fmt: skip
        return notes


def _counted(video_ids: Collection[str]) -> str:
    return f"{len(video_ids)} {'video' if len(video_ids) == 1 else 'videos'} ({first_few(sorted(video_ids))})"
