"""KTS against every segmentation there is, and on planted segments."""

import itertools
import math
import sys

import numpy as np
import pytest

from llava_v2xum.core.extras import MissingExtra
from llava_v2xum.evaluate.metrics.segments import change_points_at, kts, kts_penalty

needs_ruptures = pytest.mark.usefixtures("ruptures")
pytestmark = pytest.mark.pinned


@pytest.fixture
def ruptures():
    return pytest.importorskip("ruptures")


def objective(features, changes, penalty):
    """KTS's cost by its definition: squared distances to the segments' means, a sample, and the penalty."""
    edges = [0, *changes, len(features)]
    scatter = sum(((part - part.mean(axis=0)) ** 2).sum() for part in np.split(features, edges[1:-1]))
    count, samples = len(changes), len(features)
    price = penalty * count / (2 * samples) * (math.log(samples / count) + 1) if count else 0
    return scatter / samples + price


def planted(rng, lengths, noise=0.02, width=6):
    """Unit vectors that change with each segment, and where they do."""
    centres = np.eye(width)[np.arange(len(lengths)) % width]
    features = np.repeat(centres, lengths, axis=0) + noise * rng.normal(size=(sum(lengths), width))
    return features, np.cumsum(lengths)[:-1].tolist()


def test_penalty_by_hand():
    assert kts_penalty(0, 50) == 0
    assert kts_penalty(2, 50, penalty=3) == pytest.approx(3 * 2 / 100 * (math.log(25) + 1))


@needs_ruptures
def test_it_is_the_best_of_all_segmentations():
    rng = np.random.default_rng(0)
    for penalty in (0.3, 1.0, 3.0):
        for _ in range(6):
            features = rng.normal(size=(9, 2)) + 5  # far from the origin: the mean must not matter
            every = [c for count in range(9) for c in itertools.combinations(range(1, 9), count)]
            best = min(objective(features, list(c), penalty) for c in every)
            assert objective(features, kts(features, penalty), penalty) == pytest.approx(best)
            at_most_two = min(objective(features, list(c), penalty) for c in every if len(c) <= 2)
            found = kts(features, penalty, max_changes=2)
            assert len(found) <= 2 and objective(features, found, penalty) == pytest.approx(at_most_two)


@needs_ruptures
def test_planted_segments_are_found():
    rng = np.random.default_rng(1)
    for lengths in ([12, 30, 8, 25], [40, 41], [10] * 6):
        features, changes = planted(rng, lengths)
        assert kts(features) == changes


@needs_ruptures
def test_one_segment_where_nothing_changes():
    assert kts(np.full((20, 3), 0.7)) == []
    assert kts(np.ones((1, 3))) == []
    assert kts(np.random.default_rng(0).normal(size=(20, 3)), max_changes=0) == []
    assert kts(np.random.default_rng(0).normal(size=(20, 3)) * 0.1) == []  # noise below the penalty


@needs_ruptures
def test_without_a_penalty_every_sample_is_a_segment():
    assert kts(np.array([[0.0], [1], [3], [7]]), penalty=0) == [1, 2, 3]


@needs_ruptures
def test_change_points_cover_the_video():
    features, changes = planted(np.random.default_rng(2), [10, 15, 5])
    picks = np.arange(3, 30 * 15, 15)  # the first pick is frame 3
    points = change_points_at(features, picks, 452)
    assert points.tolist() == [[0, 152], [153, 377], [378, 451]]
    assert [picks[change] for change in changes] == [153, 378]


@needs_ruptures
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kts(np.zeros(4)), r"must be \[T, C\]"),
        (lambda: kts(np.zeros((0, 4))), r"not empty, got an array of shape \(0, 4\)"),
        (lambda: kts(np.array([[1.0], [np.nan]])), "NaN or infinity in 1 places"),
        (lambda: kts(np.zeros((2, 2)), penalty=-1), "must not be negative, got -1"),
        (lambda: change_points_at(np.zeros((2, 2)), [0], 5), "one pick a sample"),
        (lambda: change_points_at(np.zeros((2, 2)), [0, 5], 5), "ascend in 0..4"),
        (lambda: change_points_at(np.zeros((2, 2)), [3, 3], 5), "ascend in 0..4"),
    ],
)
def test_what_has_no_segments_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_ruptures_the_pip_command_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ruptures", None)
    with pytest.raises(MissingExtra, match=r'pip install "llava_v2xum\[metrics\]"'):
        kts(np.random.default_rng(0).normal(size=(5, 2)))
