"""Reports stand beside published rows only under columns that are computed alike, with every source named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from llava_v2xum.evaluate.formats.data_sets import DATA_SETS
from llava_v2xum.evaluate.metric_registry import METRICS
from llava_v2xum.evaluate.reports.scores import Report, Score
from llava_v2xum.evaluate.reports.side_by_side import PUBLISHED, read_published, side_by_side

VIDEOS = ("v_a", "v_b")
FACTS = {"rules": ["top15"], "missing": 0, "tokenizer": "ptb"}


def report(name: str = "tiny", dataset: str = "videoxum", facts: dict | None = None, **rows) -> Report:
    """A report with figures alone: row=measure=value."""
    rows = {row: {key: Score(value) for key, value in figures.items()} for row, figures in rows.items()}
    return Report(dataset, name, facts or FACTS, rows, VIDEOS)


def own_rows(tmp_path, **changes):
    """A user's file with one row."""
    row = {
        "dataset": "shapes",
        "system": "rival",
        "source": "note",
        "table": "table 9",
        "protocol": "sets",
        "values": {"f1": 41.25, "their_score": 0.5},
    }
    record = {
        "format": 1,
        "sources": {"note": {"title": "A note", "where": "https://example.org", "read": "read there"}},
        "rows": [{**row, **changes}],
    }
    path = tmp_path / "own.json"
    path.write_text(json.dumps(record))
    return path


def line_of(text: str, start: str) -> list[str]:
    """The cells behind a row's name."""
    line = next(line for line in text.split("\n") if line.startswith(start))
    return line[len(start) :].split()


def test_the_shipped_rows_are_whole():
    published = read_published()
    assert {row.dataset for row in published.rows} <= set(DATA_SETS)
    for row in published.rows:
        assert set(row.values) <= set(METRICS), "a published figure stands under a measure that exists"
        assert "arXiv" in row.reference and "Protocol: " in row.reference and "http" in row.reference
        for key, value in row.values.items():
            assert (0 <= value < 100) if METRICS[key].scale == 100 else (-1 < value < 1)
    record = json.loads(PUBLISHED.read_text())
    assert {row["source"] for row in record["rows"]} == set(record["sources"])


def test_the_paper_s_own_tables_are_shipped_as_printed():
    """43 rows; where the paper prints fractions of CLIP's measures, their percentage."""
    rows = [row for row in read_published().rows if "(arXiv 2404.12353), table" in row.reference]
    found = [sum(row.table == f"table {number}" for row in rows) for number in (2, 3, 4, 5)]
    assert found == [15, 17, 5, 6]
    source = Path(__file__).parents[3] / "shared" / "data" / "paper_tables.json"
    if source.exists():
        printed = json.loads(source.read_text())["rows"]
        assert [(row.dataset, row.system, row.table) for row in rows] == [
            (one["dataset"], one["system"], f"table {one['table']}") for one in printed
        ]
        for row, one in zip(rows, printed):
            scale = {name: 100 if "clip" in name and one["table"] != 4 else 1 for name in one["values"]}
            assert row.values == pytest.approx({name: scale[name] * value for name, value in one["values"].items()})


def test_a_known_row_reads_as_its_source_prints_it():
    """https://github.com/jylins/videoxum, README.md, model zoo; and table 2 of arXiv 2404.12353."""
    text = side_by_side([report(system={"f1": 0.5, "f1_videoxum_script": 0.25})], read_published())
    heads = line_of(text, "videoxum")
    assert line_of(text, "VTSUM-BLIP + TT + CA [1]") == "- 23.5 0.196 0.258 - 5.8 12.2 25.1 23.1 29.5 -".split()
    assert line_of(text, "V2Xum-LLaMA-7B [2]") == "29.0? - 0.204 0.298 93.1 5.8 12.3 26.3 26.9 - 25.3".split()
    assert " ".join(heads) == "F1 F1 script Kendall Spearman F_CLIP BLEU@4 METEOR ROUGE-L CIDEr VT-CLIP Cross-F_CLIP"
    assert line_of(text, "tiny") == "50.0 25.0 - - - - - - - - -".split()
    assert "?: the source does not state its protocol" in text
    assert "?:" not in side_by_side([report("a", "shapes", system={"f1": 0.5})], read_published())


