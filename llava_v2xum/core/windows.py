"""A long film as overlapping windows, each with N frames of its own, and its windows' answers as one summary.

N frames of an hour show a picture in 36 seconds. Each window is read and answered like a video; what they say is then
told in the film's own frames: a window owns the time from the middle of its overlap with the one before to the middle
of that with the next, and the film's frames are those that each window has of its own time. A sentence that two windows
tell alike, because it lies where they overlap, is one.

Shapes: K windows, N frames of each, F frames of the film, which are about as many as K N less the overlaps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .errors import V2XumError
from .sampling import FrameSampling
from .spans import frame_runs
from .summary import Sentence, Summary

AUTO, OFF = "auto", "off"
WINDOW_KEY = "window"  # of a record: what was asked for; absent, "auto"
WINDOWS_KEY = "windows"  # of a film's record: what each was asked, and what it answered
LEAST_SECONDS = 1.0  # of a window
FRAME_SECONDS = 4.0  # our choice: a frame of N that stands for more is too little to tell what happens
_OVERLAP = 0.1  # our choice: the share of a window; of 400 seconds what lasts up to 40 is whole in one of two
_SAME = 0.5  # our choice: the share of its frames by which a sentence tells what another window told


@dataclass(frozen=True)
class Window(FrameSampling):
    """N frames of a part of a film, chosen by the rule as if it were a video.

    Args:
        start_seconds, end_seconds: of the part, since the film's first frame; infinite for the film's end.
        own_start_seconds, own_end_seconds: of what no other window tells better.
        number, count: of this window, from 0, and of all windows.
    """

    start_seconds: float = field(default=0.0, kw_only=True)
    end_seconds: float = field(default=math.inf, kw_only=True)
    own_start_seconds: float = field(default=0.0, kw_only=True)
    own_end_seconds: float = field(default=math.inf, kw_only=True)
    number: int = field(default=0, kw_only=True)
    count: int = field(default=1, kw_only=True)

    def frame_numbers(self, seconds: np.ndarray, video_id: str | None = None) -> np.ndarray:
        """The numbers in the film of the frames to read, int64 [N]; see `FrameSampling`.

        Where no frame lies in the window (a pause in the film), it is the one before.
        """
        first, end = np.searchsorted(seconds, [self.start_seconds, self.end_seconds])
        first = min(int(first), len(seconds) - 1)
        if end <= first:
            first, end = max(int(end) - 1, 0), max(int(end), 1)
        within = seconds[first:end]
        return first + super().frame_numbers(within - within[:1], video_id)

    @property
    def name(self) -> str:
        """Of what is kept of the window beside a video's id."""
        return f"window-{self.number + 1}-of-{self.count}"

    def __str__(self) -> str:
        return f"window {self.number + 1} of {self.count}"


def windows_of(sampling: FrameSampling, duration_seconds: float, window: str | float = AUTO) -> tuple[Window, ...]:
    """The windows that tell a film; none for a video that its N frames show well enough.

    They are equally long, and each overlaps the next by a tenth.

    Args:
        window: "auto" for as many as it takes that a frame stands for no more than `FRAME_SECONDS`, "off" for none, or
            the seconds of a window.

    Raises:
        V2XumError: if the window is none of these.
    """
    most = window_seconds(sampling, window)
    if most is None or duration_seconds <= most:
        return ()
    count = math.ceil((duration_seconds / most - _OVERLAP) / (1 - _OVERLAP))
    length = duration_seconds / (count - (count - 1) * _OVERLAP)
    starts = [number * length * (1 - _OVERLAP) for number in range(count)]
    seams = [start + _OVERLAP * length / 2 for start in starts[1:]]
    return tuple(
        Window(
            sampling.num_frames,
            rule=sampling.rule,
            start_seconds=start,
            end_seconds=start + length if number < count - 1 else math.inf,
            own_start_seconds=own_start,
            own_end_seconds=own_end,
            number=number,
            count=count,
        )
        for number, (start, own_start, own_end) in enumerate(zip(starts, [0.0, *seams], [*seams, math.inf]))
    )


def window_seconds(sampling: FrameSampling, window: str | float) -> float | None:
    """How long a window is at most; None for no windows.

    Raises:
        V2XumError: if it is neither "auto", "off" nor a number of at least 1.
    """
    if window == OFF:
        return None
    if window == AUTO:
        return sampling.num_frames * FRAME_SECONDS
    return _seconds(window)


def as_window(text: str) -> str | float:
    """"auto", "off", or the seconds that a text stands for.

    Raises:
        V2XumError: if it is none of these.
    """
    return text if text in (AUTO, OFF) else _seconds(text)


def _seconds(window: str | float) -> float:
    try:
        seconds = float(window)
    except ValueError:
        seconds = math.nan
    if not LEAST_SECONDS <= seconds < math.inf:
        raise V2XumError(f"window must be {AUTO}, {OFF} or at least {LEAST_SECONDS:g} second, got {window!r}")
    return seconds


@dataclass(frozen=True)
class Told:
    """What one window's answer says.

    Args:
        window: of the film.
        frame_seconds: float [N], of its frames since the film's first.
        summary: cites the window's N frames.
        importance: float [N], or None where nothing is cited.
    """

    window: Window
    frame_seconds: np.ndarray
    summary: Summary
    importance: Sequence[float] | None = None

    @property
    def cited(self) -> int:
        """How many citations the importance is the mean of."""
        return sum(len(sentence.frames) for sentence in self.summary.sentences)


