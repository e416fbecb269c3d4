"""QFVS's matching of shots by their concepts: by hand, against every matching, and by the command."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
from evaluate_world import run
from hypothesis import given, settings
from hypothesis import strategies as st
from published import write_qfvs

from llava_v2xum.core.annotations import Annotation
from llava_v2xum.evaluate.formats.references import load_references
from llava_v2xum.evaluate.metrics.concepts import agreements, concept_scores, shots_of
from llava_v2xum.evaluate.reports.scores import read_report

TAGS = ("Car,Food", "Car", "Sky,Tree", "", "Car,Food,Sky", "Sky")
SHOTS = [set(filter(None, line.split(","))) for line in TAGS]
SHOWN = st.lists(st.sets(st.sampled_from("abcd")), min_size=1, max_size=4)


def test_by_hand():
    """Shot 1 agrees with 5 by 2/3 and with 2 by 1/2, shot 3 with itself; the one that shows nothing with none.

    EgoVLPv2's semantic_evaluation.py gives the same three figures.
    """
    chosen, reference = [SHOTS[n] for n in (0, 2, 3)], [SHOTS[n] for n in (4, 1, 5, 2)]
    table = [[2 / 3, 1 / 2, 0, 0], [1 / 4, 0, 1 / 2, 1], [0, 0, 0, 0]]
    assert agreements(chosen, reference) == pytest.approx(np.array(table))
    assert concept_scores(chosen, reference) == pytest.approx((5 / 9, 5 / 12, 10 / 21))


@given(SHOWN, SHOWN)
@settings(max_examples=80, deadline=None)
def test_the_matching_is_the_best_of_all(chosen, reference):
    table = agreements(chosen, reference)
    table = table if len(chosen) <= len(reference) else table.T
    best = max(
        sum(table[row, column] for row, column in enumerate(order))
        for order in permutations(range(table.shape[1]), len(table))
    )
    precision, recall, f1 = concept_scores(chosen, reference)
    assert (precision, recall) == pytest.approx((best / len(chosen), best / len(reference)))
    assert f1 == pytest.approx(2 * best / (len(chosen) + len(reference)))


@given(SHOWN)
@settings(max_examples=30, deadline=None)
def test_the_reference_itself_scores_the_maximum_and_an_empty_shot_lifts_no_precision(reference):
    shown = [one for one in reference if one]
    if shown:
        assert concept_scores(shown, shown) == pytest.approx((1, 1, 1))
        assert concept_scores([*shown, set()], shown) == pytest.approx((len(shown) / (len(shown) + 1), 1, 2 * len(shown)
            / (2 * len(shown) + 1)))  # fmt: skip
    assert concept_scores([], reference) == concept_scores(reference, []) == (0, 0, 0)


def test_half_of_a_shots_seconds_choose_it():
    mask = np.array([1, 1, 0, 0, 0, 0, 1, 1, 1, 0], dtype=bool)
    assert shots_of(mask, 2).tolist() == [False, True]
    assert shots_of(mask[:4], 2).tolist() == [True, False]


@pytest.fixture
def oracle(tmp_path):
    folder = write_qfvs(tmp_path, Car_Food="5 2 6 3", Sky_Tree="3")
    (tmp_path / "Dense_per_shot_tags" / "P01" / "P01.txt").write_text("\n".join((*TAGS[:3], "", *TAGS[4:])) + "\n\n")
    return folder


def test_tags_are_read_and_kept(oracle):
    one, _ = load_references(oracle).annotations
    assert one.concepts == tuple(tuple(filter(None, line.split(","))) for line in TAGS)
    assert Annotation.from_record(json.loads(json.dumps(one.to_record()))) == one
    with pytest.raises(ValueError, match="concepts must be of shots that the 3 selected or other samples make togeth"):
        Annotation("v", 3.0, "x", selections=((0, 1, 1),), concepts=(("a",), ("b",)))
    with pytest.raises(ValueError, match=r"concepts\[0\] must be text"):
        Annotation("v", 3.0, "x", selections=((0, 1, 1),), concepts=((7,),))
    assert "concepts" not in Annotation("v", 3.0, "x", selections=((0, 1, 1),)).to_record()


def test_the_command_has_the_published_columns(oracle, tmp_path, capsys):
    seconds = [*range(5), *range(10, 20)]  # shots 1, 3 and 4
    said = {"video_id": "Car_Food_P01", "num_frames": 30, "frames": seconds, "clock": "seconds"}
    (tmp_path / "p.jsonl").write_text(json.dumps(said) + "\n")
    arguments = ["--predictions", tmp_path / "p.jsonl", "--annotations", oracle, "--resamples", 0, "--seeds", 2]
    assert run("qfvs", *arguments, "--out", tmp_path / "report") == 0
    report = read_report(tmp_path / "report")
    names = ("concept_precision", "concept_recall", "concept_f1")
    assert [report.per_video[name][0] for name in names] == pytest.approx([5 / 9, 5 / 12, 10 / 21])
    assert [report.per_video[name][1] for name in names] == [0, 0, 0]  # not predicted: a miss
    assert not any(name in report.rows["uniform"] for name in names)
    assert "Concept P  Concept R  Concept F1" in capsys.readouterr().out
