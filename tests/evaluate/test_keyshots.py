"""Keyshot summaries against plain loops written after vsum_tools.py and knapsack.py, and cases worked by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.evaluate.metrics.keyframes import keyshot_f1, keyshot_summary
from llava_v2xum.evaluate.metrics.knapsack import knapsack, segment_means

pytestmark = pytest.mark.pinned


def plain_knapsack(values, weights, capacity):
    """The table over items and capacities, cell by cell; an item is taken where that is strictly better."""
    table = [[0.0] * (capacity + 1) for _ in range(len(values) + 1)]
    taken = [[False] * (capacity + 1) for _ in range(len(values) + 1)]
    for item in range(1, len(values) + 1):
        value, weight = values[item - 1], weights[item - 1]
        for room in range(capacity + 1):
            table[item][room] = table[item - 1][room]
            if weight <= room and value + table[item - 1][room - weight] > table[item - 1][room]:
                table[item][room] = value + table[item - 1][room - weight]
                taken[item][room] = True
    chosen, room = [False] * len(values), capacity
    for item in range(len(values), 0, -1):
        if taken[item][room]:
            chosen[item - 1] = True
            room -= weights[item - 1]
    return chosen


def plain_frame_scores(scores, n_frames, picks):
    """Importance of every frame: a score holds from its pick up to the next."""
    frames = np.zeros(n_frames)
    edges = list(picks) + ([] if picks[-1] == n_frames else [n_frames])
    for number in range(len(edges) - 1):
        frames[edges[number] : edges[number + 1]] = scores[number]
    return frames


def plain_summary(scores, change_points, n_frames, lengths, picks, fraction=0.15):
    """The keyshot summary, segment by segment."""
    frames = plain_frame_scores(scores, n_frames, picks)
    values = [frames[start : end + 1].mean() for start, end in change_points]
    chosen = plain_knapsack(values, list(lengths), math.floor(n_frames * fraction))
    return np.concatenate([np.full(length, taken) for length, taken in zip(lengths, chosen)])


def plain_keyshot_f1(summary, users, how):
    """F1 with each user, with the published 1e-8, summary cut or padded to the users' length."""
    summary = np.concatenate([summary, np.zeros(max(users.shape[1] - len(summary), 0))])[: users.shape[1]]
    found = []
    for user in users:
        shared = (summary * user).sum()
        precision, recall = shared / (summary.sum() + 1e-8), shared / (user.sum() + 1e-8)
        found.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return np.mean(found) if how == "avg" else np.max(found)


def draw_video(rng, frames=None, step=None):
    """Scores at every `step`th frame, change points that fill the video, their lengths."""
    frames = frames or int(rng.integers(30, 200))
    picks = np.arange(0, frames, step or int(rng.integers(2, 9)))
    inner = np.sort(rng.choice(np.arange(1, frames), size=int(rng.integers(0, 12)), replace=False))
    starts = np.concatenate([[0], inner])
    ends = np.concatenate([inner, [frames]]) - 1
    return rng.random(len(picks)), np.stack([starts, ends], axis=1), frames, ends - starts + 1, picks


def test_a_summary_by_hand():
    # 20 frames, a pick every 5; the middle segment has frame 4 at 0.2, five frames at 0.9 and four at 0.4: 0.63
    points, lengths = [[0, 3], [4, 13], [14, 19]], [4, 10, 6]
    scores, picks = [0.2, 0.9, 0.4, 0.1], [0, 5, 10, 15]
    means = segment_means(np.array([scores]), np.array(points), 20, np.array(picks))
    np.testing.assert_allclose(means, [[0.2, 0.63, (0.4 + 5 * 0.1) / 6]])
    # room for floor(0.5 * 20) = 10 frames: the middle one fills it; the others together have 0.35
    assert np.flatnonzero(keyshot_summary(scores, points, 20, lengths, picks, 0.5)).tolist() == [*range(4, 14)]
    # room for 9: the middle one does not fit, and of the others not both
    assert np.flatnonzero(keyshot_summary(scores, points, 20, lengths, picks, 0.45)).tolist() == [0, 1, 2, 3]


