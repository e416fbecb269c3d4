"""F_CLIP, Cross-F_CLIP and VT-CLIPScore: worked by hand, against plain loops, and on what has no answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.evaluate.metrics.crossmodal import (
    cross_f_clip,
    f_clip,
    f_clip_of_sets,
    positive_cosines,
    unit_rows,
    vt_clipscore,
)

EAST, NORTH, WEST = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]
NORTH_EAST = [1.0, 1.0]  # cosine with EAST and NORTH: 0.7071


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = math.sqrt(sum(x * x for x in one)) * math.sqrt(sum(x * x for x in other))
    return sum(x * y for x, y in zip(one, other)) / lengths if lengths else 0.0


def plain_f_clip(reference: np.ndarray, predicted: np.ndarray) -> float:
    """Equations 1 to 3 in loops."""
    if not len(reference) or not len(predicted):
        return 0.0
    recall = sum(max(max(cosine(r, p), 0) for p in predicted) for r in reference) / len(reference)
    precision = sum(max(max(cosine(r, p), 0) for r in reference) for p in predicted) / len(predicted)
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def plain_vt_clipscore(frames: np.ndarray, text: np.ndarray) -> float:
    mean = [sum(frame[d] for frame in frames) / len(frames) for d in range(len(text))]
    return cosine(np.array(mean), text)


def random_set(rng: np.random.Generator, size: int, width: int = 5) -> np.ndarray:
    return rng.standard_normal((size, width)) * rng.uniform(0.1, 10, (size, 1))


def test_f_clip_by_hand():
    # recall: EAST finds EAST (1), NORTH finds at best NORTH_EAST (0.7071) -> 0.8536; precision: 1 and 0.7071 -> 0.8536
    assert f_clip([EAST, NORTH], [EAST, NORTH_EAST]) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    # recall: (1 + 0) / 2, precision 1 -> 2 * 0.5 * 1 / 1.5
    assert f_clip([EAST, NORTH], [EAST]) == pytest.approx(2 / 3)
    # WEST is no worse than at a right angle: recall 1 and 0 -> 0.5; precision 1
    assert f_clip([EAST, WEST], [EAST]) == pytest.approx(2 / 3)


def test_f_clip_ends():
    assert f_clip([EAST, NORTH], [NORTH, EAST]) == 1
    assert f_clip([EAST], [WEST]) == 0
    assert f_clip([EAST], [NORTH]) == 0


def test_cross_f_clip_by_hand():
    # F(reference frames, predicted sentences) = F([EAST], [NORTH_EAST]) = 0.7071; F([NORTH], [NORTH]) = 1
    assert cross_f_clip([EAST], [NORTH], [NORTH], [NORTH_EAST]) == pytest.approx((math.sqrt(0.5) + 1) / 2)


def test_vt_clipscore_by_hand():
    assert vt_clipscore([EAST, NORTH], EAST) == pytest.approx(math.sqrt(0.5))
    # the mean is of the vectors as they come: a longer one counts more, as in the script
    assert vt_clipscore([[3.0, 0.0], NORTH], EAST) == pytest.approx(3 / math.sqrt(10))
    assert vt_clipscore([EAST], WEST) == -1  # not cut off at 0
    # a text in two parts: the mean of their directions
    assert vt_clipscore([EAST], [[2.0, 0.0], NORTH]) == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("seed", range(8))
def test_against_plain_loops(seed):
    rng = np.random.default_rng(seed)
    frames, others, text, told = (random_set(rng, int(rng.integers(1, 7))) for _ in range(4))
    assert f_clip(frames, others) == pytest.approx(plain_f_clip(frames, others), abs=1e-12)
    expected = (plain_f_clip(frames, told) + plain_f_clip(others, text)) / 2
    assert cross_f_clip(frames, others, text, told) == pytest.approx(expected, abs=1e-12)
    assert vt_clipscore(frames, text[0]) == pytest.approx(plain_vt_clipscore(frames, text[0]), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_many_sets_of_one_matrix(seed):
    rng = np.random.default_rng(seed)
    rows, columns = random_set(rng, 9), random_set(rng, 7)
    references, predictions = rng.random((3, 9)) < 0.4, rng.random((5, 7)) < 0.4
    references[0], predictions[1] = False, False  # an annotator and a system that selected nothing
    found = f_clip_of_sets(positive_cosines(rows, columns), references, predictions)
    expected = [[plain_f_clip(rows[a], columns[b]) for a in references] for b in predictions]
    assert found.shape == (5, 3)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert not found[:, 0].any() and not found[1].any()
    # no sets: all rows against all columns
    assert f_clip_of_sets(positive_cosines(rows, columns))[0, 0] == pytest.approx(plain_f_clip(rows, columns))
    assert f_clip_of_sets(positive_cosines(rows, columns), np.zeros((0, 9), bool)).shape == (1, 0)
    assert f_clip_of_sets(positive_cosines(rows, columns), None, np.zeros((0, 7), bool)).shape == (0, 1)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sizes=st.tuples(st.integers(1, 6), st.integers(1, 6)))
def test_invariances(seed, sizes):
    rng = np.random.default_rng(seed)
    reference, predicted = random_set(rng, sizes[0]), random_set(rng, sizes[1])
    score = f_clip(reference, predicted)
    assert 0 <= score <= 1
    assert f_clip(predicted, reference) == pytest.approx(score)
    assert f_clip(reference[rng.permutation(sizes[0])], predicted) == pytest.approx(score)
    assert f_clip(reference * 1e-200, predicted * 1e200) == pytest.approx(score)
    assert f_clip(np.repeat(reference, 2, axis=0), np.repeat(predicted, 3, axis=0)) == pytest.approx(score)
    turn, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    assert f_clip(reference @ turn, predicted @ turn) == pytest.approx(score)
    assert f_clip(reference, reference) == pytest.approx(1)
    assert vt_clipscore(reference, predicted[0] * 7) == pytest.approx(vt_clipscore(reference, predicted[0]))
    assert vt_clipscore(reference, -predicted[0]) == pytest.approx(-vt_clipscore(reference, predicted[0]))


@pytest.mark.parametrize("nothing", [[], np.zeros((0, 2)), np.zeros((0, 512)), np.zeros(0, np.float32)])
def test_empty_sets_score_zero(nothing):
    assert f_clip(nothing, [EAST]) == 0
    assert f_clip([EAST], nothing) == 0
    assert f_clip(nothing, nothing) == 0
    assert cross_f_clip([EAST], [EAST], [EAST], nothing) == 0.5  # the other half is there
    assert cross_f_clip(nothing, nothing, [EAST], [EAST]) == 0
    assert vt_clipscore(nothing, EAST) == 0
    assert vt_clipscore([EAST], nothing) == 0


def test_zeros_have_no_direction():
    assert f_clip([[0.0, 0.0]], [EAST]) == 0
    assert f_clip([EAST, [0.0, 0.0]], [EAST]) == pytest.approx(2 / 3)
    assert vt_clipscore([[0.0, 0.0]], EAST) == 0
    assert vt_clipscore([EAST], [0.0, 0.0]) == 0
    assert vt_clipscore([EAST, WEST], EAST) == 0  # the mean of opposites


def test_unit_rows():
    rows = unit_rows([[3.0, 4.0], [0.0, 0.0], [1e300, 1e300]])
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0], [math.sqrt(0.5)] * 2])
    assert unit_rows(np.float16([[60000, 60000]])).dtype == np.float64


def test_what_is_refused():
    with pytest.raises(ValueError, match="width: the reference's have 2, the predicted ones 3"):
        f_clip([EAST], [[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match="the frames' have 2, the text's 3"):
        vt_clipscore([EAST], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="predicted: row 1 holds NaN or infinity"):
        f_clip([EAST], [EAST, [np.nan, 0.0]])
    with pytest.raises(ValueError, match="frames: row 0 holds NaN"):
        vt_clipscore([[np.inf, 0.0]], EAST)
    with pytest.raises(ValueError, match="text: row 0 holds NaN"):
        vt_clipscore([EAST], [np.nan, 0.0])
    with pytest.raises(ValueError, match=r"reference: expected one vector a row \[M, D\], got .* shape \(2,\)"):
        f_clip(EAST, [EAST])
    cosines = positive_cosines([EAST, NORTH], [EAST])
    for wrong in (np.ones((1, 3), bool), np.ones(2, bool), np.ones((1, 2))):
        with pytest.raises(ValueError, match=r"reference sets: expected booleans of shape \[any, 2\]"):
            f_clip_of_sets(cosines, wrong)
