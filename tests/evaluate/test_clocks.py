"""From N indexes to T samples: the training labels' rule read backwards."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llava_v2xum.core.timeline import Timeline
from llava_v2xum.data.convert.targets import frames_of
from llava_v2xum.evaluate.metrics.clocks import at_samples, own_index, second_times

pytestmark = pytest.mark.pinned


def plain_at_samples(values, times, duration):
    """The rule of the module, one index at a time."""
    count = len(values)
    members = {place: [] for place in range(len(times))}
    for place, time in enumerate(times):
        members[place].append(min(round(time / duration * count), count - 1))
    owned = {index for indexes in members.values() for index in indexes}
    for index in set(range(count)) - owned:
        moment = index / count * duration
        members[min(range(len(times)), key=lambda place: (abs(times[place] - moment), place))].append(index)
    return [max(values[index] for index in members[place]) for place in range(len(times))]


def mask(count, frames):
    selected = np.zeros(count, dtype=bool)
    selected[list(frames)] = True
    return selected


def test_fewer_samples_than_indexes_by_hand():
    # 4 seconds, 10 indexes: the seconds own indexes 0, 2 (2.5 to even), 5, 8 (7.5 to even); times of indexes 0.4 apart
    times = second_times(4, 4.0)
    assert own_index(10, times, 4.0).tolist() == [0, 2, 5, 8]
    # index 1 is at 0.4, 3 at 1.2, 4 at 1.6, 6 at 2.4, 7 at 2.8, 9 at 3.6
    nearest = {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2, 7: 3, 8: 3, 9: 3}
    for index, sample in nearest.items():
        assert np.flatnonzero(at_samples(mask(10, [index]), times, 4.0)).tolist() == [sample]


def test_an_index_between_two_samples_goes_to_the_earlier():
    # 2 seconds, 4 indexes: second 1 owns index 2; index 1 is at 0.5
    assert at_samples(np.array([0.0, 9, 0, 0]), second_times(2, 2.0), 2.0).tolist() == [9, 0]


def test_as_many_samples_as_indexes_is_the_identity():
    values = np.random.default_rng(0).random(100)
    assert (at_samples(values, second_times(100, 100.0), 100.0) == values).all()


def test_more_samples_than_indexes_by_hand():
    # 8 seconds, 4 indexes: second k is at 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5 of them; halves go to the even one
    times = second_times(8, 8.0)
    assert own_index(4, times, 8.0).tolist() == [0, 0, 1, 2, 2, 2, 3, 3]
    assert np.flatnonzero(at_samples(mask(4, [2]), times, 8.0)).tolist() == [3, 4, 5]
    assert at_samples(np.array([0.1, 0.2, 0.3, 0.4]), times, 8.0).tolist() == [0.1, 0.1, 0.2, 0.3, 0.3, 0.3, 0.4, 0.4]


def test_picks_are_timed_by_their_frames():
    # 60 frames, a pick every 15, 4 indexes: a pick each
    assert at_samples(np.array([1, 2, 3, 4]), np.array([0, 15, 30, 45]), 60).tolist() == [1, 2, 3, 4]


def test_second_times_end_at_the_duration():
    assert second_times(4, 2.5).tolist() == [0, 1, 2, 2.5]
    assert own_index(100, second_times(4, 2.5), 2.5).tolist() == [0, 40, 80, 99]


def test_owners_are_the_training_labels():
    rng = np.random.default_rng(1)
    for count in (7, 100):
        timeline = Timeline(count)
        for _ in range(30):
            duration = round(float(rng.uniform(1, 300)), 2)
            times = second_times(math.ceil(duration), duration)
            expected = [timeline.index_at(time, duration) for time in times]
            assert own_index(count, times, duration).tolist() == expected


@given(st.integers(1, 40), st.integers(1, 60), st.floats(0, 0.99), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_it_is_the_plain_rule_and_every_index_counts(count, samples, cut, seed):
    duration = samples - cut
    times = second_times(samples, duration)
    values = np.random.default_rng(seed).permutation(count) / 8.0
    mapped = at_samples(values, times, duration)
    assert mapped.tolist() == plain_at_samples(values.tolist(), times.tolist(), duration)
    for index in range(count):
        if samples <= count or index in own_index(count, times, duration):
            assert at_samples(mask(count, [index]), times, duration).any()


@given(st.integers(1, 30), st.integers(1, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_a_set_and_its_0_1_importance_map_alike(count, samples, seed):
    selected = np.random.default_rng(seed).random(count) < 0.3
    times = second_times(samples, float(samples))
    chosen = at_samples(selected, times, samples)
    assert chosen.dtype == bool
    assert (at_samples(selected.astype(float), times, samples) == chosen).all()


@given(st.integers(1, 100), st.floats(0, 0.99), st.integers(0, 99), st.integers(0, 99))
@example(71, 0.99, 0, 69)  # samples 69 and 70 share index 99
@example(100, 0.75, 98, 98)
@settings(max_examples=80, deadline=None)
def test_samples_to_training_labels_and_back(samples, cut, one, other):
    """A run of T <= N samples is what its labels give back; but the last two may share the last index."""
    duration = samples - cut
    first, last = sorted((one % samples, other % samples))
    times = second_times(samples, duration)
    labels = frames_of([(times[first], times[last])], duration, Timeline(100))
    back = at_samples(mask(100, labels), times, duration)
    shares = samples > 1 and own_index(100, times, duration)[-2] == 99
    assert not shares or times[-1] > duration + 1 - 1.5 * duration / 100 - 1e-9
    if shares and last >= samples - 2:
        first, last = min(first, samples - 2), samples - 1
    assert np.flatnonzero(back).tolist() == list(range(first, last + 1))


def test_the_last_two_samples_share_an_index_near_the_end_alone():
    """N = 100: of all lengths and fractions, none up to 2 / 3 N seconds, and none of whole seconds."""
    shared = [
        (samples, cut)
        for samples in range(2, 101)
        for cut in range(100)
        if own_index(100, second_times(samples, samples - cut / 100), samples - cut / 100)[-2] == 99
    ]
    assert shared and min(shared)[0] > 100 * 2 / 3 and all(cut for _, cut in shared)
    for samples, cut in shared:
        owners = own_index(100, second_times(samples, samples - cut / 100), samples - cut / 100)
        assert len(set(owners.tolist())) == samples - 1


def test_runs_come_back_with_their_neighbours_where_samples_share_an_index():
    labels = frames_of([(50.0, 80.0)], 250.0, Timeline(100))
    back = np.flatnonzero(at_samples(mask(100, labels), second_times(250, 250.0), 250.0))
    assert {*range(50, 81)} <= {*back.tolist()} <= {*range(48, 83)}  # 2.5 samples share an index


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, [0.0], 1.0), "expected frames and a positive duration, got 0"),
        ((5, [0.0], 0.0), "positive duration, got 5 and 0.0"),
        ((5, [0.0], math.nan), "positive duration"),
        ((5, [0.0, 2.0], 1.0), r"times must ascend within 0..1.0 \(the duration\), got 0.0..2.0"),
        ((5, [-1.0, 0.0], 1.0), "times must ascend"),
        ((5, [0.5, 0.2], 1.0), "times must ascend"),
    ],
)
def test_times_that_are_none_are_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        own_index(*arguments)


def test_no_samples():
    assert at_samples(np.arange(5), np.array([]), 3.0).shape == (0,)
