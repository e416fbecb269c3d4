"""Results of the stages as the tests of what is written take them: made by hand from what is true of shapes clips."""

from __future__ import annotations

import dataclasses
import hashlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from llava_v2xum.curate.store.stage import Source
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


def short_clip(index: int, seconds: float = 6.0):
    """A clip of the shapes world, cut to a few seconds, its events spread over them."""
    clip = make_clip(31, index)
    total = round(seconds * clip.fps)
    part = total / clip.total_frames
    events = tuple(
        dataclasses.replace(event, start_frame=int(event.start_frame * part), end_frame=int(event.end_frame * part) + 1)
        for event in clip.events
    )
    return dataclasses.replace(clip, total_frames=total, events=events)


def write_frames(path: Path, frames: list[np.ndarray], fps: int = 10, **options: str) -> Path:
    """Frames uint8 [H, W, 3] as a file, MPEG-4 in an avi, else H.264."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("mpeg4" if path.suffix == ".avi" else "libx264", rate=fps, options=options)
        stream.height, stream.width = (side // 2 * 2 for side in frames[0].shape[:2])
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = picture.reformat(stream.width, stream.height, "yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def encoded_again(source: Path, path: Path, scale: float = 1, fps: int | None = None, **options: str) -> Path:
    """Encode a file again."""
    with av.open(str(source)) as container:
        rate = float(container.streams.video[0].average_rate)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    fps = fps or round(rate)
    kept = [frames[min(int(number * rate / fps), len(frames) - 1)] for number in range(int(len(frames) / rate * fps))]
    size = [int(side * scale) // 2 * 2 for side in frames[0].shape[1::-1]]
    shrunk = [av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(*size).to_ndarray() for frame in kept]
    return write_frames(path, shrunk, fps, **options)