def test_value_is_the_mean_and_not_times_the_length():
    """Two short segments of 0.5 beat one long one of 0.9 that fills the same room."""
    points, lengths = [[0, 1], [2, 5], [6, 7]], [2, 4, 2]
    summary = keyshot_summary([0.5, 0.9, 0.9, 0.5], points, 8, lengths, [0, 2, 4, 6], 0.5)
    assert np.flatnonzero(summary).tolist() == [0, 1, 6, 7]


def test_knapsack_is_the_best_of_all_subsets_and_breaks_ties_like_the_plain_table():
    rng = np.random.default_rng(0)
    for _ in range(60):
        items, capacity = int(rng.integers(1, 9)), int(rng.integers(0, 25))
        values = rng.integers(0, 4, (3, items)) / 4  # quarters: many exact ties
        weights = rng.integers(0, 10, items)
        chosen = knapsack(values, weights, capacity)
        for row, taken in zip(values, chosen):
            subsets = [np.array(one) for one in itertools.product([0, 1], repeat=items)]
            best = max(row @ one for one in subsets if weights @ one <= capacity)
            assert row @ taken == best and weights @ taken <= capacity
            assert taken.tolist() == plain_knapsack(row.tolist(), weights.tolist(), capacity)


def test_of_equal_choices_the_later_item_stays_out():
    assert knapsack(np.array([[1.0, 1.0, 1.0]]), np.array([2, 2, 2]), 4).tolist() == [[True, True, False]]


def test_items_worth_nothing_are_left():
    assert not knapsack(np.array([[0.0, -1.0]]), np.array([1, 1]), 5).any()


def test_summary_is_the_plain_loops():
    rng = np.random.default_rng(1)
    for _ in range(60):
        video = draw_video(rng)
        fraction = float(rng.choice([0.15, 0.4]))
        np.testing.assert_array_equal(keyshot_summary(*video, fraction), plain_summary(*video, fraction))


def test_rows_of_scores_are_summed_up_like_each_alone():
    rng = np.random.default_rng(2)
    scores, *rest = draw_video(rng, frames=150, step=5)
    rows = rng.random((2, 3, len(scores)))
    together = keyshot_summary(rows, *rest)
    assert together.shape == (2, 3, 150)
    for place in np.ndindex(2, 3):
        np.testing.assert_array_equal(together[place], keyshot_summary(rows[place], *rest))


def test_picks_that_end_on_the_frame_count_or_begin_late():
    points, lengths = [[0, 4], [5, 9]], [5, 5]
    for picks in ([0, 5, 10], [2, 6, 8]):
        video = ([0.3, 0.6, 0.9], points, 10, lengths, picks, 0.5)
        np.testing.assert_array_equal(keyshot_summary(*video), plain_summary(*video))
    assert segment_means(np.array([[0.3, 0.6, 0.9]]), np.array(points), 10, np.array([2, 6, 8]))[0, 0] == pytest.approx(
        0.3 * 3 / 5
    )


def test_summary_has_the_videos_length_whatever_the_segments_have():
    points = [[0, 4], [5, 9]]
    longer = keyshot_summary([0.1, 0.9], points, 10, [5, 8], [0, 5], 0.8)  # 13 frames by their lengths
    assert longer.tolist() == [False] * 5 + [True] * 5
    shorter = keyshot_summary([0.1, 0.9], points, 10, [5, 2], [0, 5], 0.2)
    assert shorter.tolist() == [False] * 5 + [True] * 2 + [False] * 3
    behind = keyshot_summary([0.1, 0.9], [[0, 4], [5, 12]], 10, [5, 5], [0, 5], 0.5)  # the last segment ends too late
    assert behind.tolist() == [False] * 5 + [True] * 5


def test_empty_summaries():
    points, lengths, picks = [[0, 4], [5, 9]], [5, 5], [0, 5]
    assert not keyshot_summary([0.0, 0.0], points, 10, lengths, picks, 0.5).any()  # nothing is worth its room
    assert not keyshot_summary([0.5, 0.9], points, 10, lengths, picks).any()  # no segment fits in floor(1.5) frames
    assert not keyshot_summary([0.5, 0.9], points, 6, [3, 3], picks).any()  # floor(0.9) frames of room


