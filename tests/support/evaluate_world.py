"""The rendered world's annotations and predictions as files, without its videos, for tests of the commands."""

import json

import numpy as np

from llava_v2xum.core.timeline import Timeline
from llava_v2xum.evaluate.__main__ import main
from llava_v2xum.shapes import make_clip, truth_frames, videoxum_record

CLIPS = 12


def prediction_of(clip, shift=0):
    """What a perfect system answers; shifted, what a worse one does."""
    frames = [[min(i + shift, 99) for i in truth_frames(clip, event, Timeline())] for event in clip.events]
    importance = np.zeros(100)
    importance[sorted({i for some in frames for i in some})] = 1
    return {
        "video_id": clip.video_id,
        "num_frames": 100,
        "frames": sorted({i for some in frames for i in some}),
        "importance": importance.tolist(),
        "sentences": [{"text": event.sentence, "frames": some} for event, some in zip(clip.events, frames)],
        "text": " ".join(event.sentence for event in clip.events),
    }


def make_world(folder):
    """Write videoxum.json, a perfect system's good.jsonl, a worse late.jsonl, and some.jsonl, which has nine videos."""
    clips = [make_clip(5, index) for index in range(CLIPS)]
    (folder / "videoxum.json").write_text(json.dumps([videoxum_record(clip) for clip in clips]))
    for name, shift in {"good": 0, "late": 12}.items():
        lines = [json.dumps(prediction_of(clip, shift)) + "\n" for clip in clips]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    (folder / "some.jsonl").write_text("".join(json.dumps(prediction_of(clip)) + "\n" for clip in clips[:9]))
    return folder


def run(*arguments):
    return main([str(argument) for argument in arguments])
