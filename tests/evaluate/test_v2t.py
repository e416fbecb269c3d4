"""The V2T column: references by both rules, misses, videos without a text, all parts together, real answers."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from caption_sets import needs_java

from llava_v2xum.core.annotations import AnnotatedSentence, Annotation
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.evaluate.formats.cases import Case
from llava_v2xum.evaluate.formats.predictions import PredictedSentence, Prediction
from llava_v2xum.evaluate.groups.v2t import predicted_text, reference_text, v2t_rows
from llava_v2xum.evaluate.metrics.captions import caption_scores
from llava_v2xum.evaluate.metrics.measures import Measure
from llava_v2xum.evaluate.models import bertscores

pytest.importorskip("pycocoevalcap.bleu.bleu")
ANSWERS = Path(__file__).resolve().parents[3] / "shared" / "data" / "released_model_answers.jsonl"
PLAIN = {"tokenizer": "plain", "meteor": False}


def annotated(video_id, *texts, text=None, segments=None):
    segments = segments or [None] * len(texts)
    sentences = tuple(AnnotatedSentence(one, segment) for one, segment in zip(texts, segments))
    selections = None if sentences else ((0, 1),)
    return Annotation(video_id, 60.0, "made-up", sentences, text=text, selections=selections)


def predicted(video_id, text=None, sentences=None):
    return Prediction(video_id, 100, text=text, sentences=sentences)


def case(video_id, reference, text):
    return Case(annotated(video_id, reference), predicted(video_id, text))


def pre_caption(caption, max_words=100_000):
    """What jylins/videoxum's data/utils.py does, step by step."""
    caption = "".join(" " if letter in '.!"()*#:;~' else letter for letter in caption.lower())
    caption = re.sub("[ \t\n\r\f\v]{2,}", " ", caption).rstrip("\n").strip(" ")
    return " ".join(caption.split(" ")[:max_words])


def test_reference_rules():
    annotation = annotated("v", 'A man: "hello" (waves)!', " He's at 3.5 m; it ends ~", "Done")
    assert reference_text(annotation) == 'A man: "hello" (waves)! He\'s at 3.5 m; it ends ~ Done'
    assert reference_text(annotation, "videoxum") == "a man hello waves he's at 3 5 m it ends done"
    # the script joins with nothing between: without a stop or a blank two words become one
    glued = annotated("v", "He runs", "Then he stops.")
    assert reference_text(glued, "videoxum") == "he runsthen he stops"
    assert reference_text(glued) == "He runs Then he stops."
    for one in (annotation, glued):
        assert reference_text(one, "videoxum") == pre_caption("".join(s.text for s in one.sentences))
    whole = annotated("v", "One.", text="A whole text.")
    assert reference_text(whole) == "A whole text."
    assert reference_text(whole, "videoxum") == "one"
    assert reference_text(annotated("v", text="A Text!"), "videoxum") == "a text"
    assert reference_text(annotated("v")) is None
    with pytest.raises(ValueError, match="rule must be one of plain, videoxum, got 'coco'"):
        reference_text(annotation, "coco")


def test_predicted_text():
    sentences = (PredictedSentence("A man runs. "), PredictedSentence(""), PredictedSentence("He stops."))
    assert predicted_text(predicted("v", "As it is.", sentences)) == "As it is."
    assert predicted_text(predicted("v", None, sentences)) == "A man runs. He stops."
    assert predicted_text(predicted("v", "")) == ""
    assert predicted_text(predicted("v")) is None
    assert predicted_text(None) is None


def test_misses_count_and_videos_without_a_text_do_not():
    cases = [
        case("a", "A man runs fast.", "A man runs fast."),
        Case(annotated("b", "Two dogs play here."), None),
        Case(annotated("c"), predicted("c", "Something else altogether.")),
        case("d", "She sits on a chair.", None),
        case("e", "Three cats sleep now.", ""),
    ]
    rows, notes = v2t_rows(cases, **PLAIN)
    assert list(rows) == ["system"]
    measures = {measure.name: measure for measure in rows["system"]}
    assert list(measures) == ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"]
    for measure in measures.values():
        assert measure.values.tolist() == pytest.approx([measure.values[0], 0, math.nan, 0, 0], nan_ok=True)
    assert measures["rouge_l"].value == pytest.approx(1 / 4)
    texts = {"a": "A man runs fast.", "b": "", "d": "", "e": ""}
    references = {one.annotation.video_id: [reference_text(one.annotation)] for one in cases if one is not cases[2]}
    assert {n: m.value for n, m in measures.items()} == pytest.approx(caption_scores(texts, references, **PLAIN))
    assert "reference texts by the rule plain" in notes
    assert "1 videos have no annotated text and are not scored in V2T" in notes
    assert "1 of 4 videos are predicted without text and score as misses in V2T" in notes
    assert "1 of 4 predicted texts hold no words and score 0" in notes
    # a resample of nothing but videos without a text has no figure
    only_c = np.array([[0, 0, 3, 0, 0]])
    assert all(math.isnan(measure.under(only_c)[0]) for measure in rows["system"])


