"""Long films of the rendered world: events all along, as densely as in clips, and their exact truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .world import SIZES, Clip, Event, event_spans, make_clip, make_event

FILM_FPS = 4  # our choice: events last many seconds, and an hour is rendered in half a minute
STRETCH_SECONDS = 360.0  # our choice: so much of a film has a clip's number of events
_FILM_SIZE = SIZES[4]
_STREAM = 4  # third word of the random seed; draw.py and truth.py use 1 to 3


def make_film(seed: int, index: int, minutes: float) -> Clip:
    """Film number `index` of the series `seed`; the same numbers always give the same film.

    Each stretch of about six minutes is laid out as a clip is: its events last 3 to 12 of a hundred frames at even
    distances in it, so what a hundred frames of the whole film show of one is less than that, or nothing.

    Raises:
        V2XumError: if seed or index is negative.
    """
    look = make_clip(seed, index)
    rng = np.random.default_rng([seed, index, _STREAM])
    width, height = _FILM_SIZE
    stretches = max(round(minutes * 60 / STRETCH_SECONDS), 1)
    frames = round(minutes * 60 * FILM_FPS / stretches)
    events: list[Event] = []
    for first in range(0, stretches * frames, frames):
        for start, end in event_spans(rng, frames):
            events.append(make_event(rng, events, first + start, first + end, width, height))
    return replace(
        look,
        video_id=f"film_{seed}_{index:04d}",
        width=width,
        height=height,
        fps=FILM_FPS,
        total_frames=stretches * frames,
        events=tuple(events),
    )
