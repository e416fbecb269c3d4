"""The seconds that cited frames stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_v2xum.core.spans import frame_runs, frame_spans, joined, key_frame_of, segments_of, widened
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


def test_the_frame_that_stands_for_a_segment():
    importance = [0.0, 0.1, 0.5, 0.3, 0.5, 0.5]
    assert key_frame_of([1, 2, 3], importance) == 2
    assert key_frame_of([2, 3, 4, 5], importance) == 4  # of equals that nearest the middle
    assert (key_frame_of([7, 8, 9], None), key_frame_of([7], None)) == (8, 7)


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 9)), max_size=6), st.floats(0, 120))
def test_widened_spans_hold_what_they_were_and_last_as_long_as_they_must(starts, least):
    spans = joined((float(start), float(start + length)) for start, length in starts)
    wide = widened(spans, 100.0, least)
    lasts, before = (sum(end - start for start, end in some) for some in (wide, spans))
    assert lasts == pytest.approx(0 if not spans else min(max(before, least), 100.0), abs=0.01)
    assert all(any(first <= start and end <= last for first, last in wide) for start, end in spans)
    assert all(0 <= start < end <= 100 for start, end in wide) and wide == joined(wide)