def test_the_reference_rule_reaches_the_scores():
    cases = [case("a", "He runs", "he runs"), case("b", "(Two) dogs", "two dogs")]
    cases[0] = Case(annotated("a", "He runs", "Fast"), cases[0].prediction)
    plain = {m.name: m.value for m in v2t_rows(cases, **PLAIN)[0]["system"]}
    videoxum = {m.name: m.value for m in v2t_rows(cases, reference_rule="videoxum", **PLAIN)[0]["system"]}
    assert plain["bleu_1"] == pytest.approx(math.exp(1 - 5 / 4), abs=1e-6)  # he runs fast
    assert videoxum["bleu_1"] == pytest.approx(3 / 4, abs=1e-6)  # he runsfast


def test_nothing_to_score_is_told():
    assert v2t_rows([Case(annotated("a"), predicted("a", "x"))]) == (
        {"system": []},
        ("no annotation has a text summary: V2T is not scored",),
    )
    assert v2t_rows([case("a", "x", None), Case(annotated("b", "y"), None)]) == (
        {"system": []},
        ("no prediction has a text summary: V2T is not scored",),
    )
    with pytest.raises(ValueError, match="reference rule must be one of"):
        v2t_rows([case("a", "x", "x")], reference_rule="coco")


def test_dense_captions_and_progress():
    told = []

    def progress(parts):
        for part in parts:
            told.append(part)
            yield part

    answer = (PredictedSentence("A man runs fast.", (), 0.0, 10.0), PredictedSentence("He stops here now."))
    cases = [
        Case(
            annotated("a", "A man runs fast.", "He stops here now.", segments=[(0, 10), (20, 30)]),
            predicted("a", sentences=answer),
        ),
        Case(annotated("b", "No seconds here."), predicted("b", sentences=answer)),
        Case(annotated("c", "Missed.", segments=[(0, 10)]), None),
    ]
    rows, notes = v2t_rows(cases, dense=True, progress=progress, **PLAIN)
    values = {measure.name: measure.values for measure in rows["system"]}
    assert told == ["captions", "dense captions"]
    assert values["dense_recall"].tolist() == pytest.approx([0.5, math.nan, 0], nan_ok=True)
    assert values["dense_precision"].tolist() == pytest.approx([0.5, math.nan, 0], nan_ok=True)
    assert values["dense_rouge_l"].tolist() == pytest.approx([0.5, math.nan, 0], nan_ok=True)
    assert "2 of 4 predicted sentences have neither seconds nor frames and overlap nothing" in notes
    assert not any("index" in note for note in notes)
    nowhere = Case(cases[0].annotation, predicted("a", sentences=answer[1:]))
    for one, side in ((nowhere, "prediction has sentences with seconds or frames"),
                      (cases[1], "annotation has sentences with seconds")):  # fmt: skip
        _, notes = v2t_rows([one], dense=True, **PLAIN)
        assert f"no {side}: dense captions are not scored" in notes


def dense_events(monkeypatch, *cases):
    """The predicted events that dense captions are asked for, and the notes."""
    asked = []

    def measures(predictions, references, **options):
        asked.extend([[(one.start_seconds, one.end_seconds) for one in some] for some in predictions])
        return [], ()

    monkeypatch.setattr("llava_v2xum.evaluate.groups.v2t.dense_measures", measures)
    return asked, v2t_rows(cases, dense=True, **PLAIN)[1]


def test_sentences_without_seconds_have_those_of_their_frames(monkeypatch):
    annotation = annotated("a", "He runs.", segments=[(0, 60)])  # 60 s
    sentences = (
        PredictedSentence("He runs.", (12, 3, 4)),
        PredictedSentence("To the end.", (99,)),
        PredictedSentence("It says when.", (50,), 1.5, 2.5),
        PredictedSentence("Nowhere."),
    )
    asked, notes = dense_events(monkeypatch, Case(annotation, Prediction("a", 100, sentences=sentences)))
    # not frame by frame: one segment, from index 3 (from its beginning) to 12 (to its end), 0.6 s each
    # a moment for the last, which overlaps nothing
    expected = [(3 / 100 * 60, 13 / 100 * 60), (99 / 100 * 60, 60), (1.5, 2.5), (0, 0)]
    assert np.array(asked[0]) == pytest.approx(np.array(expected))
    assert asked[0][1][1] <= 60
    assert any(note.startswith("2 of 4 predicted sentences have no seconds: from the first index i") for note in notes)
    assert "1 of 4 predicted sentences have neither seconds nor frames and overlap nothing" in notes