@pytest.mark.parametrize("markdown", [False, True])
def test_published_rows_come_first_then_the_baselines_then_the_systems(markdown, tmp_path):
    reports = [
        report("first", "shapes", system={"f1": 0.5}, random={"f1": 0.1}, human={"f1": 0.6}),
        report("second", "shapes", system={"f1": 0.4}, random={"f1": 0.1}, human={"f1": 0.7}),
    ]
    text = side_by_side(reports, read_published(own_rows(tmp_path)), markdown)
    names = ["rival [1]", "random", "human (first)", "human (second)", "first", "second"]
    prefix = "| " if markdown else ""
    starts = [text.index(f"\n{prefix}{name} ") for name in names]
    assert starts == sorted(starts)
    assert text.count(f"\n{prefix}random") == 1, "a baseline on which the reports agree is there once"
    assert "41.2" in text and "0.5000" in text, "a measure that is not known goes by its name"
    assert "[1] A note, table 9: https://example.org (read there). Protocol: sets" in text


def test_every_data_set_has_its_table_in_a_fixed_order():
    reports = [report(dataset=one, system={"f1": 0.5}) for one in ("kinetics", "summe", "videoxum")]
    text = side_by_side(reports, read_published(), markdown=True)
    assert [line for line in text.split("\n") if line.startswith("## ")] == ["## videoxum", "## summe", "## kinetics"]
    summe = text[text.index("## summe") :]
    assert "2404.12353), table 3" in summe and "table 2" not in summe and "0.378?" in summe


def test_differences_in_how_reports_were_scored_are_said():
    facts = {"rules": ["videoxum"], "missing": 7, "tokenizer": "ptb", "java": True}
    other = report("b", facts=facts, system={"f1": 0.4})
    text = side_by_side([report("a", system={"f1": 0.5}), other], read_published())
    for line in ("rules: a: top15; b: videoxum", "missing: a: 0; b: 7", "java: a: not said; b: yes"):
        assert f"\n  {line}" in text
    assert "tokenizer:" not in text and "same videos" not in text
    fewer = Report("videoxum", "c", FACTS, {"system": {"f1": Score(0.5)}}, ("v_a",))
    assert "not over the same videos" in side_by_side([report("a", system={"f1": 0.5}), fewer], read_published())


@pytest.mark.parametrize("markdown", [False, True])
def test_what_sets_a_figure_apart_from_published_ones_is_said(markdown):
    """A tokenizer or a protocol of another kind stands in the notes of reports and figures."""
    scores = {"kendall": Score(0.5, notes=("by summaries",)), "f1_max": Score(0.5, notes=("not in this table",))}
    said = [
        Report("videoxum", name, FACTS, {"system": scores, "random": {"kendall": Score(0, notes=("seeds",))}}, VIDEOS)
        for name in "ab"
    ]
    said[1] = replace(said[1], notes=("a plain tokenizer",))
    text = side_by_side(said, read_published(), markdown)
    mark = "- " if markdown else "  "
    assert f"\n{mark}Kendall: by summaries" in text and f"\n{mark}b: a plain tokenizer" in text
    assert "not in this table" not in text and "seeds" not in text


def test_systems_of_one_name_are_told_apart():
    reports = [report("tiny", "shapes", system={"f1": value}) for value in (0.5, 0.5, 0.3)]
    text = side_by_side(reports, read_published())
    assert line_of(text, "tiny (2)") == ["50.0"] and line_of(text, "tiny (3)") == ["30.0"]


def test_a_figure_that_is_not_there_is_a_dash():
    text = side_by_side([report(dataset="shapes", system={"f1": math.nan, "kendall": 0.5})], read_published())
    assert line_of(text, "tiny") == ["-", "0.500"]


def test_no_report_is_refused():
    with pytest.raises(ValueError, match="one report or more"):
        side_by_side([], read_published())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": {"f1": "41"}}, "row 0: f1 must be a number as printed, got '41'"),
        ({"values": {}}, "row 0: expected values"),
        ({"source": "memory"}, "row 0: the source 'memory' is not among"),
        ({"page": 4}, "row 0: expected the keys dataset, protocol"),
    ],
)
def test_rows_of_another_form_are_named(change, message, tmp_path):
    path = own_rows(tmp_path, **change)
    with pytest.raises(ValueError, match=message) as caught:
        read_published(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": 2}',
        '{"format": 1, "sources": {"a": {"title": "x"}}}',
        '{"format": 1, "sources": []}',
        '{"format": 1, "rows": {"f1": 3}}',
        '{"format": 1, "not_shipped": [{"what": "table 2"}]}',
    ],
)
def test_files_of_another_form_are_named(text, tmp_path):
    path = tmp_path / "own.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="own.json"):
        read_published(path)
