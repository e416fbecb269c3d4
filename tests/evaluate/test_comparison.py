"""Two systems side by side: the same figures as the paired test gives, and nothing hidden."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from llava_v2xum.evaluate.metrics.confidence import holm, paired
from llava_v2xum.evaluate.metrics.measures import Measure
from llava_v2xum.evaluate.reports.comparison import compare_rows, comparison_record, format_comparison, write_comparison
from llava_v2xum.evaluate.reports.layouts import said_by

DRAW = np.random.default_rng(3)
BASE = DRAW.random(30)
QUICK = dict(resamples=200, permutations=999)


def systems(**changes):
    better = [
        Measure("own", BASE),
        Measure("kendall", BASE - 0.5 + DRAW.normal(0, 0.05, 30)),
        Measure("f1", BASE + 0.2),
        Measure("f_clip", BASE),
    ]
    worse = [Measure("f1", BASE), Measure("kendall", BASE - 0.5), Measure("own", BASE), Measure("meteor", BASE)]
    return compare_rows(better, worse, "big", "small", **{**QUICK, **changes}), better, worse


def test_every_shared_measure_is_paired_in_the_order_of_the_tables():
    comparison, better, worse = systems(seed=5)
    assert [pair.name for pair in comparison.pairs] == ["f1", "kendall", "own"]
    assert comparison.left_out == ("f_clip", "meteor") and comparison.videos == 30
    assert comparison.pairs[0] == paired(better[2], worse[0], seed=5, **QUICK)
    np.testing.assert_array_equal(comparison.corrected, holm(np.array([pair.p for pair in comparison.pairs])))
    assert comparison.pairs[0].p == pytest.approx(1 / 1000) and comparison.pairs[2].p == 1.0


def test_a_video_that_one_system_has_no_score_of_is_compared_in_neither():
    """METEOR's program ends on some texts."""
    counts = np.stack([BASE, np.ones(30)], axis=1)

    def pooled(values):
        return Measure("meteor", values, counts * ~np.isnan(values)[:, None], lambda sums: sums[:, 0] / sums[:, 1])

    holed = np.where(np.arange(30) == 4, np.nan, BASE)
    ours, theirs = [pooled(holed), Measure("f1", BASE)], [pooled(BASE), Measure("f1", BASE + 0.1)]
    comparison = compare_rows(ours, theirs, "a", "b", **QUICK)
    f1, meteor = comparison.pairs
    assert (f1.videos, meteor.videos) == (30, 29)
    assert meteor.a == meteor.b == pytest.approx(np.delete(BASE, 4).mean())
    assert comparison.notes == ("METEOR: over the videos that both systems have a score of",)


def test_the_table_by_hand():
    a, b = [Measure("f1", np.array([0.75, 0.5]))], [Measure("f1", np.array([0.5, 0.25]))]
    text = format_comparison(compare_rows(a, b, permutations=0, resamples=10))
    assert text.split("\n")[:3] == [
        "measure     a     b  difference   95 % interval      p  p (Holm)  videos",
        "-" * 72,
        "f1       62.5  37.5       +25.0  [+25.0, +25.0]  1.000     1.000       2",
    ]


@pytest.mark.parametrize("markdown", [False, True])
def test_the_table_says_what_it_tested(markdown):
    text = format_comparison(systems(level=0.9)[0], markdown)
    flat = " ".join(text.split())
    assert "90 % interval" in flat and "difference: big - small" in flat
    assert "corrected for testing 3 measures at once" in flat
    assert "only one of the two has them: f_clip, meteor" in flat
    assert max(map(len, text.split("\n"))) <= (200 if markdown else 120)
    cells = next(line for line in text.split("\n") if line.lstrip("| ").startswith("own")).replace("|", " ").split()
    assert cells[3] == "0.0000" and cells[-3:] == ["1.000", "1.000", "30"], "no difference has no sign"


def test_a_single_video_has_no_interval():
    a, b = [Measure("f1", np.array([0.75]))], [Measure("f1", np.array([0.5]))]
    comparison = compare_rows(a, b, **QUICK)
    assert format_comparison(comparison).split("\n")[2].split() == "f1 75.0 50.0 +25.0 - 1.000 1.000 1".split()
    assert comparison_record(comparison)["measures"][0]["low"] is None


def test_measures_without_any_value_are_shown_as_such():
    nothing = [Measure("f1", np.full(3, math.nan)), Measure("kendall", np.array([0.1, 0.2, 0.3]))]
    comparison = compare_rows(nothing, nothing, **QUICK)
    assert format_comparison(comparison).split("\n")[2].split() == "f1 - - - - - - 0".split()
    assert comparison.corrected[1] == 1.0, "what was not tested is not corrected for"


def test_files_hold_the_full_figures(tmp_path):
    comparison = systems()[0]
    paths = write_comparison(comparison, tmp_path / "out")
    assert [path.name for path in paths] == ["compare.json", "compare.md"]
    record = json.loads(paths[0].read_text())
    assert record == comparison_record(comparison)
    first = record["measures"][0]
    assert first["difference"] == comparison.pairs[0].difference and first["p_holm"] == comparison.corrected[0]
    assert paths[1].read_text() == format_comparison(comparison, markdown=True)


def test_how_the_systems_were_scored_stands_in_every_form(tmp_path):
    notes = said_by(["big", "small"], [["a plain tokenizer"], ["a plain tokenizer", "3 misses"]])
    assert notes == ["a plain tokenizer", "small: 3 misses"]
    comparison = systems(notes=notes)[0]
    for markdown in (False, True):
        assert all(f"{'- ' if markdown else '  '}{note}" in format_comparison(comparison, markdown) for note in notes)
    assert comparison_record(comparison)["notes"] == notes


def test_systems_without_a_common_measure_are_refused():
    with pytest.raises(ValueError, match="x and y have no measure in common"):
        compare_rows([Measure("f1", BASE)], [Measure("cider", BASE)], "x", "y")
    with pytest.raises(ValueError, match="f1: expected the same videos"):
        compare_rows([Measure("f1", BASE)], [Measure("f1", BASE[1:])])
