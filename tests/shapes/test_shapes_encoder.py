"""The text encoder of the shapes world that ships with the package: small, readable, and it tells events apart."""

from __future__ import annotations

import json
import logging
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from llava_v2xum.evaluate.models.bertscores import (
    SHAPES,
    SHAPES_FOLDER,
    BertScoreOptions,
    bertscore_measures,
    load_scorer,
)
from llava_v2xum.shapes import COLORS, PLACES, sentence_of
from llava_v2xum.shapes import SHAPES as KINDS_OF_SHAPE

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = ["An empty background.", *(sentence_of(s, c, p) for s in KINDS_OF_SHAPE for c in COLORS for p in PLACES)]
OVER = 0.93  # the pipeline's threshold


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "shapes"))
    import train_shapes_encoder

    return train_shapes_encoder


@pytest.mark.pinned
def test_greedy_matching_tells_kinds_apart():
    """The definition of BERTScore itself, on the last layer, for sentences that differ in one word."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(SHAPES_FOLDER), AutoModel.from_pretrained(SHAPES_FOLDER).eval()

    def score(one: str, other: str) -> float:
        units = []
        for text in (one, other):
            with torch.no_grad():
                states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
            units.append(states / np.linalg.norm(states, axis=1, keepdims=True))
        cosines = units[0] @ units[1].T
        precision, recall = cosines.max(1)[1:-1].mean(), cosines.max(0)[1:-1].mean()
        return 2 * precision * recall / (precision + recall)

    red = "A red circle moves across the top."
    assert score(red, "a red circle is moving across the top") > OVER
    assert score(red, red) == pytest.approx(1, abs=1e-5)
    for other in ("A blue circle moves across the top.", "A red star moves across the top.",
                  "A red circle moves across the bottom.", "An empty background."):  # fmt: skip
        assert score(red, other) < 0.85


def test_all_pairs(script):
    """By the package: what two kinds' sentences score at most, and one kind's least."""
    pytest.importorskip("bert_score")
    scorer = load_scorer(BertScoreOptions(SHAPES, device="cpu"))
    assert scorer.num_layers == 2
    earlier, later = zip(*combinations(SENTENCES, 2))
    apart = scorer.score(list(earlier), list(later), batch_size=512)[2].numpy()
    assert len(apart) == 73 * 72 / 2
    assert 0 < apart.min() and apart.max() < 0.85
    forms = [(one, other) for kind in script.KINDS for one, other in combinations(script.forms_of(kind), 2)]
    alike = scorer.score(*map(list, zip(*forms)), batch_size=512)[2].numpy()
    assert alike.min() > 0.95


def test_evaluate_takes_it_by_name():
    pytest.importorskip("bert_score")
    options = BertScoreOptions(SHAPES, device="cpu")
    measures, notes = bertscore_measures({"a": SENTENCES[3]}, {"a": [SENTENCES[3]]}, options)
    assert measures[2].values == pytest.approx([1], abs=1e-5)
    assert notes == ("BERTScore: shapes, layer 2, not rescaled, without idf weights",)


@pytest.mark.pinned
def test_any_text_has_tokens():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SHAPES_FOLDER)
    assert tokenizer.tokenize("A red Circle!") == ["a", "red", "circle", "!"]
    assert tokenizer.tokenize("dog4") == ["d", "##o", "##g", "##4"]
    assert tokenizer.tokenize("日本") == ["[UNK]", "[UNK]"]
    assert not any("[UNK]" in tokenizer.tokenize(text) for text in SENTENCES)
    assert tokenizer.model_max_length == 64


def test_files_are_small_and_name_no_machine():
    assert sum(file.stat().st_size for file in SHAPES_FOLDER.iterdir()) < 0.6e6
    assert sorted(file.name for file in SHAPES_FOLDER.iterdir()) == [
        "config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt",
    ]  # fmt: skip
    for file in SHAPES_FOLDER.glob("*.json"):
        assert "_name_or_path" not in json.loads(file.read_text(encoding="utf-8"))


def test_the_script_makes_this_tokenizer(script, tmp_path):
    script.write_tokenizer(tmp_path)
    for name in ("vocab.txt", "tokenizer_config.json"):
        assert (tmp_path / name).read_text(encoding="utf-8") == (SHAPES_FOLDER / name).read_text(encoding="utf-8"), name


def test_precisions_are_those_of_the_package(script):
    """What is trained is what is measured: [S, S] against the definition, a sentence at a time."""
    import torch

    states = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 6, 4)))
    lengths = [6, 4, 5]
    mask = torch.tensor([[place < length for place in range(6)] for length in lengths])
    found, words = script.precisions(states, mask)
    assert words.shape == (4 + 2 + 3, 3)
    for i, j in np.ndindex(3, 3):
        one, other = (states[k, : lengths[k]].numpy() for k in (i, j))
        one, other = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (one, other))
        assert found[i, j].item() == pytest.approx((one @ other.T).max(1)[1:-1].mean())


def test_a_short_training_learns(script, tmp_path, monkeypatch, caplog):
    """The whole script in small: it writes a folder that loads, and from one seed always the same."""
    pytest.importorskip("bert_score")
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(script, "KINDS", script.KINDS[:14])
    for name in ("one", "two"):
        monkeypatch.setattr(sys, "argv", ["train_shapes_encoder.py", "--out", str(tmp_path / name), "--steps", "4"])
        script.main(script.parse_arguments())
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    assert "masked words of kinds never shown" in caplog.text
    assert "BERTScore at layer 2, two kinds, one or both never shown" in caplog.text
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one", "two"]
