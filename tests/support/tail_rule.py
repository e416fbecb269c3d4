"""A second rule of frame sampling, for tests of all that must ask for the rule: the last N frames, one a second."""

from __future__ import annotations

import numpy as np

from llava_v2xum.core.sampling import SAMPLING_RULES


class Tail:
    """Keeps in `asked` the ids of the videos that it was asked about."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    def numbers(self, num_frames, seconds, video_id):
        self.asked.append(video_id)
        return np.arange(len(seconds) - num_frames, len(seconds))

    def indexes_at(self, num_frames, seconds, duration, video_id):
        self.asked.append(video_id)
        return np.clip(np.rint(seconds - duration + num_frames), 0, num_frames - 1).astype(np.int64)

    def seconds_of(self, num_frames, duration, video_id):
        return duration - num_frames + np.arange(num_frames)


def add_tail(monkeypatch) -> Tail:
    """Register the rule under the name "tail" for the length of a test."""
    rule = Tail()
    monkeypatch.setitem(SAMPLING_RULES, "tail", rule)
    return rule
