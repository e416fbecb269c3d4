"""`evaluate protocol`: every column is explained, and a report has a card."""

from __future__ import annotations

import hashlib

import pytest
from evaluate_world import make_world, run

from llava_v2xum import __version__
from llava_v2xum.evaluate.formats.data_sets import DATA_SETS
from llava_v2xum.evaluate.metric_registry import METRICS
from llava_v2xum.evaluate.reports.protocols import PROTOCOLS, digest, protocol_of


def test_every_metric_has_its_protocol_and_every_protocol_its_metric():
    used = {protocol_of(name) for name in METRICS}
    assert used == set(PROTOCOLS.values())
    assert protocol_of("f1_max") == PROTOCOLS["f1_max"] != protocol_of("f1") == PROTOCOLS["f1"]
    assert protocol_of("dense_meteor") == PROTOCOLS["dense_"] and protocol_of("bleu_4") == PROTOCOLS["bleu"]
    with pytest.raises(KeyError):
        protocol_of("f1_of_another_kind")


@pytest.mark.parametrize("dataset", DATA_SETS)
def test_the_columns_of_a_table_are_told(dataset, capsys):
    assert run("protocol", dataset) == 0
    told = capsys.readouterr().out
    heads = [line.split()[0] for line in told.splitlines()[2:] if not line.startswith(" ")]
    assert heads == list(DATA_SETS[dataset].table)
    assert told.count("  formula: ") == told.count("  equals: ") == len(heads)
    assert f"llava_v2xum {__version__}" in told


def test_published_rows_are_named_where_they_have_the_column(capsys):
    run("protocol", "videoxum")
    told = " ".join(capsys.readouterr().out.split())
    assert "published: v2xum-llm, table 2" in told and "(protocol not stated: ?)" in told
    run("protocol", "videoxum", "--all")
    assert "dense_meteor_2018" in capsys.readouterr().out


def test_a_report_s_card(tmp_path, capsys):
    world = make_world(tmp_path)
    annotations = world / "videoxum.json"
    arguments = ["--predictions", world / "good.jsonl", "--annotations", annotations, "--no-meteor", "--resamples", 0]
    assert run("videoxum", *arguments, "--tokenizer", "plain", "--seeds", 1, "--out", world / "r") == 0
    capsys.readouterr()
    assert run("protocol", "videoxum", "--report", world / "r", "--annotations", annotations) == 0
    card = capsys.readouterr().out.splitlines()
    whole = hashlib.sha256(annotations.read_bytes()).hexdigest()
    assert f"- sha256 of videoxum.json: {whole[:16]}" in card and "- data set: videoxum" in card
    assert any(line.startswith("- annotations: videoxum.json (videoxum)") for line in card)
    assert run("protocol", "tvsum", "--report", world / "r") == 2
    assert run("protocol", "videoxum", "--annotations", annotations) == 2
    assert run("protocol", "videoxum", "--report", world / "r", "--annotations", world / "good.jsonl") == 2
    assert "was scored against videoxum.json (videoxum)" in capsys.readouterr().err


def test_a_folder_s_digest_is_that_of_its_files(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    first = digest(tmp_path)
    (tmp_path / "b").rename(tmp_path / "c")
    assert len(first) == 16 and digest(tmp_path) != first
