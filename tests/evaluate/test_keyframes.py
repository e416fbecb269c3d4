"""The key-frame metrics against cases worked by hand, SciPy, scikit-learn's definition and plain loops."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llava_v2xum.evaluate.metrics.keyframes import (
    RULES,
    f1_annotators,
    f1_table,
    human_rank_correlation,
    kendall,
    rank_correlation,
    set_f1,
    spearman,
    top_fraction,
)
from llava_v2xum.evaluate.metrics.rank_correlation import TABLES, Ranks

pytestmark = pytest.mark.pinned
ORACLES = {"spearman": stats.spearmanr, "kendall": stats.kendalltau}
FUNCTIONS = {"spearman": spearman, "kendall": kendall}


def oracle(kind, scores, reference):
    """SciPy's figure, with 0 where it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = ORACLES[kind](np.asarray(scores, float), np.asarray(reference, float))[0]
    return 0.0 if math.isnan(value) else value


def plain_kendall(scores, reference):
    """tau-b by its definition, over every pair."""
    agreement = differ = differ_there = 0
    for one, other in itertools.combinations(range(len(scores)), 2):
        here = np.sign(scores[one] - scores[other])
        there = np.sign(reference[one] - reference[other])
        agreement += here * there
        differ += here != 0
        differ_there += there != 0
    return agreement / math.sqrt(differ * differ_there) if differ and differ_there else 0.0


def plain_f1(predicted, reference):
    """F1 by counts of true and false positives and negatives; 0 where there is nothing to divide by."""
    true = sum(a and b for a, b in zip(predicted, reference))
    wrong = sum(bool(a) != bool(b) for a, b in zip(predicted, reference))
    return 2 * true / (2 * true + wrong) if true + wrong else 0.0


def test_f1_by_hand():
    predicted = np.array([1, 1, 1, 0, 0, 0], dtype=bool)
    reference = np.array([0, 1, 1, 1, 1, 0], dtype=bool)
    assert set_f1(predicted, reference) == pytest.approx(4 / 7)  # two shared, of three and four
    assert set_f1(predicted, predicted) == 1
    assert set_f1(predicted, ~predicted) == 0


def test_f1_of_empty_sets_is_0_and_of_all_ones_the_share():
    empty, full = np.zeros(4, dtype=bool), np.ones(4, dtype=bool)
    assert set_f1(empty, empty) == 0
    assert set_f1(empty, full) == 0
    assert set_f1(np.array([1, 0, 0, 0]), full) == pytest.approx(2 * 1 / 5)
    assert set_f1(np.array([], dtype=bool), np.array([], dtype=bool)) == 0


def test_f1_is_that_of_plain_counts():
    rng = np.random.default_rng(0)
    for samples in (1, 2, 7, 40):
        ours, theirs = rng.random((3, samples)) < 0.4, rng.random((5, samples)) < 0.3
        expected = [[plain_f1(a, b) for b in theirs] for a in ours]
        np.testing.assert_allclose(f1_table(ours, theirs), expected)
        mean, highest = f1_annotators(ours[0], theirs)
        assert (mean, highest) == (pytest.approx(np.mean(expected[0])), pytest.approx(np.max(expected[0])))


