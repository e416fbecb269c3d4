"""BERTScore by the bert-score package, with tiny real encoders."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llava_v2xum.evaluate.models.bertscores import BERTSCORE, BertScoreOptions, bertscore_measures

pytest.importorskip("bert_score")
NAMES = [metric.name for metric in BERTSCORE.metrics]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A BERT of three layers whose tokenizer knows no limit of length; its encoder takes 40 positions."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    vocabulary = [*SPECIAL, *LETTERS, *("##" + letter for letter in LETTERS), "man", "runs", "the", "dog", "."]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=40, **sizes)
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def scored(bert):
    def score(predictions, references, **options):
        chosen = BertScoreOptions(**{"model": str(bert), "num_layers": 2, "device": "cpu", **options})
        measures, notes = bertscore_measures(predictions, references, chosen)
        assert [measure.name for measure in measures] == list(NAMES)
        return {measure.name: measure.values for measure in measures}, notes

    return score


def greedy_matching(folder, hypothesis, reference, layer):
    """Zhang et al. 2020, eq. 1 without idf: mean best cosines of the tokens between [CLS] and [SEP], and F1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    vectors = []
    for text in (hypothesis, reference):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[layer][0]
        states = states.double().numpy()
        vectors.append(states / np.linalg.norm(states, axis=1, keepdims=True))
    cosines = vectors[0] @ vectors[1].T
    # the package matches the inner tokens against all tokens, [CLS] and [SEP] among them
    precision, recall = cosines.max(1)[1:-1].mean(), cosines.max(0)[1:-1].mean()
    return precision, recall, 2 * precision * recall / (precision + recall)


def test_greedy_matching_worked_again(bert, scored):
    predictions = {"b": "The dog runs.", "a": "the man runs."}
    references = {"a": ["A dog runs"], "b": ["the dog runs."]}
    values, notes = scored(predictions, references)
    expected = greedy_matching(bert, "the man runs.", "A dog runs", layer=2)
    assert [values[name][0] for name in NAMES] == pytest.approx(expected, abs=1e-5)
    assert [values[name][1] for name in NAMES] == pytest.approx([1, 1, 1], abs=1e-5)  # the reference, cased otherwise
    assert notes == (f"BERTScore: {bert.name}, layer 2, not rescaled, without idf weights",)
    other, _ = scored(predictions, references, num_layers=1)
    assert other["bertscore"][0] != values["bertscore"][0]


def test_the_best_reference_counts(scored):
    one = [scored({"a": "the man runs"}, {"a": [text]})[0] for text in ("a dog", "the man")]
    both, _ = scored({"a": "the man runs"}, {"a": ["a dog", "", "the man"]})
    for name in NAMES:
        assert both[name] == pytest.approx(np.maximum(one[0][name], one[1][name]), abs=1e-6)


def test_empty_texts_score_0_and_are_counted(scored):
    values, notes = scored({"a": " ", "b": "the man", "c": "a dog"}, {"a": ["x"], "b": ["the man"], "c": [""]})
    for name in NAMES:
        assert values[name] == pytest.approx([0, 1, 0], abs=1e-5)
    assert notes[-1] == "BERTScore: 2 of 3 texts are empty and score 0"
    nothing, notes = scored({"a": ""}, {"a": ["x"]})
    assert nothing["bertscore"].tolist() == [0]
    assert notes == ("BERTScore: 1 of 1 texts are empty and score 0",)


def test_long_texts_are_cut_and_counted(scored):
    long = "the dog runs " * 30
    values, notes = scored({"a": long, "b": "a man"}, {"a": [long + "a man"], "b": ["a man"]})
    assert values["bertscore"] == pytest.approx([1, 1], abs=1e-5)  # what differs is cut
    assert "BERTScore: 2 of 3 texts are cut at the model's 38 tokens" in notes


def test_rescaling(bert, scored, tmp_path):
    asked = {"a": "the man runs", "b": ""}, {"a": ["a dog"], "b": ["a dog"]}
    raw, _ = scored(*asked)
    baseline = tmp_path / "tiny.tsv"
    baseline.write_text("LAYER,P,R,F\n" + "".join(f"{layer},0.1,0.2,{layer / 10}\n" for layer in range(4)))
    values, notes = scored(*asked, rescale=True, baseline=str(baseline))
    for name, base in zip(NAMES, (0.1, 0.2, 0.2)):
        assert values[name] == pytest.approx([(raw[name][0] - base) / (1 - base), 0], abs=1e-5)
    assert "layer 2, rescaled with tiny.tsv" in notes[0]
    with pytest.raises(ValueError, match="no baseline to rescale"):
        scored(*asked, rescale=True)


def test_what_cannot_be_scored_is_told(bert, scored):
    with pytest.raises(ValueError, match="no tuned layer for the model.*give num_layers"):
        scored({"a": "x"}, {"a": ["x"]}, num_layers=None)
    with pytest.raises(ValueError, match="between 0 and 3"):
        scored({"a": "x"}, {"a": ["x"]}, num_layers=9)
    with pytest.raises(ValueError, match="must have the same ids, 2 do not: \\['a', 'b'\\]"):
        scored({"a": "x"}, {"b": ["x"]})
    with pytest.raises(OSError):
        bertscore_measures({"a": "x"}, {"a": ["x"]}, BertScoreOptions(model=str(bert / "nowhere"), num_layers=1))


def test_a_folder_named_as_a_known_model_has_its_layer(bert, scored, tmp_path):
    known = tmp_path / "distilbert-base-uncased"  # tuned: layer 5, which these weights do not have
    known.symlink_to(bert)
    with pytest.raises(ValueError, match="BERTScore with .*between 0 and 3"):
        scored({"a": "x"}, {"a": ["x"]}, num_layers=None, model=str(known))
    assert "layer 1" in scored({"a": "x"}, {"a": ["x"]}, num_layers=1, model=str(known))[1][0]


def test_a_path_with_t5_in_it_is_not_taken_for_a_t5(bert, scored, tmp_path):
    (tmp_path / "part5").symlink_to(bert)
    with pytest.raises(ValueError, match="for a T5's: give .*part5' another name"):
        scored({"a": "x"}, {"a": ["x"]}, model=str(tmp_path / "part5"))
