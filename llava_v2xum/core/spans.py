"""The seconds that cited frames stand for: the one calculation behind whatever shows or cuts a summary.

Frame i stands for the seconds from its own until the next sampled frame. Successive frames of a sentence are one
segment, and their times, the interval that is printed over them, the spans of the clip and the segments of summary.json
are all taken from it. Spans are half open, [start, end), in seconds since the file's first frame.

Shapes: N frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .summary import Sentence

Span = tuple[float, float]


def frame_spans(frame_seconds: Sequence[float], duration_seconds: float) -> list[Span]:
    """The span that each of the N frames stands for: until the next sampled frame, the last one a mean step.

    Frames repeat where the video has fewer than N: each repeat stands for the same span.
    """
    last = frame_seconds[-1]
    step = (last - frame_seconds[0]) / max(len(frame_seconds) - 1, 1) or duration_seconds
    spans: list[Span] = []
    end = max(last, min(last + step, duration_seconds))
    following = last
    for second in reversed(frame_seconds):
        if second < following:
            end, following = following, second
        spans.append((second, end))
    return spans[::-1]


def frame_runs(frames: Iterable[int]) -> list[list[int]]:
    """Frame indexes as runs of successive ones: (40, 12, 13) -> [[12, 13], [40]]."""
    runs: list[list[int]] = []
    for frame in sorted(set(frames)):
        if runs and frame == runs[-1][-1] + 1:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    return runs


def segments_of(
    sentences: Iterable[Sentence], frame_seconds: Sequence[float], duration_seconds: float
) -> list[dict[str, Any]]:
    """The parts of the video that a summary cites, sentence by sentence, as summary.json has them.

    Args:
        sentences: whose frames lie in 0..N-1.
        frame_seconds: [N], ascending.

    Returns:
        for each run of successive frames of a sentence: its start_seconds and end_seconds; the frames, ascending; and
        the sentence's number among the sentences, from 0.
    """
    spans = frame_spans(frame_seconds, duration_seconds)
    return [
        {
            "start_seconds": spans[run[0]][0],
            "end_seconds": round(spans[run[-1]][1], 6),
            "frames": run,
            "sentence": number,
        }
        for number, sentence in enumerate(sentences)
        for run in frame_runs(sentence.frames)
    ]


def relative_importance(
    importance: Sequence[float] | None, frame_seconds: Sequence[float], duration_seconds: float
) -> list[tuple[Span, float]]:
    """How important each moment is beside the most important one, 0..1; [] where nothing is known.

    Indexes that repeat a frame (a video of fewer than N) share its span: their probabilities add up.

    Args:
        importance: [N], of every frame.
        frame_seconds: [N], ascending.
    """
    added: dict[Span, float] = {}
    for span, score in zip(frame_spans(frame_seconds, duration_seconds), importance or ()):
        added[span] = added.get(span, 0.0) + score
    highest = max(added.values(), default=0.0)
    return [(span, score / highest) for span, score in added.items()] if highest > 0 else []


def key_frame_of(frames: Sequence[int], importance: Sequence[float] | None) -> int:
    """The one of a segment's frames that stands for it: the most important one, of equals that nearest its middle.

    Args:
        importance: [N], of every frame; None where there is none.
    """
    middle = (len(frames) - 1) / 2
    places = range(len(frames))
    best = max(places, key=lambda place: (importance[frames[place]] if importance else 0.0, -abs(place - middle)))
    return frames[best]


def widened(spans: Iterable[Span], duration_seconds: float, least_seconds: float) -> list[Span]:
    """Spans that together last that long, by as many seconds on every side, or the whole video if it is shorter.

    Returns:
        them, ascending and apart; as `joined` gives them where they last long enough.
    """
    apart = joined(spans)
    while apart and (lacking := least_seconds - sum(end - start for start, end in apart)) > 1e-6:
        free = sum((start > 0) + (end < duration_seconds) for start, end in apart)
        if not free:
            break
        grow = lacking / free  # what then lies beyond an end of the video, or in a neighbour, is made up for next time
        apart = joined((max(start - grow, 0.0), min(end + grow, duration_seconds)) for start, end in apart)
    return [(round(start, 6), round(end, 6)) for start, end in apart]


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same moments as spans that ascend and lie apart."""
    apart: list[Span] = []
    for start, end in sorted(spans):
        if apart and start <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
        else:
            apart.append((start, end))
    return apart