def test_constant_importance_takes_segments_from_the_front():
    points, lengths = [[0, 4], [5, 9], [10, 14], [15, 19]], [5] * 4
    summary = keyshot_summary([0.5] * 4, points, 20, lengths, [0, 5, 10, 15], 0.5)
    assert np.flatnonzero(summary).tolist() == list(range(10))


@given(st.lists(st.integers(0, 8), min_size=8, max_size=8))
@settings(max_examples=30, deadline=None)
def test_scaling_importance_chooses_the_same_segments(scores):
    points = np.array([[0, 4], [5, 14], [15, 17], [18, 31]])
    rest = (points, 32, points[:, 1] - points[:, 0] + 1, np.arange(0, 32, 4), 0.5)
    np.testing.assert_array_equal(
        keyshot_summary(np.array(scores) * 4.0, *rest), keyshot_summary(np.array(scores), *rest)
    )


def test_keyshot_f1_by_hand():
    summary = np.array([1, 1, 0, 0], dtype=bool)
    users = np.array([[1, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]], dtype=bool)
    assert keyshot_f1(summary, users) == pytest.approx((2 / 3 + 0 + 2 * 2 / 6) / 3)
    assert keyshot_f1(summary, users, "max") == pytest.approx(2 / 3)


@pytest.mark.parametrize("how", ["avg", "max"])
def test_keyshot_f1_is_the_plain_one_to_1e_7(how):
    rng = np.random.default_rng(3)
    for length in (3, 40, 41, 60):  # cut, as it is, padded
        summary, users = rng.random(length) < 0.2, rng.random((5, 41)) < 0.2
        users[0] = False
        assert keyshot_f1(summary, users, how) == pytest.approx(plain_keyshot_f1(summary, users, how), abs=1e-7)


def test_keyshot_f1_of_empty_and_full_sets():
    users = np.ones((2, 4), dtype=bool)
    assert keyshot_f1(np.zeros(4, dtype=bool), users) == 0
    assert keyshot_f1(np.zeros(4, dtype=bool), ~users) == 0
    assert keyshot_f1(np.ones(4, dtype=bool), users) == 1
    assert keyshot_f1(np.ones(9, dtype=bool), users) == 1  # cut


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [0.1, np.nan]}, "must not hold NaN"),
        ({"scores": [0.1, 0.2, 0.3]}, "one pick a score"),
        ({"picks": [5, 0]}, "picks must ascend from 0 to at most 10"),
        ({"picks": [0, 11]}, "picks must ascend from 0 to at most 10"),
        ({"change_points": [0, 9]}, "change_points must be"),
        ({"change_points": [[0, 4], [5, 4]]}, r"segment 1, \[5, 4\], holds no frame of 10"),
        ({"change_points": [[0, 9], [10, 12]]}, r"segment 1, \[10, 12\], holds no frame of 10"),
        ({"n_frame_per_segment": [5, 4, 1]}, "expected 2 weights"),
        ({"n_frame_per_segment": [5, -5]}, "none negative"),
    ],
)
def test_what_makes_no_summary_is_told(change, message):
    video = {
        "scores": [0.1, 0.9],
        "change_points": [[0, 4], [5, 9]],
        "n_frames": 10,
        "n_frame_per_segment": [5, 5],
        "picks": [0, 5],
    }
    with pytest.raises(ValueError, match=message):
        keyshot_summary(**{**video, **change})


def test_what_has_no_keyshot_f1_is_told():
    with pytest.raises(ValueError, match="avg or max, got 'mean'"):
        keyshot_f1([1, 0], [[1, 0]], "mean")
    with pytest.raises(ValueError, match="at least 1 annotators"):
        keyshot_f1([1, 0], np.zeros((0, 2)))
    with pytest.raises(ValueError, match="user_summary must hold 0 and 1"):
        keyshot_f1([1, 0], [[0.5, 0]])
