"""Dense captions: segments found, captions of overlapping pairs, SODA's alignment, each against a plain twin."""

from __future__ import annotations

import math
import random
from itertools import combinations

import numpy as np
import pytest
from caption_sets import needs_java
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.evaluate.metrics import meteor
from llava_v2xum.evaluate.metrics.dense import dense_measures
from llava_v2xum.evaluate.metrics.events import (
    TIOUS,
    Event,
    detection,
    detection_measures,
    soda_alignment,
    temporal_iou,
)

seconds = st.integers(0, 40).map(lambda tenth: tenth / 4)
spans = st.lists(st.tuples(seconds, seconds).map(sorted), max_size=4)


def events(*spans, text="a man runs fast"):
    return [Event(float(start), float(end), text) for start, end in spans]


def figures(measures):
    return {measure.name: measure.value for measure in measures}


def plain_iou(a, b):
    """eval_dvc.py's formula, one pair at a time."""
    shared = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    union = min(max(a[1], b[1]) - min(a[0], b[0]), a[1] - a[0] + b[1] - b[0])
    return shared / (union + 1e-8)


def best_of_all_alignments(gains):
    """Every way to choose equally many rows and columns, matched in order."""
    rows, columns = gains.shape
    return max(
        sum(gains[r, c] for r, c in zip(some, others))
        for size in range(min(rows, columns) + 1)
        for some in combinations(range(rows), size)
        for others in combinations(range(columns), size)
    )


def test_iou_worked_by_hand():
    iou = temporal_iou(events((0, 10), (5, 5)), events((0, 10), (5, 15), (20, 30), (5, 5)))
    assert iou == pytest.approx(np.array([[1, 1 / 3, 0, 0], [0, 0, 0, 0]]), abs=1e-8)
    assert temporal_iou([], events((0, 1))).shape == (0, 1)
    assert temporal_iou(events((0, 1)), []).shape == (1, 0)


@pytest.mark.pinned
@given(spans, spans)
@settings(max_examples=40, deadline=None)
def test_iou_and_detection_against_plain_loops(predicted, references):
    iou = temporal_iou(events(*predicted), events(*references))
    expected = [[plain_iou(a, b) for b in references] for a in predicted]
    assert iou == pytest.approx(np.array(expected).reshape(iou.shape), abs=1e-9)
    if not references:
        return
    for tiou in TIOUS:
        found = {(p, r) for p, row in enumerate(expected) for r, value in enumerate(row) if value > tiou}
        precision = len({p for p, _ in found}) / max(len(predicted), 1)
        recall = len({r for _, r in found}) / len(references)
        assert detection(iou, tiou) == pytest.approx((precision, recall))


@pytest.mark.pinned
@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_soda_s_alignment_is_the_best_of_all(rows, columns, seed):
    gains = np.random.default_rng(seed).integers(0, 5, (rows, columns)) / 4
    assert soda_alignment(gains) == best_of_all_alignments(gains)
    assert soda_alignment(gains.T) == soda_alignment(gains)


def test_soda_s_alignment_worked_by_hand():
    # crossing pairs exclude each other: 0.9 alone, or 0.5 + 0.5 in order
    assert soda_alignment(np.array([[0.5, 0.9], [0.3, 0.5]])) == 1.0
    assert soda_alignment(np.array([[0.1, 0.9], [0.3, 0.1]])) == 0.9
    assert soda_alignment(np.zeros((0, 3))) == 0


def test_detection_measures_worked_by_hand():
    # v1: one of two predictions finds the only event; v2: nothing predicted; v3: nothing annotated
    ious = [np.array([[0.6], [0.1]]), np.zeros((0, 2)), np.zeros((1, 0))]
    measures = {measure.name: measure for measure in detection_measures(ious, (0.5, 0.7))}
    assert list(measures)[:3] == ["dense_precision", "dense_recall", "dense_f1"]
    assert measures["dense_precision@0.5"].values.tolist() == pytest.approx([0.5, 0, math.nan], nan_ok=True)
    assert measures["dense_recall@0.5"].value == 0.5
    assert measures["dense_precision@0.5"].value == 0.25
    f1 = 2 * 0.25 * 0.5 / 0.75  # of the means over videos
    assert measures["dense_f1@0.5"].value == pytest.approx(f1)
    assert measures["dense_f1@0.7"].value == 0
    assert measures["dense_f1"].value == pytest.approx(f1 / 2)
    assert measures["dense_f1@0.5"].values == pytest.approx([2 / 3, 0, math.nan], nan_ok=True)
    resampled = measures["dense_f1"].under(np.array([[2, 0, 1], [0, 0, 3], [0, 2, 0]]))
    assert resampled == pytest.approx([1 / 3, math.nan, 0], nan_ok=True)
    assert detection_measures([]) and all(math.isnan(measure.value) for measure in detection_measures([]))


