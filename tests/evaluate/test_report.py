"""A report says what was measured, with its interval, and reads back as it was written."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

from llava_v2xum.evaluate.formats.data_sets import DATA_SETS
from llava_v2xum.evaluate.metric_registry import metric_of, ordered_metrics
from llava_v2xum.evaluate.metrics.confidence import bootstrap_counts, interval
from llava_v2xum.evaluate.metrics.measures import Measure
from llava_v2xum.evaluate.metrics.metric import ABSENT
from llava_v2xum.evaluate.reports import files
from llava_v2xum.evaluate.reports.layouts import layout, markdown_grid, ordered_rows, text_grid
from llava_v2xum.evaluate.reports.report import format_markdown, format_table, main_metrics, write_report
from llava_v2xum.evaluate.reports.scores import Report, Score, make_report, read_report
from llava_v2xum.evaluate.reports.side_by_side import Published, side_by_side

VIDEOS = ["v_a", "v_b, the second", "v_ç"]


def measure(name: str, *values: float, notes: tuple[str, ...] = ()) -> Measure:
    return Measure(name, np.array(values), notes=notes)


def example(**changes):
    rows = {
        "human": [measure("f1", 0.5, 0.5, 0.5)],
        "system": [
            measure("own_measure", 1.5, 2.5, 3.5),
            measure("kendall", 0.1, -0.2, 0.1, notes=("constant importance scores 0",)),
            measure("f1", 0.25, 0.5, 0.75),
            measure("cider", 0.5, math.nan, 0.7, notes=("a stated tokenizer",)),
            measure("rouge_l", 0.5, 0.5, 0.5, notes=("a stated tokenizer",)),
            measure("bleu_4", math.nan, math.nan, math.nan),
        ],
        "random": [measure("f1", 0.1, 0.2, 0.3), measure("kendall", 0.0, 0.001, -0.0012)],
    }
    arguments = dict(
        dataset="videoxum",
        system="tiny",
        rows=rows,
        video_ids=VIDEOS,
        facts={"videos": 3, "missing": 1, "skip_missing": False, "rules": ["top15", "videoxum"], "clip": None},
        notes=["1 video has no prediction and scores as a miss"],
        absent={"meteor": "Java is not installed", "f_clip": "no CLIP model", "vt_clipscore": "no CLIP model"},
        resamples=200,
    )
    return make_report(**{**arguments, **changes})


def test_figures_and_intervals_are_those_of_the_measures():
    made = example()
    counts = bootstrap_counts(3, 200)
    score = made.score("system", "f1")
    assert score.value == 0.5
    assert (score.low, score.high) == interval(measure("f1", 0.25, 0.5, 0.75), counts)
    assert made.score("system", "cider").value == pytest.approx(0.6)
    assert math.isnan(made.score("system", "bleu_4").value)
    assert made.score("random", "cider") is None and made.score("uniform", "f1") is None
    assert made.per_video["f1"] == (0.25, 0.5, 0.75)


def test_a_written_report_reads_back_whole(tmp_path):
    made = example()
    paths = write_report(made, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["report.json", "report.md", "per_video.csv"]
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(path.name for path in paths)
    for where in (paths[0], paths[0].parent):
        again = read_report(where)
        assert repr(again) == repr(made)  # NaN is not equal to itself, but is written alike
    assert "NaN" not in paths[0].read_text() and json.loads(paths[0].read_text())["per_video"]["cider"][1] is None


def test_the_csv_has_a_line_a_video_at_full_precision(tmp_path):
    write_report(example(rows={"system": [measure("f1", 1 / 3, math.nan, 0.0)]}), tmp_path)
    with open(tmp_path / "per_video.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    assert lines == [["video_id", "f1"], ["v_a", repr(1 / 3)], ["v_b, the second", ""], ["v_ç", "0.0"]]


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    write_report(example(), tmp_path)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    monkeypatch.setattr(files.csv, "writer", lambda file: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report(example(), tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_the_terminal_table_by_hand():
    rows = {"system": [measure("f1", 0.25, 0.5, 0.75)], "random": [measure("f1", 0.1, 0.2, 0.33)]}
    made = example(rows=rows, dataset="other", facts={"videos": 3}, notes=(), absent={}, resamples=0)
    assert format_table(made) == "\n".join(
        [
            "videos: 3",
            "",
            "         V2V",
            "other     F1",
            "------------",
            "tiny    50.0",
            "random  21.0",
            "",
            "measure  tiny  random",
            "---------------------",
            "f1       50.0    21.0",
        ]
    )


def test_the_terminal_fits_and_says_what_is_missing():
    text = format_table(example())
    lines = text.split("\n")
    assert max(map(len, lines)) <= 120
    head = next(line for line in lines if line.startswith("videoxum"))
    assert head.split() == ["videoxum", *(shown.heading for shown in layout("videoxum"))]
    rows = [line.split() for line in lines if line.split()[:1] in (["tiny"], ["random"], ["human"])]
    assert rows[0] == "tiny 50.0 0.000 - - - - 50.0 60.0 - -".split()
    assert rows[1] == "random 20.0 0.000 - - - - - - - -".split(), "no minus before a zero"
    assert rows[2][:2] == ["human", "50.0"]
    assert "missing: 1; skip_missing: no; rules: top15, videoxum; clip: none" in text
    for note in (
        "F_CLIP, VT-CLIP: no CLIP model",
        "METEOR: Java is not installed",
        "BLEU@4: no video can be scored",
        "Spearman, Cross-F_CLIP: not computed",
        "1 video has no prediction and scores as a miss",
        "CIDEr, ROUGE-L: a stated tokenizer",
        "95 % bootstrap interval over 3 videos",
    ):
        assert f"  {note}" in text or note in text.replace("[low, high]: ", "")


def test_measures_that_no_layout_knows_come_last_by_their_name():
    lines = format_table(example()).split("\n")
    start = next(number for number, line in enumerate(lines) if line.startswith("measure"))
    keys = [line.split()[0] for line in lines[start + 2 :]]
    assert keys == ["f1", "kendall", "bleu_4", "rouge_l", "cider", "own_measure"]
    assert lines[-1].split()[1] == "2.5000"


def test_the_page_has_both_tables_and_the_figures():
    page = format_markdown(example(), figures=["scores.png"])
    score = example().score("system", "f1")
    assert f"| tiny | 50.0 [{score.low * 100:.1f}, {score.high * 100:.1f}] |" in page
    assert "| skip_missing | no |" in page and "![scores](scores.png)" in page
    assert "- Kendall: constant importance scores 0" in page
    tables = [block.split("\n") for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        assert len({line.count(" | ") for line in table}) == 1, "every line has as many cells"


def test_a_note_of_a_baseline_alone_bears_its_name():
    """"F1: mean over 5 seeds" would be taken for the system's."""
    seeds, rule = "mean over 5 seeds", "a threshold"
    rows = {
        "system": [measure("f1", 0.5, 0.5, 0.5, notes=(rule,)), measure("kendall", 0.1, 0.1, 0.2)],
        "random": [measure("f1", 0.1, 0.1, 0.1, notes=(seeds, rule)), measure("kendall", 0, 0, 0.1, notes=(seeds,))],
        "human": [measure("f1", 0.6, math.nan, 0.7, notes=("over 2 of 3 videos",)), measure("kendall", 0.3, 0.4, 0.3)],
    }
    lines = format_markdown(example(rows=rows)).split("\n")
    assert {"- F1: a threshold", "- random: mean over 5 seeds", "- human, F1: over 2 of 3 videos"} <= {*lines}


