"""What a predicted sentence tells of: its seconds -> the frames that it selects, and its frames -> their seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ...core.annotations import Span
from ...core.checks import is_number
from ...core.clock import Clock
from ...core.errors import V2XumError
from ...core.readers import shown
from ...core.sampling import FrameSampling
from ...core.spans import frame_spans
from .prediction_records import joined
from .predictions import SAMPLES, SECONDS, PredictedSentence, Prediction

LONGEST_SECONDS = 1_000_000  # our choice: eleven days; what lies behind is no second of a video


def span_of(name: str, span: Sequence[object]) -> tuple[float, float]:
    """The span (start, end) in seconds of a list that begins with the two.

    Raises:
        V2XumError: naming it, if they are no such seconds.
    """
    start, end = (*span[:2], None, None)[:2]
    if not is_number(start) or not is_number(end) or not 0 <= start <= end < LONGEST_SECONDS:
        raise V2XumError(f"{name} must be [start, end] in seconds with 0 <= start <= end, got {shown(span)}")
    return float(start), float(end)


def seconds_of(spans: Iterable[tuple[float, float]]) -> tuple[int, ...]:
    """The seconds that spans touch, as annotators' spans are taken: [s, e] selects floor(s) to floor(e)."""
    return tuple(sorted({k for start, end in spans for k in range(math.floor(start), math.floor(end) + 1)}))


def in_seconds(video_id: str, sentences: Sequence[PredictedSentence]) -> Prediction:
    """The prediction of sentences that all have seconds: their text, and the seconds that they touch."""
    spans = [(one.start_seconds, one.end_seconds) for one in sentences]
    frames = seconds_of((start, end) for start, end in spans if start is not None and end is not None)
    return Prediction(
        video_id,
        num_frames=frames[-1] + 1 if frames else 1,
        frames=frames,
        text=joined(one.text for one in sentences),
        sentences=tuple(sentences),
        clock=SECONDS,
    )


def span_told(sentence: PredictedSentence, prediction: Prediction, duration: float | None) -> Span | None:
    """The part of the video that a sentence tells of: its seconds, else from its first cited index to its last.

    A label cites index round(t / D * N) for second t of D; read backwards, index i stands for i / N * D up to
    (i + 1) / N * D. Where the frames' own seconds are known and count, it stands for `frame_spans`; on the samples'
    and the seconds' clock, index k stands for second k up to k + 1.

    Args:
        duration: D; None where it is not known, and then frames tell nothing.

    Returns:
        None where it has neither seconds nor frames.
    """
    if sentence.start_seconds is not None and sentence.end_seconds is not None:
        return sentence.start_seconds, sentence.end_seconds
    if not sentence.frames or duration is None:
        return None
    times = Clock.of(FrameSampling(prediction.num_frames), duration, prediction.frame_times).times
    if times is not None:
        spans = frame_spans(times.seconds, times.duration_seconds)
        return min(spans[sentence.frames[0]][0], duration), min(spans[sentence.frames[-1]][1], duration)
    step = 1.0 if prediction.clock in (SAMPLES, SECONDS) else duration / prediction.num_frames
    first, last = sentence.frames[0], sentence.frames[-1]  # ascending
    return min(first * step, duration), min((last + 1) * step, duration)


def timed(prediction: Prediction, duration: float | None = None) -> Prediction:
    """The prediction, its sentences with the seconds that they tell of, where these are known.

    Args:
        duration: of the annotated video; where it is None, that of the prediction's own file.
    """
    duration = prediction.duration_seconds if duration is None else duration
    spans = [(one, span_told(one, prediction, duration)) for one in prediction.sentences or ()]
    sentences = [
        one if span is None else replace(one, start_seconds=span[0], end_seconds=span[1]) for one, span in spans
    ]
    return prediction if prediction.sentences is None else replace(prediction, sentences=tuple(sentences))