def test_captions_of_overlapping_pairs_without_meteor():
    predicted = [
        events((0, 10), text="a man runs fast") + events((50, 60), text="dogs"),
        [],
        events((0, 5), text="two cats sit here"),
    ]
    references = [events((0, 10), (20, 30), text="A man runs fast."), events((0, 5)), events((0, 5), text="dogs")]
    measures, notes = dense_measures(predicted, references, tious=(0.5,), tokenizer="plain", meteor=False)
    values = {measure.name: measure.values for measure in measures}
    # ROUGE-L within a video: the mean over its pairs; the prediction that overlaps nothing scores 0
    assert values["dense_rouge_l"].tolist() == pytest.approx([0.5, 0, 0])
    assert values["dense_bleu_1"].tolist() == pytest.approx([4 / 5, 0, 0], abs=1e-6)
    assert not {"dense_meteor", "soda_c"} & set(values)
    assert any("switched off, so dense_meteor and SODA are absent" in note for note in notes)
    assert "1 of 3 videos have no predicted events: their dense-caption scores are 0" in notes


def test_a_video_without_annotated_events_is_not_scored():
    measures, _ = dense_measures(
        [events((0, 5)), events((0, 5))], [events((0, 5)), []], tokenizer="plain", meteor=False
    )
    assert measures
    for measure in measures:
        assert np.isfinite(measure.values).tolist() == [True, False]
        if "bleu" in measure.name or "rouge" in measure.name or "dense_f1" in measure.name:
            assert measure.value == pytest.approx(1, abs=1e-6)


def random_events(draw, number):
    words = "man dog runs sits jumps guitar plays fast café".split()
    starts = [draw.randint(0, 8) for _ in range(number)]
    return [Event(s, s + draw.randint(1, 8), " ".join(draw.choices(words, k=draw.randint(1, 6)))) for s in starts]


@needs_java
@pytest.mark.parametrize("people", [1, 2])
def test_against_the_published_evaluators_way(quick_meteor, people):
    """Video by video and pair by pair, with random strings as garbage, as the published code goes about it."""
    pytest.importorskip("pycocoevalcap.cider.cider")
    draw = random.Random(3)
    predicted = [random_events(draw, n) for n in (3, 1, 0, 4)]
    references = [random_events(draw, n) for n in (2, 3, 2, 3)]
    # the second person says nothing of the first video
    further = [[random_events(draw, n)] for n in (0, 2, 1, 4)] if people > 1 else None
    measures, _ = dense_measures(predicted, references, further=further, tokenizer="plain", meteor=True)
    found = figures(measures)
    expected = published_way(predicted, [[one, *some] for one, some in zip(references, further or [()] * 4)], draw)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert all(0 < expected[name] < 1 for name in ("dense_meteor", "dense_recall", "soda_c", "soda_c_script"))
    assert expected["soda_c"] != expected["soda_c_script"]
    assert expected["dense_meteor_2018"] < expected["dense_meteor"] - 1e-3  # more words that nothing matches
    [soda_c] = [measure for measure in measures if measure.name == "soda_c"]
    assert "soda_c_script" in soda_c.notes[0]
    if further:
        exchanged = [some[0] for some in further], [[one] for one in references]
        other, _ = dense_measures(predicted, exchanged[0], further=exchanged[1], tokenizer="plain", meteor=True)
        assert figures(other) == pytest.approx(found)
        best = dense_measures(references, exchanged[0], further=exchanged[1], tokenizer="plain", meteor=False)[0]
        assert figures(best)["dense_f1"] == pytest.approx(1)


def jar(groups):
    """METEOR of each group of pairs: the jar's figure and its values, as pycocoevalcap asks it for them."""
    pairs = [pair for group in groups for pair in group]
    raw = iter(meteor._run([f"SCORE ||| {r} ||| {h}" for h, r in pairs], len(pairs), meteor._paraphrases()))
    lines = [" ||| ".join(["EVAL", *(next(raw) for _ in group)]) for group in groups if group]
    answer = iter(map(float, meteor._run(lines, len(pairs) + len(lines), meteor._paraphrases())))
    values = [[next(answer) for _ in range(len(group) + 1)] if group else [0.0] for group in groups]
    return [(some[-1], some[:-1]) for some in values]


