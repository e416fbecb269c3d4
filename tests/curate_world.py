"""Results of the stages as the tests of what is written take them: made by hand from what is true of shapes clips."""

from __future__ import annotations

import hashlib
from pathlib import Path

from llava_v2xum.curate.stages import Source
from llava_v2xum.shapes import event_visible, make_clip, write_clip
from llava_v2xum.shapes.world import Clip


def results_of(
    frames: list[int],
    sentences: list[str],
    duration: float = 50.0,
    dropped: tuple[dict, ...] = (),
    refined: bool = True,
) -> dict:
    """Of a video whose captions number its seconds."""
    samples = max(1, int(duration))
    return {
        "select": {
            "digest": hashlib.sha256(str((duration, frames)).encode()).hexdigest(),
            "duration": duration,
            "sampled_frames": samples,
            "signature": [],
            "aesthetic": None,
        },
        "caption": {"captions": [f"The picture of second {second}." for second in range(samples)]},
        "extract": {"frames": sorted({*frames, *(one["frame"] for one in dropped)})},
        "filter": {"frames": frames, "dropped": list(dropped)},
        "refine": {"sentences": sentences, "refined": refined, "why": None if refined else "no endpoint"},
    }


def results_of_clip(clip: Clip) -> dict:
    """What a perfect pipeline finds: a frame in each event that a second shows, and the event's sentence for it."""
    duration = clip.duration_seconds
    shown = [event_visible(clip, second * clip.fps) for second in range(int(duration))]
    frames, sentences, dropped = [], [], []
    for second, event in enumerate(shown):
        if event is None:
            continue
        if event.sentence in sentences:
            dropped.append({"frame": second, "like": frames[sentences.index(event.sentence)], "score": 0.99})
        else:
            frames.append(second)
            sentences.append(event.sentence)
    results = results_of(frames or [0], sentences or ["Nothing happens."], duration, tuple(dropped))
    captions = ["An empty scene." if event is None else event.sentence.lower() for event in shown]
    return {**results, "caption": {"captions": captions}}


def clips(folder: Path, count: int, seed: int = 7) -> list[tuple[Source, dict]]:
    """Rendered clips with their results."""
    found = []
    for index in range(count):
        clip = make_clip(seed, index)
        path = write_clip(clip, folder / f"{clip.video_id}.mp4")
        found.append((Source(clip.video_id, path), results_of_clip(clip)))
    return found
