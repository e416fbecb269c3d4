"""A summary as cues: what is said of the video, and from when to when; subtitles and chapters are made of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from ...core.noise import LOOP, numbers_in
from ...core.summary import Sentence, Summary

_ROUNDING_SECONDS = 0.0006  # of files that tell milliseconds


@dataclass(frozen=True)
class Cue:
    """A sentence over one of its segments, [start_seconds, end_seconds) of the source.

    Args:
        frames: of the segment.
        sentence: its number in the summary.
    """

    start_seconds: float
    end_seconds: float
    text: str
    frames: tuple[int, ...]
    sentence: int


def cues_of(record: dict) -> list[Cue]:
    """The cues of a summary record (`render.make_record`), by their starts.

    Sentences that cite nothing have no time, and frames alone no text: neither is a cue. As on the console, an answer
    that goes round in circles gives none, and a sentence with a row of numbers in it is left out.
    """
    if any(problem.startswith(LOOP) for problem in record["problems"]):
        return []
    cues = []
    for segment in record["segments"]:
        text = record["sentences"][segment["sentence"]]["text"]
        if text and not numbers_in(text):
            span = segment["start_seconds"], segment["end_seconds"]
            cues.append(Cue(*span, text, tuple(segment["frames"]), segment["sentence"]))
    return sorted(cues, key=lambda cue: (cue.start_seconds, cue.sentence))


def has_cues(record: dict) -> bool:
    """Whether there is anything to say at some time."""
    return bool(cues_of(record))


def summary_of(cues: Iterable[tuple[Hashable, str, Iterable[int]]]) -> Summary:
    """The summary of (sentence, text, frames): cues of one sentence are put together, in the order of the first."""
    texts: dict[Hashable, str] = {}
    frames: dict[Hashable, list[int]] = {}
    for key, text, cited in cues:
        texts.setdefault(key, text)
        frames.setdefault(key, []).extend(cited)
    return Summary(tuple(Sentence(texts[key], tuple(frames[key])) for key in texts))


def frames_within(start_seconds: float, end_seconds: float, frame_seconds: Sequence[float] | None) -> list[int]:
    """The frames that lie in [start, end), rounded as files round; none where their seconds are not known."""
    start, end = start_seconds - _ROUNDING_SECONDS, end_seconds - _ROUNDING_SECONDS
    return [index for index, second in enumerate(frame_seconds or ()) if start <= second < end]


def clock_time(seconds: float, point: str = ".") -> str:
    """Seconds as hh:mm:ss.mmm, rounded."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{point}{milliseconds:03d}"


def seconds_of(text: str) -> float:
    """The seconds of (hh:)mm:ss.mmm, with a point or a comma.

    Raises:
        ValueError: if it is none.
    """
    *larger, seconds = text.replace(",", ".").split(":")
    total = 0
    for part in larger:
        total = total * 60 + int(part)
    return total * 60 + float(seconds)
