"""The seconds that cited frames stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_v2xum.core.spans import frame_runs, frame_spans, joined, segments_of
from llava_v2xum.core.summary import Sentence

pytestmark = pytest.mark.pinned


def test_a_frame_stands_for_the_seconds_until_the_next():
    assert frame_spans([0.0, 1.0, 3.0, 4.0], 5.0) == [(0.0, 1.0), (1.0, 3.0), (3.0, 4.0), (4.0, 5.0)]
    last = (0.5, 0.5 + 0.5 / 3)
    assert frame_spans([0.0, 0.0, 0.5, 0.5], 1.0) == [(0.0, 0.5), (0.0, 0.5), last, last]


def test_each_run_of_a_sentence_is_a_segment():
    sentences = [Sentence("", (3, 0, 1)), Sentence("A man sits."), Sentence("He runs.", (2,))]
    assert segments_of(sentences, [0.0, 1.0, 3.0, 4.0], 5.0) == [
        {"start_seconds": 0.0, "end_seconds": 3.0, "frames": [0, 1], "sentence": 0},
        {"start_seconds": 4.0, "end_seconds": 5.0, "frames": [3], "sentence": 0},
        {"start_seconds": 3.0, "end_seconds": 4.0, "frames": [2], "sentence": 2},
    ]


@given(st.lists(st.integers(0, 30), min_size=2, max_size=12), st.sets(st.integers(0, 11)))
def test_segments_hold_the_seconds_of_their_frames_and_no_other_frames(steps, cited):
    seconds = np.cumsum(steps).astype(float).tolist()
    cited = {frame for frame in cited if frame < len(steps)}
    duration = seconds[-1] + 1
    spans = frame_spans(seconds, duration)
    segments = segments_of([Sentence("A.", tuple(cited))], seconds, duration)
    assert [frame for segment in segments for frame in segment["frames"]] == sorted(cited)
    shown = joined((segment["start_seconds"], segment["end_seconds"]) for segment in segments)
    assert shown == joined(spans[frame] for frame in cited)
    held = {n for n, second in enumerate(seconds) if any(start <= second < end for start, end in shown)}
    assert held == {n for n, second in enumerate(seconds) if second in {seconds[frame] for frame in cited}}


def test_runs_and_joined_spans():
    assert frame_runs((40, 12, 13, 12)) == [[12, 13], [40]]
    assert joined([(3.0, 4.0), (0.0, 1.0), (1.0, 2.0), (3.5, 3.6)]) == [(0.0, 2.0), (3.0, 4.0)]