@pytest.mark.parametrize("videos", [0, 1])
def test_too_few_videos_for_intervals(videos, tmp_path):
    made = example(rows={"system": [measure("f1", *[0.5] * videos)]}, video_ids=VIDEOS[:videos])
    assert made.notes[-1] == "no intervals: they need two videos or more"
    assert math.isnan(made.score("system", "f1").low)
    assert "[" not in format_table(made)
    write_report(made, tmp_path)
    assert repr(read_report(tmp_path)) == repr(made)


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected a row named system, got random"):
        example(rows={"random": []})
    with pytest.raises(ValueError, match="row system: the measure f1 comes twice"):
        example(rows={"system": [measure("f1", 1, 2, 3)] * 2})
    with pytest.raises(ValueError, match="row human: f1: expected 3 videos, got 2"):
        example(rows={"system": [], "human": [measure("f1", 1, 2)]})


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "expected a JSON file"), ("[]", "format 1"), ('{"format": 2}', "format 1"), ('{"format": 1}', "'dataset'")],
)
def test_files_that_are_no_reports_are_named(text, message, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_report(path)
    assert str(path) in str(caught.value)
    with pytest.raises(OSError):
        read_report(tmp_path / "none.json")


def test_facts_that_json_cannot_hold_are_refused(tmp_path):
    with pytest.raises((TypeError, ValueError)):
        write_report(example(facts={"videos": {1, 2}}), tmp_path)
    with pytest.raises(ValueError):
        write_report(example(facts={"rate": math.nan}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_layout_is_made_of_known_columns_in_the_order_of_the_groups():
    for dataset in DATA_SETS:
        shown = layout(dataset)
        groups = [("V2V", "V2T", "V2VT").index(one.group) for one in shown]
        assert groups == sorted(groups) and len({one.name for one in shown}) == len(shown)
    with pytest.raises(ValueError, match="'kinetics'; there are videoxum"):
        layout("kinetics")


def test_figures_as_tables_write_them():
    assert metric_of("f1").text(0.29, 0.278, 0.301) == "29.0 [27.8, 30.1]"
    assert metric_of("kendall").text(-0.1234) == "-0.123"
    assert metric_of("kendall").text(-0.0001) == "0.000"
    assert metric_of("cider").text(1.234) == "123.4"
    assert metric_of("unheard_of").text(0.5) == metric_of("unheard_of@0.5").text(0.5) == "0.5000"
    assert (metric_of("dense_f1@0.5").heading, metric_of("dense_f1@0.5").text(0.25)) == ("dense F1@0.5", "25.0")
    assert metric_of("f1").text(None) == metric_of("f1").text(math.nan) == ABSENT
    assert metric_of("f1").text(0.5, math.nan, math.nan) == "50.0"


def test_orders_of_columns_and_rows():
    keys = ["zeta", "soda_c", "dense_f1@0.5", "cider", "f1", "dense_f1", "alpha", "f1"]
    assert [one.name for one in ordered_metrics(keys)] == "f1 cider dense_f1@0.5 dense_f1 soda_c zeta alpha".split()
    assert ordered_rows(["oracle", "human", "system", "random"]) == ["system", "random", "human", "oracle"]


def test_grids_by_hand():
    grid = [["", "a", "long"], ["name", "1.0", "2"]]
    assert text_grid(grid) == "        a  long\n---------------\nname  1.0     2"
    assert markdown_grid([["", "a|b", "c"], ["x", "1", "2"]], text_columns=(0, -1)) == "\n".join(
        ["|  | a\\|b | c |", "| --- | ---: | --- |", "| x | 1 | 2 |"]
    )


@pytest.mark.parametrize("key, value", [("dataset", 3), ("system", None), ("facts", [])])
def test_a_report_edited_by_hand_is_told(tmp_path, key, value):
    measures = [Measure("f1", np.array([0.5, 0.7]))]
    write_report(make_report("videoxum", "made", {"system": measures}, ["a", "b"], {}), tmp_path)
    record = json.loads((tmp_path / "report.json").read_text())
    (tmp_path / "report.json").write_text(json.dumps({**record, key: value}))
    with pytest.raises(ValueError, match="report.json: not a report"):
        read_report(tmp_path)


def test_a_system_of_scores_alone_has_f1_in_the_table_by_its_named_rule():
    scores = {"f1_top15": Score(0.25), "kendall": Score(0.5)}
    made = Report("videoxum", "scores", {}, {"system": scores, "human": {"f1": Score(0.9)}}, ("a", "b"))
    for text in (format_table(made), side_by_side([made], Published(()))):
        lines = [line.split() for line in text.splitlines() if line.startswith(("videoxum", "scores", "human"))]
        head, *rows = lines[:3]
        columns = " ".join(head[1:])
        assert columns.startswith("F1 F1 top15 Kendall")
        assert {row[0]: row[1:4] for row in rows} == {"scores": ["-", "25.0", "0.500"], "human": ["90.0", "-", "-"]}
    with_frames = Report("videoxum", "frames", {}, {"system": {**scores, "f1": Score(0.3)}}, ("a", "b"))
    assert [one.name for one in main_metrics(with_frames)][:2] == ["f1", "kendall"]
    assert "F1 top15" in side_by_side([made, with_frames], Published(()))
