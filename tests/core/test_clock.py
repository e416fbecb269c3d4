"""Seconds <-> indexes: the released rule at an even rate, the frames' own seconds where it varies."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llava_v2xum.core.clock import Clock, Clocks, FrameTimes, lengths_differ
from llava_v2xum.core.sampling import FrameSampling
from llava_v2xum.core.timeline import Timeline
from tests.support.tail_rule import add_tail

pytestmark = pytest.mark.pinned

# 20 frames a second apart, then 100 at 25 a second: 24 seconds of 120 frames
VARYING = np.concatenate([np.arange(20.0), 20 + np.arange(100) / 25])


def times_of(seconds, duration, sampling=FrameSampling()):  # noqa: B008 (frozen)
    return FrameTimes(tuple(np.asarray(seconds)[sampling.sample(len(seconds))].tolist()), duration)


@given(
    total=st.integers(2, 4000),
    fps=st.sampled_from([1, 5, 10, 12.5, 15, 24000 / 1001, 25, 30000 / 1001, 30, 50, 60]),
    num_frames=st.sampled_from([2, 8, 25, 100]),
    is_rounded=st.booleans(),
    second=st.floats(-0.99, 0.99),
)
@example(total=101, fps=60, num_frames=100, is_rounded=True, second=0)
@example(total=99, fps=60, num_frames=100, is_rounded=True, second=0)
@settings(max_examples=400, deadline=None)
def test_an_even_rate_has_the_released_rule_to_the_bit(total, fps, num_frames, is_rounded, second):
    """Also where stamps are milliseconds (Matroska), and an annotation's duration is a second off."""
    sampling, seconds = FrameSampling(num_frames), np.arange(total) / fps
    times = times_of(np.round(seconds, 3) if is_rounded else seconds, total / fps, sampling)
    duration = max(total / fps + second, 0.5)
    moments = np.linspace(0, duration, 50)
    clock = Clock.of(sampling, duration, times)
    assert (clock.indexes_at(moments) == Clock(sampling, duration).indexes_at(moments)).all()
    assert (clock.moments() == sampling.seconds_of(duration)).all()


def test_at_a_varying_rate_a_moment_has_the_frame_that_is_shown():
    times = times_of(VARYING, 24.0)
    clock = Clock.of(Timeline(), 24.0, times)
    for second in range(24):
        shown = times.seconds[clock.indexes_at(np.array([float(second)]))[0]]
        assert shown == max(one for one in times.seconds if one <= second)
    assert times.seconds[clock.indexes_at(np.array([10.0]))[0]] == 10.0
    assert times.seconds[Clock.of(Timeline(), 24.0, times, "released").indexes_at(np.array([10.0]))[0]] > 20
    assert clock.moments().tolist() == list(times.seconds)


def test_a_pause_belongs_to_the_frame_before_it():
    """Rounding would give its second half to the frame that nobody has seen yet; a stamp's rounding does no harm."""
    times = FrameTimes((0.0, 1.0, 2.0, 60.0, 61.0, 62.0), 63.0)
    clock = Clock.of(FrameSampling(6), 63.0, times)
    assert clock.indexes_at(np.array([0.4, 2.0, 50.0, 59.9999, 60.0, 62.0, 63.0])).tolist() == [0, 2, 2, 3, 3, 5, 5]


def test_of_indexes_that_repeat_a_frame_the_first_is_meant():
    clock = Clock.of(FrameSampling(6), 20.0, FrameTimes((0.0, 0.0, 1.0, 1.0, 19.0, 19.0), 20.0))
    assert clock.indexes_at(np.array([0.0, 1.0, 14.0, 20.0])).tolist() == [0, 2, 2, 4]