def test_on_the_samples_clock_an_index_is_a_second(monkeypatch):
    short = Annotation("a", 2.5, "made-up", (AnnotatedSentence("He runs.", (0, 2.5)),), sampled_frames=3)
    sentences = (PredictedSentence("He runs.", (0, 1)), PredictedSentence("He stops.", (2,)))
    asked, _ = dense_events(monkeypatch, Case(short, Prediction("a", 3, sentences=sentences, clock="samples")))
    assert asked == [[(0, 2), (2, 2.5)]]


@pytest.mark.parametrize(("num_frames", "duration"), [(100, 61.58), (100, 7.3), (8, 233.4), (7, 0.9)])
def test_cited_seconds_are_labelled_with_the_frames_that_cite_them(monkeypatch, num_frames, duration):
    annotation = Annotation("a", duration, "made-up", (AnnotatedSentence("He runs.", (0, duration)),))
    sentences = tuple(PredictedSentence("x", (index,)) for index in range(num_frames))
    asked, _ = dense_events(monkeypatch, Case(annotation, Prediction("a", num_frames, sentences=sentences)))
    clock = Timeline(num_frames)
    assert [clock.index_at(start, duration) for start, _ in asked[0]] == list(range(num_frames))
    ends = [end for _, end in asked[0]]
    assert ends == pytest.approx([start for start, _ in asked[0][1:]] + [duration]) and ends[-1] <= duration


def test_bertscore_is_asked_for_the_same_texts(monkeypatch):
    asked = []

    def measures(predictions, references, options):
        asked.append((predictions, references, options))
        return [Measure("bertscore", np.array([0.5, 0.0]))], ("by a model",)

    monkeypatch.setattr("llava_v2xum.evaluate.groups.v2t.bertscore_measures", measures)
    options = bertscores.BertScoreOptions("tiny", 2)
    cases = [case("a", "A man.", "A dog."), Case(annotated("n"), None), Case(annotated("b", "Two."), None)]
    rows, notes = v2t_rows(cases, bertscore=options, **PLAIN)
    assert asked == [({"a": "A dog.", "b": ""}, {"a": ["A man."], "b": ["Two."]}, options)]
    assert rows["system"][-1].values.tolist() == pytest.approx([0.5, math.nan, 0], nan_ok=True)
    assert notes[-1] == "by a model"


@pytest.fixture(scope="module")
def real_cases():
    if not ANSWERS.is_file():
        pytest.skip(f"{ANSWERS} is not here")
    cases = []
    for line in ANSWERS.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        segments = [tuple(min(second, one["duration"]) for second in span) for span in one["reference_timestamps"]]
        sentences = map(AnnotatedSentence, one["reference_sentences"], segments)
        annotation = Annotation(one["video_id"], one["duration"], "activitynet-captions", tuple(sentences))
        raw = {key: one[key] for key in ("video_id", "answer")}
        cases.append(Case(annotation, Prediction.from_record(raw)))
    return cases


@pytest.mark.parametrize("rule", ["plain", "videoxum"])
def test_real_answers_without_java(real_cases, rule, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    rows, notes = v2t_rows(real_cases, reference_rule=rule)
    check_real(rows["system"], ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"], len(real_cases))
    assert "METEOR is absent: it needs Java" in notes


def test_real_answers_as_dense_captions(real_cases):
    rows, notes = v2t_rows(real_cases, dense=True, **PLAIN)
    measures = {measure.name: measure for measure in rows["system"]}
    for name in ("dense_precision", "dense_recall", "dense_f1", "dense_rouge_l"):
        assert 0 < measures[name].value < 0.5, name
    assert any("predicted sentences have no seconds: from the first index" in note for note in notes)


@needs_java
def test_real_answers_with_java(real_cases, quick_meteor):
    rows, notes = v2t_rows(real_cases[:60])
    names = ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider"]
    check_real(rows["system"], names, 60)
    assert not any("absent" in note for note in notes)


def check_real(measures, names, count):
    assert [measure.name for measure in measures] == names
    for measure in measures:
        assert measure.values.shape == (count,) and np.isfinite(measure.values).all()
        assert 0 < measure.value < (10 if measure.name == "cider" else 1)
    values = [measure.value for measure in measures]
    assert values[:4] == sorted(values[:4], reverse=True)
