"""Highlight detection and F1 at budgets: against scikit-learn's and the published scripts' ways, and by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluate_world import make_world, run
from hypothesis import given, settings
from hypothesis import strategies as st
from published import highlight

from llava_v2xum.evaluate.metrics.highlights import AT_BUDGETS, HIGHLIGHTS, PIECES, average_precision
from llava_v2xum.evaluate.metrics.keyframes import f1_table, top_fraction
from llava_v2xum.evaluate.metrics.v2v_scores import SampledVideo
from llava_v2xum.evaluate.reports.scores import read_report

RANKED = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=12)


def plain_ap(positive, scores, interpolated):
    """One threshold at a time; as `get_ap` walks from the lowest to the highest."""
    steps = []
    for threshold in sorted(set(scores)):
        chosen = [one for one, score in zip(positive, scores) if score >= threshold]
        steps.append((sum(chosen) / len(chosen), sum(chosen) / sum(positive)))
    precisions, recalls = [p for p, _ in steps] + [1.0], [r for _, r in steps] + [0.0]
    if not interpolated:
        return sum((recalls[n] - recalls[n + 1]) * precisions[n] for n in range(len(steps)))
    highest = np.maximum.accumulate(precisions)
    return float(np.mean([highest[n] for n in range(len(steps)) if recalls[n] != recalls[n + 1]]))


@given(RANKED)
@settings(max_examples=80, deadline=None)
def test_average_precision_against_loops(ranked):
    positive, scores = np.array([one for one, _ in ranked]), np.array([float(score) for _, score in ranked])
    for interpolated in (True, False):
        found = average_precision(positive, scores, interpolated)
        if not positive.any():
            assert found == 0
        elif positive.all() and interpolated:
            assert found == 1
        else:
            assert found == pytest.approx(plain_ap(positive.tolist(), scores.tolist(), interpolated))


def test_average_precision_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(20):
        positive, scores = rng.random(30) < 0.3, rng.integers(0, 9, 30) / 3
        if positive.any():
            expected = metrics.average_precision_score(positive, scores)
            assert average_precision(positive, scores) == pytest.approx(expected)


def video(importance, **changes):
    importance = np.atleast_2d(np.asarray(importance, dtype=float))
    samples = importance.shape[1]
    empty = np.zeros((0, samples), dtype=bool)
    fields = {"sets": importance > 9, "marks": empty, "people": empty, "mean": np.zeros(samples), "fraction": 0.15}
    return SampledVideo(importance, **{**fields, **changes})


def test_highlights_by_hand():
    # three clips, two people: clip 1 is very good to the first alone, clip 2 to nobody
    grades = np.repeat(np.array([[0, 4, 3], [0, 3, 2]]), 2, axis=1)
    best, worst = [0, 0, 5, 5, 1, 1], [5, 5, 0, 0, 1, 1]
    found = HIGHLIGHTS.score(video([best, worst], grades=grades))
    assert found["hl_map"].tolist() == pytest.approx([0.5, 0.5 / 3])  # the second person has no positive: 0
    assert found["hl_hit1"].tolist() == [1, 0]
    assert found["hl_map_good"].tolist() == pytest.approx([1, (2 / 3 + 1 / 3) / 2])
    assert found["hl_hit1_fair"].tolist() == [1, 0]
    assert HIGHLIGHTS.score(video(best)) == {}


def test_pieces_as_mr_hisum_has_them():
    rng = np.random.default_rng(1)
    mean, importance = rng.random(43), rng.random((2, 43))
    found = PIECES.score(video(importance, mean=mean, ranking=True))
    pieces = [[row[n : n + 5].mean() for n in range(0, 43, 5)] for row in (mean, *importance)]
    for percent, count in ((50, 4), (15, 1)):
        positive = np.zeros(9, dtype=bool)
        positive[np.argsort(pieces[0])[::-1][:count]] = True
        expected = [plain_ap(positive.tolist(), row, False) for row in pieces[1:]]
        assert found[f"map{percent}"].tolist() == pytest.approx(expected)
    assert PIECES.score(video([mean], mean=mean, ranking=True))["map50"].tolist() == [1]
    assert "map15" not in PIECES.score(video([mean[:20]], mean=mean[:20], ranking=True))  # of four pieces it is none
    assert PIECES.score(video([mean], mean=mean)) == {}


def test_f1_at_budgets_and_its_area():
    rng = np.random.default_rng(2)
    marks, importance = rng.random((3, 60)) < 0.2, rng.random((1, 60))
    found = AT_BUDGETS.score(video(importance, marks=marks, ranking=True))
    shares = [number / 100 for number in range(5, 55, 5)]
    every = [f1_table(top_fraction(importance, share), marks).mean() for share in shares]
    assert found["f1_area"][0] == pytest.approx(np.mean(every))
    assert found["f1_top20"][0] == pytest.approx(every[3])
    assert AT_BUDGETS.score(video(importance, marks=marks)) == {}


def test_qvhighlights_command(tmp_path, capsys):
    queries = [highlight(), highlight(qid=8)]
    annotations, predictions = tmp_path / "a.jsonl", tmp_path / "p.jsonl"
    annotations.write_text("".join(json.dumps(one) + "\n" for one in queries))
    saliency = [[0, 1, 2, 0, 0, 0], [3, 1, 2, 0, 0, 0]]
    entries = [
        {"qid": one["qid"], "vid": one["vid"], "pred_relevant_windows": [[2, 6, 1.0]], "pred_saliency_scores": some}
        for one, some in zip(queries, saliency)
    ]
    predictions.write_text("".join(json.dumps(one) + "\n" for one in entries))
    arguments = ["--predictions", predictions, "--annotations", annotations, "--out", tmp_path / "report"]
    assert run("qvhighlights", *arguments, "--resamples", 0, "--seeds", 2) == 0
    report = read_report(tmp_path / "report")
    assert "mAP very good  HIT@1 very good" in capsys.readouterr().out
    assert report.per_video["f1"] == (1, 1) and report.per_video["hl_hit1"] == (1, 0)
    # the first person's positive is clip 1, the second's clip 2, the third has none
    assert report.per_video["hl_map"] == pytest.approx([(1 / 2 + 1) / 3, (1 / 3 + 1 / 2) / 3])
    assert "map50" not in report.rows["system"]


def test_ranking_is_asked_for(tmp_path):
    world = make_world(tmp_path)
    arguments = ["--predictions", world / "good.jsonl", "--annotations", world / "videoxum.json", "--seeds", 2,
                 "--no-meteor", "--tokenizer", "plain", "--resamples", 0, "--out", tmp_path / "report"]  # fmt: skip
    assert run("videoxum", *arguments) == 0
    plain = read_report(tmp_path / "report")
    assert run("videoxum", *arguments, "--ranking") == 0
    ranked = read_report(tmp_path / "report")
    more = {"map50", "map15", "f1_area", *(f"f1_top{share}" for share in (5, 10, 20, 30))}
    assert set(ranked.rows["system"]) - set(plain.rows["system"]) == more
    assert all(ranked.per_video[key] == plain.per_video[key] for key in plain.per_video)
    assert ranked.score("system", "map50").value > ranked.score("random", "map50").value