def test_f1_of_annotators_who_marked_everything_or_nothing():
    chosen = np.array([1, 1, 0, 0], dtype=bool)
    annotators = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)
    assert f1_annotators(chosen, annotators) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: set_f1([1, 0], [1, 0, 0]), "same samples, got 2 and 3"),
        (lambda: set_f1([1, 2], [1, 0]), "predicted must hold 0 and 1"),
        (lambda: set_f1([1, 0], [np.nan, 0]), "references must hold 0 and 1"),
        (lambda: set_f1([[1, 0]], [1, 0]), "predicted must have one axis"),
        (lambda: f1_annotators([1, 0], np.zeros((0, 2))), "at least 1 annotators, got 0"),
        (lambda: f1_annotators([1, 0], [1, 0]), "references must be"),
        (lambda: spearman([1, 2], [1, 2, 3]), "same samples, got 2 and 3"),
        (lambda: kendall([1, 2, 3], [1, 2]), "same samples, got 3 and 2"),
        (lambda: rank_correlation([1, 2], np.zeros((0, 2))), "at least 1 annotators"),
        (lambda: rank_correlation([1, 2], [1, 2]), "annotators must be"),
        (lambda: rank_correlation([1, 2], [[1, 2]], "median"), "per-annotator, mean, got 'median'"),
        (lambda: rank_correlation([1, 2], [[1, 2]], kind="pearson"), "spearman, kendall, got 'pearson'"),
        (lambda: human_rank_correlation([[1, 2]]), "at least 2 annotators, got 1"),
        (lambda: top_fraction([1, 2], rule="top"), "top15, videoxum, videoxum-script, got 'top'"),
        (lambda: top_fraction([1, 2], 0), "above 0 and at most 1, got 0"),
        (lambda: top_fraction([1, 2], 1.5), "above 0 and at most 1, got 1.5"),
        (lambda: top_fraction([1, np.nan]), "must not hold NaN"),
        (lambda: Ranks(np.zeros(3)), "expected scores"),
    ],
)
def test_what_cannot_be_scored_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_correlations_by_hand():
    # ranks 1, 2, 3, 4 with 1, 3, 2, 4: squared differences 2; of six pairs five agree
    assert spearman([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert kendall([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(4 / 6)
    # tau-b with ties: 3 pairs agree, none disagrees; 5 pairs differ here and 4 there (of a 0/1 reference)
    assert kendall([1, 2, 2, 3], [0, 0, 1, 1]) == pytest.approx(3 / math.sqrt(5 * 4))
    assert spearman([1, 2, 3], [3, 2, 1]) == kendall([1, 2, 3], [3, 2, 1]) == -1


@pytest.mark.parametrize("kind", ["spearman", "kendall"])
@pytest.mark.parametrize(
    "scores", [[5, 5, 5], [1, np.nan, 2], [np.nan] * 3, [True, True, True], [np.inf, np.inf, np.inf]]
)
def test_correlation_of_constant_or_nan_is_0(kind, scores):
    assert FUNCTIONS[kind](scores, [1, 2, 3]) == 0
    assert FUNCTIONS[kind]([1, 2, 3], scores) == 0
    assert rank_correlation(scores, [[1, 2, 3], [3, 2, 1]], "mean", kind) == 0


@pytest.mark.parametrize("kind", ["spearman", "kendall"])
def test_correlation_of_fewer_than_two_samples_is_0(kind):
    assert FUNCTIONS[kind]([1], [1]) == 0
    assert FUNCTIONS[kind]([], []) == 0


@pytest.mark.parametrize("kind", ["spearman", "kendall"])
def test_infinity_is_higher_than_every_number(kind):
    assert FUNCTIONS[kind]([0, np.inf, 1], [0, 5, 1]) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["spearman", "kendall"])
def test_correlation_tables_are_scipys(kind):
    rng = np.random.default_rng(1)
    for samples in [*range(2, 9), 60]:
        for levels in (2, 3, 11, 1000):
            scores = rng.integers(0, rng.choice([2, 4, 1000]), (3, samples)) / 7
            references = rng.integers(0, levels, (4, samples))
            expected = [[oracle(kind, a, b) for b in references] for a in scores]
            np.testing.assert_allclose(TABLES[kind](Ranks(scores), Ranks(references)), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["spearman", "kendall"])
def test_masks_score_the_same_as_booleans_and_as_numbers(kind):
    rng = np.random.default_rng(2)
    masks, scores = rng.random((6, 20)) < 0.3, rng.integers(0, 5, (4, 20))
    masks[0], masks[1] = True, False
    for ours, theirs in itertools.product((scores, masks), (scores, masks)):
        as_numbers = TABLES[kind](Ranks(ours.astype(float)), Ranks(theirs.astype(int)))
        np.testing.assert_allclose(TABLES[kind](Ranks(ours), Ranks(theirs)), as_numbers, atol=1e-12)


_score_lists = st.integers(2, 9).flatmap(
    lambda count: st.tuples(*[st.lists(st.integers(-3, 3), min_size=count, max_size=count)] * 2)
)


@given(_score_lists)
@settings(max_examples=60, deadline=None)
def test_kendall_is_its_definition(pair):
    assert kendall(*pair) == pytest.approx(plain_kendall(*pair), abs=1e-12)


@given(_score_lists, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_correlations_follow_the_order_alone(pair, random):
    """Scaling by a rising function, swapping sides and shuffling samples change nothing; turning round negates."""
    scores, reference = map(np.array, pair)
    places = list(range(len(scores)))
    random.shuffle(places)
    for correlate in (spearman, kendall):
        value = correlate(scores, reference)
        assert -1 <= value <= 1
        assert correlate(np.exp(scores) * 3 - 1, reference) == pytest.approx(value, abs=1e-12)
        assert correlate(reference, scores) == pytest.approx(value, abs=1e-12)
        assert correlate(scores[places], reference[places]) == pytest.approx(value, abs=1e-12)
        assert correlate(-scores, reference) == pytest.approx(-value, abs=1e-12)


@pytest.mark.parametrize("kind", ["spearman", "kendall"])
def test_both_protocols_of_several_annotators(kind):
    rng = np.random.default_rng(3)
    scores, annotators = rng.random(30), rng.random((4, 30)) < 0.3
    each = [oracle(kind, scores, one) for one in annotators]
    assert rank_correlation(scores, annotators, "per-annotator", kind) == pytest.approx(np.mean(each))
    mean = oracle(kind, scores, annotators.mean(axis=0))
    assert rank_correlation(scores, annotators, "mean", kind) == pytest.approx(mean)
    assert rank_correlation(scores, annotators) == rank_correlation(scores, annotators, "per-annotator", "spearman")


@pytest.mark.parametrize("kind", ["spearman", "kendall"])
@pytest.mark.parametrize("as_masks", [True, False])
def test_people_are_scored_leaving_one_out(kind, as_masks):
    rng = np.random.default_rng(4)
    annotators = rng.random((4, 25)) < 0.4 if as_masks else rng.integers(1, 6, (4, 25))
    annotators[3] = True  # marked everything: 0 with everybody
    against_mean, against_each = [], []
    for number, one in enumerate(annotators):
        others = np.delete(annotators, number, axis=0)
        against_mean.append(oracle(kind, one, others.sum(axis=0)))
        against_each.append(np.mean([oracle(kind, one, other) for other in others]))
    assert human_rank_correlation(annotators, kind, "mean") == pytest.approx(np.mean(against_mean))
    assert human_rank_correlation(annotators, kind) == pytest.approx(np.mean(against_each))


@pytest.mark.parametrize("kind", ["spearman", "kendall"])
def test_people_who_gave_fractions_are_held_against_the_others_without_rounding(kind):
    """0.1 + 0.2 is as much for the first sample as for the third: (0.1 + 0.2 + 0.7) - 0.7 is not."""
    people = np.array([[0.7, 0.1, 0.3, 0.2], [0.1, 0.1, 0.1, 0.2], [0.2, 0.2, 0.2, 0.4]])
    expected = [oracle(kind, one, np.delete(people, place, axis=0).sum(axis=0)) for place, one in enumerate(people)]
    assert human_rank_correlation(people, kind, "mean") == pytest.approx(np.mean(expected))
    whole = (people * 10).round().astype(int)
    assert human_rank_correlation(whole, kind, "mean") == human_rank_correlation(people, kind, "mean")


def test_the_three_rules_by_hand():
    scores = np.array([5, 1, 9, 9, 3, 2, 4, 9, 0, 6, 7, 8, 2, 1])  # int(0.15 * 14) = 2
    assert np.flatnonzero(top_fraction(scores)).tolist() == [2, 3]  # of three nines the earlier two
    assert np.flatnonzero(top_fraction(scores, rule="videoxum")).tolist() == [2, 3, 7]  # place 2 is the third nine
    # place 14 - 1 - 2 = 11 in time holds 8
    assert np.flatnonzero(top_fraction(scores, rule="videoxum-script")).tolist() == [2, 3, 7, 11]


def published_script(scores):
    """What VideoXum's get_top15_frames does with the [T, 1] array that it is handed, and with a flat one."""
    found = []
    for array in (scores[:, None], scores):
        threshold = np.sort(array)[::-1][int(len(array) * 0.15)]
        found.append((array >= threshold).ravel())
    return found


def test_the_rules_are_what_the_published_script_does():
    rng = np.random.default_rng(5)
    for samples in [*range(1, 30), 164, 500]:
        for scores in (rng.random(samples), rng.integers(0, 4, samples).astype(float)):
            script, meant = published_script(scores)
            assert (top_fraction(scores, rule="videoxum-script") == script).all()
            assert (top_fraction(scores, rule="videoxum") == meant).all()
            top = top_fraction(scores)
            highest = sorted(range(samples), key=lambda place: (-scores[place], place))
            assert sorted(highest[: max(int(0.15 * samples), 1)]) == np.flatnonzero(top).tolist()


def test_a_short_video_keeps_one_sample_under_top15():
    for samples in range(1, 7):  # int(0.15 * 6) = 0
        scores = np.arange(samples)
        assert np.flatnonzero(top_fraction(scores)).tolist() == [samples - 1]
        assert np.flatnonzero(top_fraction(scores, rule="videoxum")).tolist() == [samples - 1]
    assert top_fraction(np.array([])).shape == (0,)


def test_constant_and_0_1_importance_under_the_rules():
    constant = np.full(40, 0.5)
    assert np.flatnonzero(top_fraction(constant)).tolist() == list(range(6))
    assert top_fraction(constant, rule="videoxum").all() and top_fraction(constant, rule="videoxum-script").all()
    few = np.zeros(40)
    few[[3, 30]] = 1  # no more than 15 % ones: the threshold is 0
    assert top_fraction(few, rule="videoxum").all() and top_fraction(few, rule="videoxum-script").all()
    assert np.flatnonzero(top_fraction(few)).tolist() == [0, 1, 2, 3, 4, 30]


@pytest.mark.parametrize("rule", RULES)
def test_a_fraction_of_1_is_everything_but_for_the_script(rule):
    scores = np.array([3, 1, 2])
    chosen = top_fraction(scores, 1, rule)
    assert chosen.tolist() == ([True, False, False] if rule == "videoxum-script" else [True] * 3)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30), st.sampled_from(RULES))
@settings(max_examples=60, deadline=None)
def test_scaling_importance_selects_the_same(scores, rule):
    scores = np.array(scores, dtype=float)
    chosen = top_fraction(scores, rule=rule)
    assert (top_fraction(scores * 2.5 + 1, rule=rule) == chosen).all()
    assert (top_fraction(np.stack([scores, -scores]), rule=rule)[0] == chosen).all()  # rows stand for themselves
