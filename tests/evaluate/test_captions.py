"""Caption scores: COCO's figures with Java, stated ones without, and defined ones at every edge."""

from __future__ import annotations

import math

import numpy as np
import pytest
from caption_sets import PREDICTIONS, REFERENCES, needs_java
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.evaluate.metrics import java, meteor
from llava_v2xum.evaluate.metrics.captions import caption_measures, caption_scores, token_measures
from llava_v2xum.evaluate.metrics.java import JavaError
from llava_v2xum.evaluate.metrics.ngrams import bleu_measures, cider_measure, rouge_measure
from llava_v2xum.evaluate.metrics.tokenizers import COCO_PUNCTUATION, choose_tokenizer, tokenize

pytest.importorskip("pycocoevalcap.bleu.bleu")
words = st.lists(st.sampled_from("a b c d".split()), max_size=7).map(" ".join)
corpora = st.lists(st.tuples(words, st.lists(words.filter(bool), min_size=1, max_size=3)), min_size=2, max_size=5)


def by_name(measures):
    return {measure.name: measure for measure in measures}


def coco(hypotheses, references):
    """pycocoevalcap's own figures and values of everything but METEOR."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    given = dict(enumerate(references)), {number: [text] for number, text in enumerate(hypotheses)}
    figures, values = Bleu(4).compute_score(*given, verbose=0)
    found = {f"bleu_{n}": (figures[n - 1], values[n - 1]) for n in range(1, 5)}
    return found | {"rouge_l": Rouge().compute_score(*given), "cider": Cider().compute_score(*given)}


@pytest.fixture
def no_java(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


@needs_java
def test_with_java_the_figures_are_coco_s(monkeypatch):
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Dfile.encoding=UTF-8")  # pycocoevalcap leaves it to the machine
    theirs = PTBTokenizer()
    predictions = theirs.tokenize({video: [{"caption": text}] for video, text in PREDICTIONS.items()})
    references = theirs.tokenize({v: [{"caption": text} for text in several] for v, several in REFERENCES.items()})
    assert tokenize(list(PREDICTIONS.values()), "ptb") == [predictions[video][0] for video in PREDICTIONS]
    measures, notes = caption_measures(PREDICTIONS, REFERENCES, meteor=False)
    expected = coco([predictions[video][0] for video in REFERENCES], list(references.values()))
    assert [measure.name for measure in measures] == list(expected)
    for measure in measures:
        figure, values = expected[measure.name]
        assert measure.value == pytest.approx(figure, abs=1e-12)
        assert measure.values == pytest.approx(values, abs=1e-12)
        assert measure.values[[2, 6]].tolist() == [0, 0]  # the empty predictions
        assert 0 < measure.value < 10
    assert "PTB" in notes[0]
    assert notes[1:] == ("METEOR is absent: it was switched off", "2 of 7 predicted texts hold no words and score 0")


@needs_java
def test_all_together_with_java(quick_meteor):
    scores = caption_scores(PREDICTIONS, REFERENCES)
    assert list(scores) == ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider"]
    texts = [[PREDICTIONS[video], *several] for video, several in REFERENCES.items()]
    tokens = iter(tokenize([text for some in texts for text in some], "ptb"))
    words = [[next(tokens) for _ in some] for some in texts]
    hypotheses, tokens = [some[0] for some in words], [some[1:] for some in words]
    assert scores["meteor"] == meteor.meteor_measure(hypotheses, tokens).value > 0.2


def test_without_java(no_java):
    measures, notes = caption_measures(PREDICTIONS, REFERENCES)
    assert [measure.name for measure in measures] == ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"]
    assert "plain tokenizer, not PTB" in notes[0]
    assert notes[1] == "METEOR is absent: it needs Java"
    hypotheses = tokenize(list(PREDICTIONS.values()), "plain")
    expected = coco(hypotheses, [tokenize(several, "plain") for several in REFERENCES.values()])
    assert caption_scores(PREDICTIONS, REFERENCES) == pytest.approx(
        {name: figure for name, (figure, _) in expected.items()}, abs=1e-12
    )
    with pytest.raises(JavaError, match="METEOR 1.5 needs Java.*apt-get install"):
        caption_scores(PREDICTIONS, REFERENCES, meteor=True)
    with pytest.raises(JavaError, match="PTB tokenizer needs Java.*apt-get install"):
        caption_scores(PREDICTIONS, REFERENCES, tokenizer="ptb")


@pytest.mark.pinned
def test_golden_figures(no_java):
    """Worked by hand: v1 matches "a man runs" of "a man runs fast", v2 nothing."""
    scores = caption_scores({"v1": "A man runs.", "v2": "Dogs!"}, {"v1": ["A man runs fast."], "v2": ["Two cats sit"]})
    brevity = math.exp(1 - 7 / 4)
    assert scores["bleu_1"] == pytest.approx(3 / 4 * brevity, abs=1e-8)
    assert scores["bleu_2"] == pytest.approx(math.sqrt(3 / 4 * 2 / 2) * brevity, abs=1e-8)
    assert scores["bleu_3"] == pytest.approx((3 / 4) ** (1 / 3) * brevity, abs=1e-8)
    precision, recall, square = 1, 3 / 4, 1.2**2
    rouge = (1 + square) * precision * recall / (recall + square * precision)
    assert scores["rouge_l"] == pytest.approx(rouge / 2)
    # Every n-gram of v1 is in one reference of two: all weights are log 2. Cosines of 3/4, 2/3, 1/2 and 0 shared
    # n-grams, a length penalty of one bigram (sigma 6), times 10, the other video 0.
    cosines = 3 / math.sqrt(3 * 4) + 2 / math.sqrt(2 * 3) + 1 / math.sqrt(2)
    assert scores["cider"] == pytest.approx(10 * cosines / 4 * math.exp(-1 / 72) / 2)


@pytest.mark.pinned
@given(corpora)
@settings(max_examples=25, deadline=None)
def test_figures_and_resamples_are_pycocoevalcap_s(corpus):
    hypotheses, references = map(list, zip(*corpus))
    measures = by_name(token_measures(hypotheses, references, meteor=False))
    for name, (figure, values) in coco(hypotheses, references).items():
        assert measures[name].value == pytest.approx(figure, abs=1e-12)
        assert measures[name].values == pytest.approx(values, abs=1e-12)
    counts = np.random.default_rng(len(corpus)).multinomial(len(corpus), [1 / len(corpus)] * len(corpus), size=3)
    for row in counts:
        drawn = [video for video, times in enumerate(row) for _ in range(times)]
        again = coco([hypotheses[video] for video in drawn], [references[video] for video in drawn])
        for name in ("bleu_1", "bleu_4", "rouge_l"):
            assert measures[name].under(row[None]) == pytest.approx([again[name][0]], abs=1e-12)


@given(corpora, st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_videos_does_not_matter(corpus, random):
    hypotheses, references = map(list, zip(*corpus))
    order = random.sample(range(len(corpus)), len(corpus))
    before = by_name(token_measures(hypotheses, references, meteor=False))
    after = by_name(token_measures([hypotheses[v] for v in order], [references[v] for v in order], meteor=False))
    assert {n: m.value for n, m in after.items()} == pytest.approx({n: m.value for n, m in before.items()}, abs=1e-12)
    assert after["cider"].values == pytest.approx(before["cider"].values[order], abs=1e-12)


def test_the_order_is_that_of_the_references(no_java):
    measures, _ = caption_measures({"b": "a man", "a": "x"}, {"a": ["a man"], "b": ["a man"]})
    assert by_name(measures)["bleu_1"].values == pytest.approx([0, 1], abs=1e-6)


def test_cider_of_one_video_is_undefined(no_java):
    measures, notes = caption_measures({"v": "a man runs"}, {"v": ["a man runs"]})
    assert [measure.name for measure in measures] == ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l"]
    assert any("CIDEr is absent: it is undefined for one video" in note for note in notes)


def test_empty_predictions_are_misses():
    references = [["a man runs"], ["two dogs play here"]]
    for measure in token_measures(["", ""], references, meteor=False):
        assert measure.value == 0 and measure.values.tolist() == [0, 0]
    some = by_name(token_measures(["a man runs", ""], references, meteor=False))
    assert some["bleu_1"].value == pytest.approx(math.exp(1 - 7 / 3))  # the miss counts in the brevity penalty
    assert some["rouge_l"].value == pytest.approx(0.5)


def test_references_without_words():
    assert rouge_measure(["", "a"], [[""], [""]]).values.tolist() == [0, 0]  # pycocoevalcap gives the first 1
    bleu = bleu_measures(["", "a"], [[""], [""]])[0]
    assert bleu.values.tolist() == pytest.approx([0, 0]) and math.isnan(bleu.value)
    assert cider_measure(["", "a"], [[""], [""]]) is None


def test_the_plain_tokenizer():
    text = 'A well-known man\u2019s "dog" (Rex): 1,000 m in 3.5 s; isn\'t it?\nÉlève -- 50% & $2 \u2026 a_b [05]'
    expected = "a well-known man\u2019s dog rex 1,000 m in 3.5 s isn't it élève 50 % & $ 2 a_b 05"
    assert tokenize([text, "", " .,!? ", "U.S."], "plain") == [expected, "", "", "u s"]
    assert not COCO_PUNCTUATION & set(expected.split())


@needs_java
def test_ptb_keeps_a_text_one_line():
    separators = "\n \r \r\n \x0b \x0c \x1c \x1d \x1e \x85 \u2028 \u2029".split(" ")
    texts = [f"a{separator}b" for separator in separators] + ["", "\n", "(c)", ""]
    assert tokenize(texts, "ptb") == ["a b"] * len(separators) + ["", "", "-lrb- c -rrb-", ""]
    assert tokenize([], "ptb") == []


@needs_java
def test_ptb_writes_no_file_beside_its_jar(tmp_path, monkeypatch):
    asked = []
    run = java.subprocess.run
    monkeypatch.setattr(java.subprocess, "run", lambda *a, **k: asked.append(k["cwd"]) or run(*a, **k))
    assert tokenize(["A dog."], "ptb") == ["a dog"]
    assert asked and "site-packages" not in asked[0]


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ({"a": "x", "b": "y"}, {"a": ["x"]}, "1 predictions without a reference: 'b'"),
        ({}, {"a": ["x"]}, "1 references without a prediction: 'a'"),
        ({"a": "x"}, {"a": []}, "1 ids with an empty list of references: 'a'"),
        ({"a": "x"}, {"a": "x"}, "references of 'a' must be a list"),
        ({"a": None}, {"a": ["x"]}, "'a': expected text, got None"),
        ({"a": "x"}, {"a": ["x", 3]}, "'a': expected text, got 3"),
        ({"a": "\ud800"}, {"a": ["x"]}, "'a' is no valid Unicode"),
        ({}, {}, "at least one video"),
    ],
)
def test_what_cannot_be_scored_is_told(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        caption_scores(predictions, references)


def test_unknown_choices_are_told():
    with pytest.raises(ValueError, match="tokenizer must be one of auto, ptb, plain, got 'nltk'"):
        caption_scores({"a": "x"}, {"a": ["x"]}, tokenizer="nltk")
    with pytest.raises(ValueError, match="meteor must be 'auto', True or False, got 'yes'"):
        caption_scores({"a": "x"}, {"a": ["x"]}, meteor="yes")
    with pytest.raises(ValueError, match="tokenizer must be one of ptb, plain, got 'auto'"):
        tokenize(["a"], "auto")


def test_auto_is_plain_without_java(no_java):
    assert choose_tokenizer() == "plain"
    assert choose_tokenizer("ptb") == "ptb"
