"""The paper's tables in its own columns and scales: its rows as printed, a report's row apart from them."""

import csv
import io
import math

import pytest
from evaluate_world import run

from llava_v2xum.evaluate.reports.paper_tables import paper_tables
from llava_v2xum.evaluate.reports.report import write_report
from llava_v2xum.evaluate.reports.scores import Report, Score
from llava_v2xum.evaluate.reports.side_by_side import read_published

PUBLISHED = read_published()


def report(dataset, system="my_model & co", doubts=(), **scores):
    rows = {"system": {name: Score(value) for name, value in scores.items()}, "random": {"f1": Score(0.1)}}
    return Report(dataset, system, {}, rows, ("a", "b"), doubts=doubts)


def rows_of(number, *reports):
    return list(csv.reader(io.StringIO(paper_tables([number], reports, PUBLISHED, "csv"))))


def test_table_2_has_the_paper_s_columns_rows_and_scales():
    ours = report("videoxum", f1=0.291, spearman=0.31, kendall=math.nan, f_clip=0.95, cider=0.271)
    head, *rows = rows_of(2, ours, report("tvsum", spearman=0.5))
    assert head[3:-1] == ["BLEU@4", "METEOR", "ROUGE-L", "CIDEr", "F1", "Spearman", "Kendall", "F_CLIP", "Cross-F_CLIP"]
    assert [row[1] for row in rows] == ["paper"] * 15 + ["report"]
    found = {row[2]: row for row in rows}
    printed = "5.8 12.3 26.3 26.9 29.0 0.298 0.204 0.931 0.253".split()
    assert found["V2Xum-LLaMA-7B"] == ["2", "paper", "V2Xum-LLaMA-7B", *printed, "F1"]
    assert found["DENSE"][3:] == ["1.6", "8.9", *[""] * 8]
    assert found["my_model & co"][3:] == ["", "", "", "27.1", "29.1", "0.310", "", "0.950", "", ""]


def test_table_3_brings_both_data_sets_of_a_system_together():
    head, *rows = rows_of(3, report("tvsum", spearman=0.5, kendall=0.4), report("summe", spearman=0.3))
    assert head[3:-1] == ["tvsum Spearman", "tvsum Kendall", "summe Spearman", "summe Kendall"]
    assert len(rows) == 10 + 1
    found = {row[2]: row[3:-1] for row in rows}
    assert found["V2Xum-LLaMA"] == ["0.293", "0.222", "0.378", "0.296"] and found["DSN"] == ["0.020", "0.026", "", ""]
    assert found["my_model & co"] == ["0.500", "0.400", "0.300", ""]


def test_table_4_is_in_percent_and_its_cider_as_printed_with_a_note():
    found = {row[2]: row for row in rows_of(4, report("instruct-v2xum", f_clip=0.95, cider=0.009))[1:]}
    assert found["V2Xum-LLaMA-7B"][3:] == ["6.8", "15.8", "26.9", "0.9", "31.7", "95.5", "23.1", "CIDEr; F1"]
    assert found["my_model & co"][3:] == ["", "", "", "0.9", "", "95.0", "", ""]
    assert "CIDEr is printed as 0.4 to 0.9" in paper_tables([4], [], PUBLISHED)


def test_notes_tell_the_protocols_and_doubts_of_the_report():
    page = paper_tables([5, 2], [report("videoxum", doubts=("odd",), f1=0.5)], PUBLISHED)
    assert page.index("## Table 5: ablations") < page.index("## Table 2: VideoXum")
    assert "| w/o pretrained adapter | 3.1 | 11.1 | 21.9 | 9.5 | 3.7? | - | - | - | - |" in page
    assert "| **my_model & co** | - | - | - | - | 50.0 | - | - | - | - |" in page
    assert "- my_model & co (videoxum): doubtful: odd" in page and "not stated for F1" in page
    assert "(videoxum): F1: selected frames against each annotator, mean over annotators" in page
    assert "rows in bold type are not ranked" in page


def test_a_system_of_scores_alone_has_an_f1_by_its_named_rule():
    page = paper_tables([2], [report("videoxum", f1_top15=0.25)], PUBLISHED)
    assert "| **my_model & co** | - | - | - | - | 25.0 |" in page
    assert "(videoxum): F1 top15: top 15 % by importance (rule top15), mean over annotators" in page


def test_latex_is_a_tabular_of_its_own(tmp_path, capsys):
    write_report(report("videoxum", f1=0.5), tmp_path / "report")
    assert run("tables", tmp_path / "report", "--paper", 2, "--out", tmp_path / "t.tex") == 0
    assert "| **my_model & co** |" in capsys.readouterr().out
    lines = (tmp_path / "t.tex").read_text().splitlines()
    body = [line for line in lines if not line.startswith("%")]
    assert body[0] == r"\begin{tabular}{lrrrrrrrrr}" and body[-1] == r"\end{tabular}"
    assert r"my\_model \& co & - & - & - & - & 50.0 & - & - & - & - \\" in body
    assert [line for line in body if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\midrule", r"\bottomrule"]
    rows = [line for line in body if line.endswith(r"\\")]
    assert len(rows) == 1 + 15 + 1 and all(line.count(" & ") == 9 for line in rows)


def test_all_tables_need_no_report_and_other_endings_are_refused(tmp_path, capsys):
    assert run("tables", "--paper", "--out", tmp_path / "t.csv") == 0
    assert (tmp_path / "t.csv").read_text().count("\ntable,") == 3
    capsys.readouterr()
    assert run("tables", "--paper", 3, "--out", tmp_path / "t.xlsx") == 2
    assert "expected a file named .md, .tex, .csv" in capsys.readouterr().err
    assert run("tables") == 2
    with pytest.raises(ValueError, match="expected tables of 2, 3, 4, 5"):
        paper_tables([1], [], PUBLISHED)