def test_a_file_of_another_length_goes_by_its_seconds():
    """An even rate, but the last fifth is not there: second 10 of 30 is index 33 of N, and frame 41 of the file."""
    times = times_of(np.arange(600) / 25, 24.0)
    assert lengths_differ(30.0, 24.0, 100) and not lengths_differ(30.0, 29.1, 100) and lengths_differ(30.0, 28.9, 100)
    assert not lengths_differ(600.0, 590.0, 100)  # less than two indexes
    clock = Clock.of(Timeline(), 30.0, times)
    assert abs(times.seconds[clock.indexes_at(np.array([10.0]))[0]] - 10) <= 0.13


def test_another_rule_is_asked_for_its_own_distances(monkeypatch):
    rule = add_tail(monkeypatch)
    sampling = FrameSampling(6, rule="tail")
    even = FrameTimes(tuple(float(second) for second in range(24, 30)), 30.0)
    assert Clock.of(sampling, 30.0, even, video_id="v").times is None and "v" in rule.asked
    uneven = FrameTimes((3.0, 25.0, 26.0, 27.0, 28.0, 29.0), 30.0)
    assert Clock.of(sampling, 30.0, uneven, video_id="v").indexes_at(np.array([22.0])).tolist() == [0]


@pytest.mark.parametrize(
    ("seconds", "duration", "told"),
    [
        ((), 3.0, r"frame_seconds must ascend from 0 or later, got \[\]"),
        ((-1.0, 0.0), 3.0, "frame_seconds must ascend from 0 or later"),
        ((1.0, 0.0), 3.0, r"frame_seconds must ascend from 0 or later, got \[1.0, 0.0\]"),
        ((0.0, float("nan")), 3.0, "frame_seconds must hold finite numbers alone, got nan"),
        ((0.0, 1.0), 0, "duration_seconds must be a positive number, got 0"),
    ],
)
def test_what_are_no_times_is_refused(seconds, duration, told):
    with pytest.raises(ValueError, match=told):
        FrameTimes(seconds, duration)


def test_clocks_of_many_videos_tell_what_must_be_said():
    known = {"even": times_of(np.arange(600) / 25, 24.0), "varying": times_of(VARYING, 24.0)}
    clocks, timeline = Clocks("frames", known.get), Timeline()
    with pytest.raises(ValueError, match=r"second must lie in 0..24.0 \(the duration\), got 25"):
        clocks.index_at(timeline, 25, 24.0, "even")
    with pytest.raises(ValueError, match="duration_seconds must be positive, got 0"):
        clocks.index_at(timeline, 0, 0, "even")
    assert clocks.anew().notes() == []
    by_rule = timeline.index_at(10, 24.0)
    assert clocks.index_at(timeline, 10, 24.0, "even") == clocks.index_at(timeline, 10, 24.0, "old") == by_rule
    assert clocks.notes() == [
        "of 1 of 2 videos only the mean frame rate is known: second t is index round(t / duration * N), which is wrong "
        "where the rate varies; python -m llava_v2xum.features keeps the seconds of the frames"
    ]
    assert known["varying"].seconds[clocks.index_at(timeline, 10, 24.0, "varying")] == 10.0
    clocks.index_at(timeline, 10, 48.0, "even")
    assert clocks.notes()[1:] == [
        "2 videos ('even', 'varying') with frames at a varying rate, or of another length than annotated: the indexes "
        "go by the seconds of the frames",
        "1 video ('even') of a much other length than annotated, most of all 'even' (24.0 s, annotated 48.0 s): "
        "perhaps other files, or cut ones",
    ]
    assert list(clocks.counts().values()) == [3, 2, 1, 1]
    released = Clocks("released", known.get)
    assert [released.index_at(timeline, 10, 24.0, one) for one in ("varying", "old")] == [by_rule] * 2
    assert released.notes() == []
    with pytest.raises(ValueError, match="clock must be one of frames, released, got 'prompts'"):
        Clocks("prompts")
    with pytest.raises(ValueError, match="expected the seconds of 10 frames, got 100"):
        clocks.index_at(Timeline(10), 10, 24.0, "even")
