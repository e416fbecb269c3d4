"""The record of a video's summary says which rule its frames were chosen by, where scores would take it for another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tail_rule import add_tail

from llava_v2xum.core.timeline import Timeline
from llava_v2xum.evaluate.formats.predictions import Prediction
from llava_v2xum.infer.engine.answers import Answer
from llava_v2xum.infer.video_summary import VideoSummary
from llava_v2xum.media.video import Video

pytestmark = pytest.mark.pinned


def test_a_record_of_another_rule_is_refused_by_scores(monkeypatch):
    add_tail(monkeypatch)
    seconds = np.arange(10.0)
    video = Video(Path("v.mp4"), np.empty((0, 4, 4, 3), np.uint8), np.arange(10), seconds, 10.0, 1.0, 10)
    answer = Answer("A man runs [01, 02].", (1, 2), None, True)
    record = VideoSummary.of(video, "both", answer, Timeline(10), "m").record
    assert "frame_sampling" not in record and Prediction.from_record(record).frames == (1, 2)
    record = VideoSummary.of(video, "both", answer, Timeline(10, rule="tail"), "m").record
    assert record["frame_sampling"] == "tail"
    with pytest.raises(ValueError, match="frame_sampling"):
        Prediction.from_record(record)
