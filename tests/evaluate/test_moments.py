"""Moment retrieval: the published script's figures of the same queries, by hand, by brute force, and by the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluate_world import run
from hypothesis import given, settings
from hypothesis import strategies as st
from published import highlight

from llava_v2xum.evaluate.formats.prediction_files import load_predictions
from llava_v2xum.evaluate.formats.predictions import Prediction, merge_predictions
from llava_v2xum.evaluate.metrics.moments import MOMENTS, THRESHOLDS, first_iou, ious, moment_precisions, of_length
from llava_v2xum.evaluate.reports.scores import read_report

QUERIES = {  # qid: marked windows, predicted ones
    1: ([[0, 8], [20, 44], [60, 130]], [[22, 46, 0.9], [0, 6, 0.8], [58, 120, 0.7], [60, 70, 0.6], [0, 10, 0.5]]),
    2: ([[10, 40]], [[30, 80, 0.2], [12, 40, 0.9], [10, 38, 0.4]]),
    3: ([[100, 106], [2, 6]], [[90, 96, 0.3], [100, 108, 0.1], [0, 6, 0.2]]),
    4: ([[50, 60]], [[2 * n, 2 * n + 4, 1 - n / 20] for n in range(12)] + [[50, 60, 2.0]]),  # behind the tenth
}
PUBLISHED = {  # moment_detr at b7e553a, standalone_eval/eval.py, of these queries
    "mr_r1_50": 25.0, "mr_r1_70": 25.0, "mr_map": 46.89, "mr_map_50": 66.67, "mr_map_75": 54.17,
    "mr_map_short": 20.67, "mr_map_middle": 80.0, "mr_map_long": 23.33,
}  # fmt: skip
WINDOWS = st.tuples(st.integers(0, 20), st.integers(1, 10)).map(lambda one: [2.0 * one[0], 2.0 * (one[0] + one[1])])


def figures(marked, predicted):
    return MOMENTS.score(np.array(predicted, dtype=float).reshape(-1, 3), np.array(marked, dtype=float))


def looped(marked, predicted, threshold):
    """The average precision by loops: what each window finds, and the best precision from each find on."""
    taken, hits = set(), []
    for start, end, _ in sorted(predicted[:10], key=lambda one: -one[2]):
        free = []
        for number, (a, b) in enumerate(marked):
            shared = max(0, min(end, b) - max(start, a))
            free.append((shared / (end - start + b - a - shared), number))
        free = [one for one in free if one[0] >= threshold and one[1] not in taken]
        hits.append(bool(free))
        taken |= {max(free)[1]} if free else set()
    precisions = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    return sum(max(precisions[n:]) for n, hit in enumerate(hits) if hit) / len(marked)


@given(st.lists(WINDOWS, min_size=1, max_size=4), st.lists(WINDOWS, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=120, deadline=None)
def test_precision_against_loops(marked, windows, chance):
    scores = list(range(len(windows)))
    chance.shuffle(scores)
    predicted = [[*one, score] for one, score in zip(windows, scores)]
    found = moment_precisions(np.array(predicted).reshape(-1, 3), np.array(marked))
    assert found == pytest.approx([looped(marked, predicted, one) for one in THRESHOLDS])


def test_by_hand():
    # IoUs of [0, 10] with [2, 10] and [6, 16]: 8/10 and 4/16
    assert ious(np.array([[0.0, 10]]), np.array([[2.0, 10], [6, 16]])).tolist() == [[0.8, 0.25]]
    found = moment_precisions(np.array([[50.0, 60, 0.9], [0, 10, 0.8]]), np.array([[2.0, 10]]))
    assert found.tolist() == [0.5] * 7 + [0] * 3  # found second, up to 0.8
    assert moment_precisions(np.zeros((0, 3)), np.array([[2.0, 10]])).tolist() == [0] * 10
    assert first_iou(np.array([[0.0, 10, 0], [2, 10, 1]]), np.array([[2.0, 10]])) == 0.8  # the first, not the best
    assert first_iou(np.zeros((0, 3)), np.array([[2.0, 10]])) == 0
    assert of_length(np.array([[0.0, 10], [0, 12]]), "short").tolist() == [[0, 10]]


@given(st.lists(WINDOWS, min_size=1, max_size=4, unique_by=lambda one: one[0]))
@settings(max_examples=30, deadline=None)
def test_what_was_marked_scores_the_maximum_and_a_wrong_window_lifts_nothing(marked):
    right = [[*one, 9.0 - n] for n, one in enumerate(marked)]
    best = figures(marked, right)
    whole = [name for name in best if name.rpartition("_")[2] not in ("short", "middle", "long")]
    assert [best[name] for name in whole] == pytest.approx([1] * len(whole))  # of a length, others' finds are wrong
    worse = figures(marked, [[900.0, 904.0, 99.0], *right])
    assert all(worse[name] < best[name] for name in whole)


@pytest.fixture
def files(tmp_path):
    base = {"duration": 150, "relevant_clip_ids": [1], "saliency_scores": [[4, 1, 0]]}
    queries = [highlight(qid=qid, relevant_windows=marked, **base) for qid, (marked, _) in QUERIES.items()]
    said = [{"qid": qid, "vid": "v", "pred_relevant_windows": some} for qid, (_, some) in QUERIES.items()]
    for name, entries in (("a", queries), ("p", said)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in entries))
    return tmp_path / "p.jsonl", tmp_path / "a.jsonl"


def test_figures_are_those_of_the_published_script(files, tmp_path):
    predictions, annotations = files
    arguments = ["--predictions", predictions, "--annotations", annotations, "--resamples", 0, "--seeds", 1]
    assert run("qvhighlights", *arguments, "--out", tmp_path / "report") == 0
    report = read_report(tmp_path / "report")
    found = {name: round(100 * score.value, 2) for name, score in report.rows["system"].items() if name[:3] == "mr_"}
    assert found == PUBLISHED
    assert np.isnan(report.per_video["mr_map_long"][1])  # no marked window is as long


def test_queries_without_windows_are_misses_and_told(files, tmp_path):
    predictions, annotations = files
    kept = predictions.read_text().splitlines()[:2]
    silent = {"qid": 3, "vid": "v", "pred_saliency_scores": [0.0] * 75}
    predictions.write_text("\n".join([*kept, json.dumps(silent)]))
    arguments = ["--predictions", predictions, "--annotations", annotations, "--resamples", 0, "--seeds", 1]
    assert run("qvhighlights", *arguments, "--out", tmp_path / "report") == 0
    report = read_report(tmp_path / "report")
    assert report.per_video["mr_map"][2:] == (0, 0)
    assert "1 of 4 queries are predicted without windows" in report.score("system", "mr_map").notes[0]


def test_marked_windows_behind_the_end_lose_their_query(files, tmp_path):
    from llava_v2xum.evaluate.formats.references import load_references

    path = tmp_path / "late.jsonl"
    path.write_text("\n".join(json.dumps(highlight(qid=n, relevant_windows=[[2, 6 + 8 * n]])) for n in (0, 1)))
    found = load_references(path)
    assert [one.key_spans for one in found.annotations] == [(((2.0, 6.0),),)]
    assert "relevant_windows[0] ends at 14 s, behind the video's 12 s" in str(found.rejected[0])


def test_windows_are_kept_in_this_projects_form(files):
    one = load_predictions(files[0])["1"]
    assert one.windows[0] == (22.0, 46.0, 0.9) and len(one.windows) == 5
    again = Prediction.from_record(json.loads(json.dumps(one.to_record())))
    assert again.windows == one.windows
    assert "windows" not in Prediction("v", 2, (1,)).to_record()
    with pytest.raises(ValueError, match=r"windows\[0\] must have 0 <= start <= end, got \[4.0, 2.0\]"):
        Prediction("v", 2, (1,), windows=((4, 2, 0.5),))
    other = Prediction("1", one.num_frames, one.frames, clock=one.clock, windows=((0, 2, 1.0),))
    with pytest.raises(ValueError, match="'1': .* both say its frames or importance, and not the same"):
        merge_predictions([{"1": one}, {"1": other}])