@dataclass(frozen=True)
class Film:
    """A film's frames, gathered from its windows'.

    Attributes:
        frame_seconds: float64 [F], ascending.
        of_window: int64 [F], which window each is from.
        of_frame: int64 [F], and which of its N it is.
    """

    frame_seconds: np.ndarray
    of_window: np.ndarray
    of_frame: np.ndarray

    @classmethod
    def of(cls, windows: Sequence[Window], frame_seconds: Sequence[np.ndarray]) -> Film:
        """The frames that each window has of its own time; a frame that a window repeats comes once.

        Args:
            frame_seconds: float [N] of each window.
        """
        kept: list[tuple[float, int, int]] = []
        for window, seconds in zip(windows, frame_seconds):
            for frame, second in enumerate(seconds):
                is_own = window.own_start_seconds <= second < window.own_end_seconds
                if is_own and (not kept or second > kept[-1][0]):
                    kept.append((float(second), window.number, frame))
        if not kept:
            raise V2XumError(f"none of {len(windows)} windows has a frame of its own time")
        columns = zip(*kept)
        return cls(np.array(next(columns)), *(np.array(column, dtype=np.int64) for column in columns))

    def frames_at(self, seconds: np.ndarray, frames: Sequence[int]) -> tuple[int, ...]:
        """The film's frames for frames of a window: runs of successive ones become such runs, in the same order.

        Args:
            seconds: float [N], of the window's frames.
        """
        found: list[int] = []
        for run in frame_runs(frames):
            first, last = (self._nearest(seconds[frame]) for frame in (run[0], run[-1]))
            found += range(first, last + 1)
        return tuple(dict.fromkeys(found))

    def _nearest(self, second: float) -> int:
        after = min(int(np.searchsorted(self.frame_seconds, second)), len(self.frame_seconds) - 1)
        before = max(after - 1, 0)
        is_before = second - self.frame_seconds[before] < self.frame_seconds[after] - second
        return before if is_before else after

    def importance(self, told: Sequence[Told]) -> np.ndarray | None:
        """Of each frame, float64 [F], 1 in all: by its own window, which counts by its citations; None without any."""
        cited = [0 if one.importance is None else one.cited for one in told]
        nothing = np.zeros(len(told[0].frame_seconds))
        by_window = np.array([nothing if one.importance is None else one.importance for one in told])
        own = (by_window.T * cited).T[self.of_window, self.of_frame]
        return own / own.sum() if own.any() else None


def joined_summary(film: Film, told: Sequence[Told]) -> Summary:
    """The windows' summaries as one of the film: in its frames and its time, without what two windows tell alike.

    Where sentences of successive windows share frames, those of the same text become one that cites what both do. Of
    others that tell much the same frames, the one stays whose window owns their middle. Frames without text become one
    list. A sentence that cites nothing is left out where the window before ended with the same text.
    """
    kept: list[tuple[Window, Sentence]] = []
    for one in told:
        for place, sentence in enumerate(one.summary.sentences):
            frames = film.frames_at(one.frame_seconds, sentence.frames)
            _add(kept, film, one.window, replace(sentence, frames=frames), is_first=not place)
    sentences = [sentence for _, sentence in kept]
    if all(sentence.frames for sentence in sentences):
        sentences.sort(key=lambda sentence: min(sentence.frames))
    problems = [f"{one.window}: {problem}" for one in told for problem in one.summary.problems]
    return Summary(tuple(sentences), tuple(problems))


def _add(kept: list[tuple[Window, Sentence]], film: Film, window: Window, sentence: Sentence, is_first: bool) -> None:
    """Add what a window tells, or make it one with what the window before has told."""
    if not sentence.frames:
        last = next((one for one in reversed(kept) if not one[1].frames), None)  # only the last one counts
        if not (is_first and last and last[0].number == window.number - 1 and last[1].text == sentence.text):
            kept.append((window, sentence))
        return
    same = [place for place, one in enumerate(kept) if _is_same(*one, window, sentence)]
    if same:
        other = kept[same[-1]][1]
        kept[same[-1]] = window, replace(other, frames=tuple(sorted({*other.frames, *sentence.frames})))
        return
    seam, is_mine = window.own_start_seconds, _middle(film, sentence) >= window.own_start_seconds
    for place in range(len(kept) - 1, -1, -1):
        before, other = kept[place]
        least = _SAME * min(len(sentence.frames), len(other.frames))
        if before.number == window.number - 1 and len({*sentence.frames} & {*other.frames}) >= least > 0:
            if is_mine and _middle(film, other) < seam:
                continue  # each window tells of its own time
            if is_mine:
                kept[place] = window, sentence
            return
    kept.append((window, sentence))


def _is_same(before: Window, other: Sentence, window: Window, sentence: Sentence) -> bool:
    """Whether a sentence goes on with one that was told before: what it says, of frames that both cite."""
    if not sentence.text or not other.text:
        return sentence.text == other.text
    is_shared = not {*sentence.frames}.isdisjoint(other.frames)
    return before.number == window.number - 1 and sentence.text == other.text and is_shared


def _middle(film: Film, sentence: Sentence) -> float:
    """The second that is the middle of what a sentence cites."""
    return float(np.median(film.frame_seconds[list(sentence.frames)]))