def published_way(predicted, people, draw):
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    # Both published evaluators drop what is not ASCII; SODA's sorts by start.
    found, wanted = (
        [
            [(e.start_seconds, e.end_seconds, e.text.replace("é", "")) for e in sorted(some, key=by_start)]
            for some in side
        ]
        for side in (predicted, [one for some in people for one in some])
    )
    wanted = [[wanted.pop(0) for _ in some] for some in people]
    groups, groups_2018 = [], []
    for tiou in TIOUS:
        for predictions, annotated in zip(found, wanted):
            pairs, pairs_2018 = [], []
            for start, end, text in predictions:
                hits = [word for one in annotated for a, b, word in one if plain_iou((start, end), (a, b)) >= tiou]
                pairs += [(text, word) for word in hits or ["".join(draw.choices("qxzjv", k=12))]]
                pairs_2018 += [(text, word) for word in hits or ["abc123!@#"]]
            groups.append(pairs)
            groups_2018.append(pairs_2018)
    sides = [(some, one) for some, others in zip(found, wanted) for one in others]
    every = [[(p[2], r[2]) for p in some for r in one] for some, one in sides]
    script = [[pair[::-1] for pair in pairs] for pairs in every]
    answer = iter(jar([*groups, *groups_2018, *every, *script]))  # at once: every start of Java takes its time
    scores = {"dense_cider": [], "dense_rouge_l": [], **detected(found, wanted)}
    for name, some in (("dense_meteor", groups), ("dense_meteor_2018", groups_2018)):
        scores[name] = [next(answer)[0] for _ in some]
    for pairs in groups:
        given = {n: [r] for n, (_, r) in enumerate(pairs)}, {n: [h] for n, (h, _) in enumerate(pairs)}
        scores["dense_cider"].append(Cider().compute_score(*given)[0] if pairs else 0)
        scores["dense_rouge_l"].append(Rouge().compute_score(*given)[0] if pairs else 0)
    for name in ("soda_c", "soda_c_script"):
        each = iter([soda(some, one, next(answer)[1]) for some, one in sides])
        scores[name] = [max(next(each) for _ in some) for some in wanted]
    return {name: float(np.mean(values)) for name, values in scores.items()}


def by_start(event):
    return event.start_seconds


def detected(found, wanted):
    """Precision and recall, at each tIoU those of the person whom they fit best."""
    scores = {"dense_precision": [], "dense_recall": []}
    for tiou in TIOUS:
        for predictions, people in zip(found, wanted):
            hits = [{(p, r) for p in predictions for r in one if plain_iou(p, r) > tiou} for one in people]
            precisions = [len({p for p, _ in some}) / max(len(predictions), 1) for some in hits]
            recalls = [len({r for _, r in some}) / len(one) for some, one in zip(hits, people) if one]
            scores["dense_precision"].append(max(precisions))
            scores["dense_recall"].append(max(recalls))
    return scores


def soda(found, wanted, meteor_values):
    if not found or not wanted:
        return 0
    iou = np.array([[plain_iou(p, r) for r in wanted] for p in found])
    gained = best_of_all_alignments(iou * np.reshape(meteor_values, iou.shape))
    precision, recall = gained / len(found), gained / len(wanted)
    return 2 * precision * recall / (precision + recall) if gained else 0


@needs_java
def test_perfect_answers_score_one_whatever_their_order(quick_meteor):
    answer = events((0, 5), text="A man runs fast.") + events((5, 9), text="Two dogs play here.")
    found = figures(dense_measures([answer[::-1], answer], [answer, answer])[0])
    for name in ("soda_c", "soda_c_script", "dense_meteor", "dense_f1", "dense_rouge_l", "dense_bleu_4"):
        assert found[name] == pytest.approx(1, abs=1e-6), name
    assert figures(dense_measures([[], []], [answer, answer])[0]) == dict.fromkeys(found, 0.0)


def test_what_cannot_be_scored_is_told():
    with pytest.raises(ValueError, match="events of as many videos, got 1 and 2"):
        dense_measures([[]], [[], []])
    for tious in ((), (0,), (0.5, 1.5)):
        with pytest.raises(ValueError, match="tIoUs above 0 and at most 1"):
            dense_measures([[]], [[]], tious=tious)
    for start, end in ((3, 2), (-1, 2), (0, math.inf), (math.nan, 1)):
        with pytest.raises(ValueError, match="0 <= start <= end"):
            Event(start, end, "a man")
