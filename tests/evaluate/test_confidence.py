"""Intervals cover what they promise, and the paired test is the exact test where that can be counted out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.evaluate.metrics import confidence
from llava_v2xum.evaluate.metrics.confidence import bootstrap_counts, holm, interval, paired
from llava_v2xum.evaluate.metrics.measures import Measure

pytestmark = pytest.mark.pinned
RANDOM = np.random.default_rng(7)


def mean_measure(values, name: str = "f1") -> Measure:
    return Measure(name, np.asarray(values, dtype=float))


def ratio_measure(rows: np.ndarray, name: str = "bleu_1") -> Measure:
    """A figure that is no mean over videos: hits of all videos by words of all videos."""
    rows = np.asarray(rows, dtype=float)
    return Measure(name, rows[:, 0] / rows[:, 1], rows, lambda sums: sums[:, 0] / sums[:, 1])


def test_every_resample_draws_as_many_videos_as_there_are():
    counts = bootstrap_counts(7, resamples=50, seed=3)
    assert counts.shape == (50, 7)
    assert np.all(counts.sum(axis=1) == 7) and np.all(counts >= 0) and np.all(counts == counts.round())
    assert len(np.unique(counts, axis=0)) > 40
    np.testing.assert_array_equal(counts, bootstrap_counts(7, resamples=50, seed=3))
    assert not np.array_equal(counts, bootstrap_counts(7, resamples=50, seed=4))


def test_each_video_is_drawn_equally_often():
    counts = bootstrap_counts(4, resamples=4000)
    np.testing.assert_allclose(counts.mean(axis=0), 1.0, atol=0.06)
    np.testing.assert_allclose(counts.var(axis=0), 0.75, atol=0.06)  # binomial: V draws, each 1 / V


def test_counts_of_no_videos_and_of_no_resamples():
    assert bootstrap_counts(0, resamples=5).shape == (5, 0)
    assert bootstrap_counts(5, resamples=0).shape == (0, 5)
    with pytest.raises(ValueError, match="-1 videos"):
        bootstrap_counts(-1)


def test_an_interval_worked_by_hand():
    """Three weightings of two videos give the figures 0, 0.5 and 1; their quartiles lie half-way."""
    counts = np.array([[2, 0], [1, 1], [0, 2]])
    assert interval(mean_measure([0.0, 1.0]), counts, level=0.5) == (0.25, 0.75)


def test_the_interval_is_that_of_the_resampled_values():
    values, counts = RANDOM.random(9), bootstrap_counts(9, resamples=200, seed=1)
    figures = [np.repeat(values, row.astype(int)).mean() for row in counts]
    np.testing.assert_allclose(interval(mean_measure(values), counts), np.quantile(figures, [0.025, 0.975]))


def test_the_interval_of_summed_statistics_resamples_the_sums():
    rows = np.stack([RANDOM.integers(0, 9, 8), RANDOM.integers(9, 30, 8)], axis=1)
    counts = bootstrap_counts(8, resamples=200, seed=2)
    figures = []
    for row in counts.astype(int):
        drawn = np.repeat(rows, row, axis=0)
        figures.append(drawn[:, 0].sum() / drawn[:, 1].sum())
    np.testing.assert_allclose(interval(ratio_measure(rows), counts), np.quantile(figures, [0.025, 0.975]))


def test_videos_without_a_value_and_resamples_of_none_but_them_are_left_out():
    counts = np.array([[2, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 2]])
    low, high = interval(mean_measure([math.nan, 0.2, 0.6]), counts, level=0.5)
    assert (low, high) == pytest.approx(tuple(np.quantile([0.4, 0.2, 0.6], [0.25, 0.75])))


@pytest.mark.parametrize("values", [[], [0.4], [0.4, math.nan], [math.nan, math.nan]])
def test_fewer_than_two_values_give_no_interval(values):
    assert np.isnan(interval(mean_measure(values), bootstrap_counts(len(values), resamples=20))).all()


def test_constant_values_give_an_interval_of_no_width():
    assert interval(mean_measure([0.25] * 6), bootstrap_counts(6)) == (0.25, 0.25)


def test_blocks_change_nothing(monkeypatch):
    values, counts = mean_measure(RANDOM.random(20)), bootstrap_counts(20, resamples=100)
    other = mean_measure(RANDOM.random(20))
    whole, test = interval(values, counts), paired(values, other, permutations=300)
    monkeypatch.setattr(confidence, "BLOCK_CELLS", 70)
    assert interval(values, counts) == pytest.approx(whole, abs=1e-12)
    blocked = paired(values, other, permutations=300)
    assert (blocked.low, blocked.high, blocked.p) == pytest.approx((test.low, test.high, test.p), abs=1e-12)


def test_wrong_counts_and_levels_are_refused():
    with pytest.raises(ValueError, match="f1: expected counts of 3 videos"):
        interval(mean_measure([1, 2, 3]), bootstrap_counts(4))
    with pytest.raises(ValueError, match="level"):
        interval(mean_measure([1, 2, 3]), bootstrap_counts(3), level=95)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """200 samples of 40 videos whose true mean is known: a 90 % interval must hold it in most."""
    draw, hits = np.random.default_rng(0), 0
    counts = bootstrap_counts(40, resamples=300, seed=5)
    for _ in range(200):
        low, high = interval(mean_measure(draw.beta(2, 5, size=40)), counts, level=0.90)
        hits += low <= 2 / 7 <= high
    assert 0.82 <= hits / 200 <= 0.96


def exact_p(a: np.ndarray, b: np.ndarray, figure) -> float:
    """The share of all 2^V ways to swap the two systems whose difference is at least the observed one."""
    observed, extreme = abs(figure(a) - figure(b)), 0
    for signs in itertools.product([False, True], repeat=len(a)):
        swap = np.array(signs).reshape(-1, *[1] * (a.ndim - 1))
        one, other = np.where(swap, b, a), np.where(swap, a, b)
        extreme += abs(figure(one) - figure(other)) >= observed - 1e-12
    return extreme / 2 ** len(a)


@pytest.mark.parametrize("shift", [0.0, 0.15, 0.4])
def test_p_of_a_mean_is_that_of_all_sign_flips(shift):
    draw = np.random.default_rng(11)
    a, b = draw.random(8) + shift, draw.random(8)
    result = paired(mean_measure(a), mean_measure(b), permutations=20_000, seed=1)
    assert result.difference == pytest.approx(a.mean() - b.mean())
    assert result.p == pytest.approx(exact_p(a, b, np.mean), abs=0.012)


def test_p_of_summed_statistics_is_that_of_all_swaps():
    draw = np.random.default_rng(4)
    a = np.stack([draw.integers(3, 9, 8), draw.integers(10, 20, 8)], axis=1).astype(float)
    b = np.stack([draw.integers(1, 8, 8), draw.integers(10, 20, 8)], axis=1).astype(float)

    def figure(rows: np.ndarray) -> float:
        return rows[:, 0].sum() / rows[:, 1].sum()

    result = paired(ratio_measure(a), ratio_measure(b), permutations=20_000)
    assert (result.a, result.b) == pytest.approx((figure(a), figure(b)))
    assert result.p == pytest.approx(exact_p(a, b, figure), abs=0.012)


def test_the_figures_compared_are_the_measures_own():
    """Also where a video has counts but no value of its own."""
    rows = np.stack([RANDOM.integers(0, 9, 6), RANDOM.integers(9, 30, 6)], axis=1).astype(float)
    values = np.array([math.nan, 0.1, 0.2, 0.3, 0.4, math.nan])
    one, other = (Measure("bleu_1", values, part, lambda sums: sums[:, 0] / sums[:, 1]) for part in (rows, rows + 1))
    result = paired(one, other, permutations=20)
    assert (result.a, result.b) == pytest.approx((one.value, other.value)) and result.videos == 4


def test_a_figure_of_another_program_is_asked_for_once():
    calls = []

    def combine(sums: np.ndarray) -> np.ndarray:
        calls.append(len(sums))
        return sums[:, 0]

    one, other = (Measure("meteor", np.zeros(5), RANDOM.random((5, 2)), combine) for _ in range(2))
    paired(one, other, resamples=10, permutations=30)
    assert calls == [2 + 2 * 30 + 2 * 10]


def test_the_interval_of_a_difference_resamples_both_together():
    """Systems that differ by the same amount on every video: each resample has that difference."""
    values = RANDOM.random(12)
    result = paired(mean_measure(values + 0.1), mean_measure(values))
    assert (result.low, result.high) == pytest.approx((0.1, 0.1))
    assert result.p == pytest.approx(2 / 2**12, abs=0.002)


def test_a_system_against_itself():
    values = RANDOM.random(10)
    result = paired(mean_measure(values), mean_measure(values))
    assert (result.difference, result.low, result.high, result.p) == (0.0, 0.0, 0.0, 1.0)
    rows = np.stack([RANDOM.integers(1, 9, 10), RANDOM.integers(9, 30, 10)], axis=1)
    assert paired(ratio_measure(rows), ratio_measure(rows)).p == 1.0


def test_videos_without_a_value_are_left_out_of_both():
    a, b = RANDOM.random(6), RANDOM.random(6)
    holes = [math.nan, math.nan]
    result = paired(mean_measure([*holes, *a]), mean_measure([*holes, *b]), seed=2)
    assert result == paired(mean_measure(a), mean_measure(b), seed=2)
    assert result.videos == 6


def test_a_single_video_has_a_difference_and_no_interval():
    result = paired(mean_measure([0.5]), mean_measure([0.2]), permutations=50)
    assert result.difference == pytest.approx(0.3) and result.p == 1.0
    assert math.isnan(result.low) and math.isnan(result.high)


def test_no_video_at_all_is_no_test():
    result = paired(mean_measure([math.nan]), mean_measure([math.nan]))
    assert result.videos == 0 and math.isnan(result.difference) and math.isnan(result.p)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (mean_measure([1, 2]), mean_measure([1, 2], "f2"), "f1 and f2"),
        (mean_measure([1, 2]), mean_measure([1, 2, 3]), "got 2 and 3"),
        (mean_measure([1, math.nan]), mean_measure([1, 2]), "video number 1 has a value"),
        (mean_measure([1, 2], "bleu_1"), ratio_measure(np.ones((2, 2))), "made of statistics"),
    ],
)
def test_measures_that_do_not_belong_together_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        paired(a, b)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8), st.floats(0.1, 50))
def test_the_order_of_systems_and_the_scale_do_not_change_p(pairs, scale):
    a, b = (np.array(column) for column in zip(*pairs))
    forth = paired(mean_measure(a), mean_measure(b), resamples=20, permutations=99)
    back = paired(mean_measure(b), mean_measure(a), resamples=20, permutations=99)
    assert forth.p == back.p and forth.difference == pytest.approx(-back.difference)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=1e-12)
    assert 1 / 100 <= forth.p <= 1
    if np.ptp(a - b) > 1e-6:
        scaled = paired(mean_measure(a * scale), mean_measure(b * scale), resamples=20, permutations=99)
        assert scaled.p == forth.p


def test_the_test_is_fair_where_nothing_differs():
    """Two systems of equal worth: p below 0.1 comes up in about a tenth of the trials."""
    draw = np.random.default_rng(8)
    below = sum(
        paired(mean_measure(draw.random(15)), mean_measure(draw.random(15)), 1, permutations=199, seed=trial).p <= 0.1
        for trial in range(300)
    )
    assert 15 <= below <= 48


def test_holm_worked_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.6, 0.02, np.nan, 0.5])), [1.0, 0.06, np.nan, 1.0])
    assert holm(np.array([])).shape == (0,)
