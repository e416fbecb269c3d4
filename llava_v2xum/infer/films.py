"""Long films on their way through the Summarizer: in parts, each a window, and put together again (`core.windows`).

Shapes: K windows, N frames of each, F frames of the film.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.answers import format_answer
from ..core.errors import V2XumError
from ..core.noise import LOOP
from ..core.sampling import FrameSampling
from ..core.summary import Summary
from ..core.timeline import Timeline
from ..core.windows import (
    AUTO,
    OFF,
    WINDOW_KEY,
    WINDOWS_KEY,
    Film,
    Told,
    Window,
    joined_summary,
    window_seconds,
    windows_of,
)
from ..media.opening import announced_seconds
from ..media.render import make_record
from ..media.video import probe_video
from .video_summary import VideoSummary

ByTask = dict[str, VideoSummary]
_MUCH_LONGER = 1.1  # our choice: by less than that headers and frames differ in files that are whole


@dataclass(frozen=True)
class Part:
    """What is read and answered at a time: a video, or a window of a film."""

    path: Path
    window: Window | None = None

    def __str__(self) -> str:
        return str(self.path) if self.window is None else f"{self.path} ({self.window})"

    @property
    def name(self) -> str:
        """What seeds and stored features know it by: the file's stem, and of a film which window it is."""
        return self.path.stem if self.window is None else f"{self.path.stem}.{self.window.name}"


def parts_of(
    paths: Iterable[Path], sampling: FrameSampling, window: str | float, track: int | None = None
) -> Iterator[Part]:
    """The parts of every video, by the length that its header announces; reading says what is wrong with a file.

    Of a file that announces none, as a browser records it, the packets tell it.

    Args:
        window: as for `windows_of`.
        track: which of several video tracks (`opening.opened`).
    """
    for path in paths:
        seconds = 0.0
        if window != OFF and path.is_file():
            with suppress(V2XumError, OSError):
                seconds = announced_seconds(path, track) or _scanned_seconds(path, sampling, track)
        yield from [Part(path, one) for one in windows_of(sampling, seconds, window)] or [Part(path)]


def _scanned_seconds(path: Path, sampling: FrameSampling, track: int | None) -> float:
    """How long the packets say that a video is; 0 where only decoding tells."""
    probed = probe_video(path, sampling, track)
    return 0.0 if probed is None else probed.duration_seconds


class Gathering:
    """Gathers what comes of parts, in any order, until a video has all of them.

    Args:
        sampling: of each part.
        window: what was asked for, which the records keep.

    Raises:
        V2XumError: if there are no such windows.
    """

    def __init__(self, sampling: FrameSampling, window: str | float) -> None:
        window_seconds(sampling, window)  # refuses what is none
        self.sampling, self.window = sampling, window
        self._waiting: dict[Path, dict[Window, ByTask | V2XumError]] = {}

    def add(self, part: Part, made: ByTask | V2XumError) -> Iterator[ByTask | V2XumError]:
        """What becomes of its video, once this was the last of its parts."""
        last_start = 0.0
        if part.window is not None:
            found = self._waiting.setdefault(part.path, {})
            found[part.window] = made
            if len(found) < part.window.count:
                return
            last_start = max(window.start_seconds for window in found)
            made = self._joined(self._waiting.pop(part.path))
        if not isinstance(made, V2XumError):
            made = {task: self._finished(part.path, one, last_start) for task, one in made.items()}
        yield made

    def _finished(self, path: Path, made: VideoSummary, last_start: float) -> VideoSummary:
        """A video's summary, with what was asked for, and what is wrong where it lasts longer than its header says.

        Args:
            last_start: seconds, of its last part.
        """
        if self.window != AUTO:
            made.record[WINDOW_KEY] = self.window
        most = window_seconds(self.sampling, self.window)
        lasts = made.record["duration_seconds"] - last_start
        if most is None or lasts <= _MUCH_LONGER * most:
            return made
        frames = f"{self.sampling.num_frames} frames stand for {lasts:.0f} seconds of it"
        return replace(made, warnings=(*made.warnings, f"{path}: is longer than its header says: {frames}"))

    def _joined(self, found: Mapping[Window, ByTask | V2XumError]) -> ByTask | V2XumError:
        windows = sorted(found, key=lambda window: window.number)
        told: list[ByTask] = []
        for window in windows:
            made = found[window]
            if isinstance(made, V2XumError):
                return made
            told.append(made)
        return {task: film_summary(windows, [one[task] for one in told], self.sampling) for task in told[0]}


def film_summary(windows: Sequence[Window], told: Sequence[VideoSummary], sampling: FrameSampling) -> VideoSummary:
    """The summary of a film, from those of its windows, in its own F frames.

    Its record's answer is the joined summary as an answer that cites these F; the windows' own stand under "windows".

    Args:
        told: of each window, whose frames are its N.
    """
    records = [one.record for one in told]
    seconds = [np.array(record["frame_seconds"]) for record in records]
    film = Film.of(windows, seconds)
    pieces = [_told(*of, film) for of in zip(windows, seconds, told)]
    summary, importance, first = joined_summary(film, pieces), film.importance(pieces), records[0]
    frames = len(film.frame_seconds)
    citing = Timeline.of(max(frames, sampling.num_frames))
    record = make_record(
        summary,
        video_id=first["video_id"],
        video=first["video"],
        duration_seconds=first["duration_seconds"],
        fps=first["fps"],
        frame_seconds=film.frame_seconds.tolist(),
        task=first["task"],
        answer=format_answer(summary, timeline=citing),
        importance=None if importance is None else importance.tolist(),
        model=first["model"],
        versions=first["versions"],
    )
    own = ("video_id", "video")
    record |= {key: value for key, value in first.items() if key not in record and key not in own}
    record[WINDOWS_KEY] = [
        _of_window(window, one, film) for window, one in zip(windows, records) if window.number in film.of_window
    ]
    drawn = [one.thumbnails for one in told]
    pictures = drawn[0]
    if all(map(len, drawn)):
        pictures = np.stack([drawn[window][frame] for window, frame in zip(film.of_window, film.of_frame)])
    warnings = dict.fromkeys(warning for one in told for warning in one.warnings)
    return VideoSummary(summary, record, pictures, tuple(warnings))


def _told(window: Window, seconds: np.ndarray, made: VideoSummary, film: Film) -> Told:
    """What a window adds to its film's summary.

    That is nothing where it has no frame of its own time, because the film is cut off or pauses there: it shows what
    another one tells. Of an answer that goes round in circles it is the problem alone, as people are shown
    (`render.groups_for_people`): the sentences would drown those of the other windows.
    """
    if window.number not in film.of_window:
        return Told(window, seconds, Summary(()))
    problems = made.summary.problems
    if any(problem.startswith(LOOP) for problem in problems):
        return Told(window, seconds, Summary((), problems))
    return Told(window, seconds, made.summary, made.record["importance"])


def _of_window(window: Window, record: Mapping, film: Film) -> dict:
    """What a film's record tells of a window: its seconds, which of the film's frames are its own, and its answer."""
    own = np.flatnonzero(film.of_window == window.number).tolist()
    return {
        "start_seconds": record["frame_seconds"][0],
        "end_seconds": record["frame_seconds"][-1],
        "frames": [own[0], own[-1]],
        "answer": record["answer"],
    }
