"""What is true of a clip, in this package's form, VideoXum's and Instruct-V2Xum's.

N: sampled frames (100), S: sentences (one for each event), T: whole seconds of the clip, at 1 frame a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..core.answer_forms import FORMS
from ..core.citations import frame_token
from ..core.errors import V2XumError
from ..core.tasks import TASKS, query_for
from ..core.timeline import Timeline
from .world import Clip, Event, truth_frames

ANNOTATORS = 10  # VideoXum, section 3
_TIMELINE = Timeline()
_FORM = FORMS["after"]  # that of the released models
_ANNOTATOR_STREAM = 3  # third word of the random seed; draw.py uses 1 and 2


def truth_record(clip: Clip, timeline: Timeline = _TIMELINE) -> dict[str, Any]:
    """The exact truth: {video_id, duration, events: [{sentence, start_seconds, end_seconds, frames}]}.

    Seconds are half open, [start_seconds, end_seconds); frames are the indexes of N that show the event.
    """
    events = []
    for event in clip.events:
        start, end = event_seconds(clip, event)
        frames = list(truth_frames(clip, event, timeline))
        events.append(
            {"sentence": event.sentence, "start_seconds": start, "end_seconds": end, "frames": frames}
        )
    return {"video_id": clip.video_id, "duration": clip.duration_seconds, "events": events}


def videoxum_record(clip: Clip) -> dict[str, Any]:
    """The clip as VideoXum would annotate it, by 10 annotators who are each a little off.

    Every edge of an annotator's span lies within a tenth of the event's length of the true one, so spans of
    neighbouring events never meet. `vsum_onehot` marks each second that a span touches: a clip's shortest
    events last less than one.

    Returns:
        {video_id, duration, sampled_frames: T, timestamps[S][2], tsum[S], vsum[S][10][2],
        vsum_onehot[10][T]}.
    """
    rng = np.random.default_rng([clip.seed, clip.index, _ANNOTATOR_STREAM])
    timestamps = [list(event_seconds(clip, event)) for event in clip.events]
    spans = np.zeros((len(timestamps), ANNOTATORS, 2))
    for row, (start, end) in zip(spans, timestamps, strict=True):
        row[:] = [start, end] + rng.uniform(-0.1, 0.1, size=(ANNOTATORS, 2)) * (end - start)
    spans = np.clip(spans.round(2), 0, clip.duration_seconds)
    return {
        "video_id": clip.video_id,
        "duration": clip.duration_seconds,
        "sampled_frames": whole_seconds(clip),
        "timestamps": timestamps,
        "tsum": [event.sentence for event in clip.events],
        "vsum": spans.tolist(),
        "vsum_onehot": [
            _touched_seconds(clip, spans[:, annotator].tolist()) for annotator in range(ANNOTATORS)
        ],
    }


def instruct_records(clip: Clip, timeline: Timeline = _TIMELINE) -> list[dict[str, Any]]:
    """The clip as three Instruct-V2Xum samples, one a task; all three bear the clip's id.

    The training label of second t is min(round(t / duration * N), N - 1), which is not the clock that frames
    are sampled by. So `<fK>` stands for t = i / N * duration: that gives back exactly index i.
    """
    events = [(event.sentence, truth_frames(clip, event, timeline)) for event in clip.events]
    onehot = _touched_seconds(clip, [event_seconds(clip, event) for event in clip.events])
    records = []
    for task in TASKS:
        tokens: dict[str, float] = {}

        def cite(index: int, tokens: dict[str, float] = tokens) -> str:
            name = frame_token(len(tokens))
            tokens[name] = index / timeline.num_frames * clip.duration_seconds
            return name

        answer = answer_of(events, task, cite)
        meta = {"duration": clip.duration_seconds, "sampled_frames": len(onehot), "token": tokens}
        turns = [
            {"from": "human", "value": query_for(task, separator="\n")},
            {"from": "gpt", "value": answer},
        ]
        records.append({"id": clip.video_id, "meta": meta, "conversations": turns, "vsum_onehot": onehot})
    return records


def answer_of(
    events_with_frames: Iterable[tuple[str | Event, Sequence[int]]],
    task: str,
    cite: Callable[[int], str] = _TIMELINE.cite,
) -> str:
    """The answer to a task, in the form that the released models write.

    Args:
        events_with_frames: the events in order, each an `Event` or its sentence, with the indexes that show
            it. An event without any is left out, so a window of a clip's frames can be passed as it is.
        task: "video", "text" or "both".
        cite: how an index is written inside the brackets.

    Returns:
        both: `A red circle moves across the top [03, 04]. A blue star moves across the middle [41, 42].`;
        text: the sentences alone; video: `[03, 04, 41, 42].`

    Raises:
        V2XumError: if the task is none of the three, or no event has an index: there is nothing to tell then.
    """
    if task not in TASKS:
        raise V2XumError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
    told = [
        (event.sentence if isinstance(event, Event) else event, frames)
        for event, frames in events_with_frames
        if len(frames)
    ]
    if not told:
        raise V2XumError("an answer needs at least one event with a frame that shows it, got none")
    if task == "text":
        return " ".join(sentence for sentence, _ in told)
    if task == "video":
        return _FORM.sentence("", _bracketed((index for _, frames in told for index in frames), cite))
    return _FORM.between.join(_FORM.sentence(sentence, _bracketed(frames, cite)) for sentence, frames in told)


def event_seconds(clip: Clip, event: Event) -> tuple[float, float]:
    """When the event is visible: [start_seconds, end_seconds), the second of frame f being f / fps."""
    return event.start_frame / clip.fps, event.end_frame / clip.fps


def whole_seconds(clip: Clip) -> int:
    """T: VideoXum's sampled_frames is its duration, rounded (225.2 s: 225)."""
    return round(clip.duration_seconds)


def _bracketed(indexes: Iterable[int], cite: Callable[[int], str]) -> str:
    return _TIMELINE.citations.bracketed(cite(int(index)) for index in indexes)


def _touched_seconds(clip: Clip, spans: Iterable[Sequence[float]]) -> list[int]:
    """0 or 1 for each of the T seconds [k, k + 1): 1 where a span [start, end) touches it."""
    touched = [0] * whole_seconds(clip)
    for start, end in spans:
        for second in range(math.floor(start), min(math.ceil(end), len(touched))):
            touched[second] = 1
    return touched
