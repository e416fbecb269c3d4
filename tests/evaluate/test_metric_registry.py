"""A metric that is registered is computed, shown, compared and missed like all others."""

from __future__ import annotations

import numpy as np
import pytest
from evaluate_world import make_world, run

from llava_v2xum.evaluate import metric_registry
from llava_v2xum.evaluate.metric_registry import FAMILIES, METRICS, metric_of
from llava_v2xum.evaluate.metrics.measures import Measure
from llava_v2xum.evaluate.metrics.metric import FRAMES, IMPORTANCE, TEXT, WINDOWS, Family, Metric
from llava_v2xum.evaluate.metrics.ngrams import TokenFamily
from llava_v2xum.evaluate.metrics.v2v_scores import SampleFamily
from llava_v2xum.evaluate.reports.scores import read_report

COUNT = SampleFamily(
    (Metric("selected", "selected", "V2V", "share of the samples", (FRAMES,), higher_is_better=False, note="a share"),),
    lambda video: {"selected": video.sets.mean(axis=1)},
    lambda video: {"selected": video.marks.mean()},
)
LENGTH = TokenFamily(
    (Metric("words", "words", "V2T", "words of the text", (TEXT,), scale=1.0),),
    lambda hypotheses, references: [Measure("words", np.array([len(one.split()) for one in hypotheses]))],
)


@pytest.fixture
def registered(monkeypatch):
    """Two further families, each by the one line in the registry."""
    for family in (COUNT, LENGTH):
        monkeypatch.setattr(metric_registry, "FAMILIES", (family, *metric_registry.FAMILIES))
        for metric in family.metrics:
            monkeypatch.setitem(METRICS, metric.name, metric)


def test_a_registered_metric_is_in_every_table(registered, tmp_path, capsys):
    world = make_world(tmp_path)
    files = ["--annotations", world / "videoxum.json", "--no-meteor", "--tokenizer", "plain", "--resamples", 10]
    good = world / "good.jsonl"
    assert run("videoxum", "--predictions", good, *files, "--seeds", 2, "--out", tmp_path / "report") == 0
    report = read_report(tmp_path / "report")
    assert {row for row in report.rows if "selected" in report.rows[row]} == {"system", "random", "uniform", "human"}
    assert report.score("system", "words").value > 5
    assert report.score("system", "selected").notes == ("a share",)
    assert "share of the samples" in (tmp_path / "report" / "report.md").read_text()
    capsys.readouterr()
    late = world / "late.jsonl"
    assert run("compare", "videoxum", good, late, *files, "--permutations", 20, "--out", tmp_path / "pair") == 0
    printed = capsys.readouterr().out
    assert "\nselected " in printed and "\nwords " in printed and "lower is better: selected" in printed


def test_the_names_of_metrics_are_all_different_and_every_one_is_told_of():
    names = [metric.name for family in FAMILIES for metric in family.metrics]
    assert len(set(names)) == len(names) == len(METRICS)
    for metric in METRICS.values():
        assert metric.group in ("V2V", "V2T", "V2VT") and metric.about and metric.needs, metric.name
        assert {FRAMES, IMPORTANCE, TEXT, WINDOWS}.intersection(metric.needs) or metric.group == "V2VT"


def test_the_first_need_that_is_lacking_is_the_reason():
    class Settings:
        clip, no_meteor = None, False

    assert METRICS["f_clip"].absence([], Settings) == "needs --clip and --videos"
    assert METRICS["f1"].absence([], Settings) == "no prediction has frames"
    assert METRICS["meteor"].absence([], Settings) == "no prediction has text"
    assert metric_of("no_such").absence([], Settings) is None and Family(()).metrics == ()
