"""A prediction that tells when its frames are shown is scored at their seconds; at an even rate nothing changes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from evaluate_world import CLIPS, make_world, run

from llava_v2xum.core.annotations import AnnotatedSentence, Annotation
from llava_v2xum.core.sampling import FrameSampling
from llava_v2xum.evaluate.formats.cases import Case, clocks_of
from llava_v2xum.evaluate.formats.predictions import PredictedSentence, Prediction
from llava_v2xum.evaluate.groups.v2t import v2t_rows
from llava_v2xum.evaluate.groups.v2v import v2v_rows
from llava_v2xum.evaluate.reports.scores import read_report
from llava_v2xum.shapes import make_clip

# 20 frames a second apart, then 100 at 25 a second: 24 seconds of 120 frames
VARYING = np.concatenate([np.arange(20.0), 20 + np.arange(100) / 25])[FrameSampling().sample(120)]


def perfect_answer(start, end):
    """What the world's annotation of [start, end] has as its answer: the frames that are shown then."""
    frames = np.flatnonzero((start <= VARYING) & (end >= VARYING)).tolist()
    return {"video_id": "a", "frames": frames, "frame_seconds": VARYING.tolist(), "duration_seconds": 24.0}


def annotation_of(start, end, duration=24.0):
    hot = tuple(int(start <= second <= end) for second in range(24))
    return Annotation("a", duration, "made-up", (AnnotatedSentence("A man runs.", (start, end)),), 24,
        selections=(hot,) * 2)  # fmt: skip


def f1_of(record, annotation, **changes):
    prediction = replace(Prediction.from_record({"num_frames": 100, **record}), **changes)
    (measure,) = [one for one in v2v_rows([Case(annotation, prediction)], seeds=0)["system"] if one.name == "f1"]
    return measure.values[0]


def test_a_perfect_answer_of_a_varying_rate_scores_what_is_right(tmp_path, capsys):
    """Of eleven seconds ten frames were sampled: second 11 has none of its own, and goes with second 10."""
    annotation = annotation_of(0, 10)
    assert f1_of(perfect_answer(0, 10), annotation) == pytest.approx(2 * 11 / (11 + 12))
    assert f1_of(perfect_answer(0, 10), annotation, clock="released") == pytest.approx(0.4286, abs=1e-4)
    for start, end in ((3, 9), (6, 8), (13, 18), (20, 23), (0, 23)):
        assert f1_of(perfect_answer(start, end), annotation_of(start, end)) >= 0.9
    hot = [list(row) for row in annotation.selections]
    entry = {"video_id": "a", "duration": 24.0, "sampled_frames": 24, "timestamps": [[0, 10]], "tsum": ["A man runs."],
        "vsum": [[[0, 10]] * 2], "vsum_onehot": hot}  # fmt: skip
    (tmp_path / "x.json").write_text(json.dumps([entry]))
    (tmp_path / "p.jsonl").write_text(json.dumps({"num_frames": 100, **perfect_answer(0, 10)}))
    files = ["--predictions", tmp_path / "p.jsonl", "--annotations", tmp_path / "x.json", "--out", tmp_path / "report"]
    options = ["--no-meteor", "--tokenizer", "plain", "--seeds", 2, "--resamples", 0]
    assert run("videoxum", *files, *options) == 0
    report = read_report(tmp_path / "report")
    assert report.score("system", "f1").value == pytest.approx(22 / 23)
    assert report.facts["clock"] == "frames, frame_seconds known of 1 of 1 videos"
    assert any("1 video ('a') with frames at a varying rate" in note for note in report.notes)
    assert run("videoxum", *files, *options, "--clock", "released") == 0
    report = read_report(tmp_path / "report")
    assert report.score("system", "f1").value == pytest.approx(0.4286, abs=1e-4)
    assert report.facts["clock"] == "released" and not any("varying" in note for note in report.notes)


def test_at_an_even_rate_no_figure_changes_by_a_bit(tmp_path):
    world, reports = make_world(tmp_path), []
    for name in ("good", "late"):
        records = [json.loads(line) for line in (world / f"{name}.jsonl").read_text().splitlines()]
        for index, record in enumerate(records):
            clip = make_clip(5, index)
            assert record["video_id"] == clip.video_id
            seconds = np.arange(round(clip.duration_seconds * clip.fps)) / clip.fps
            numbers = FrameSampling().sample(len(seconds))
            record.update(frame_seconds=seconds[numbers].tolist(), duration_seconds=clip.duration_seconds)
        (world / f"{name}_timed.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        for file in (name, f"{name}_timed"):
            files = ["--predictions", world / f"{file}.jsonl", "--annotations", world / "videoxum.json"]
            options = ["--out", tmp_path / "out", "--no-meteor", "--tokenizer", "plain", "--dense", "--resamples", 20]
            assert run("videoxum", *files, *options, "--system", "it", "--seeds", 2) == 0
            reports.append(read_report(tmp_path / "out"))
        plain, timed = reports[-2:]
        assert timed.facts["clock"] == f"frames, frame_seconds known of {CLIPS} of {CLIPS} videos"
        assert timed.rows == plain.rows and timed.notes == plain.notes
        assert json.dumps(timed.per_video) == json.dumps(plain.per_video)  # which NaN would not equal


def test_a_file_of_another_length_than_annotated_is_told():
    even = FrameSampling().sample(480) / 20
    prediction = Prediction("a", 100, (1,), frame_seconds=tuple(even.tolist()), duration_seconds=24.0)
    cases = [Case(annotation_of(0, 10, 30.0), prediction), Case(annotation_of(0, 10))]
    told = "1 video ('a') of a much other length than annotated, most of all 'a' (24.0 s, annotated 30.0 s): perhaps " \
        "other files, or cut ones"  # fmt: skip
    fact, notes = clocks_of(cases)
    assert notes[-1] == told and fact == "frames, frame_seconds known of 1 of 1 videos"
    fact, notes = clocks_of([Case(annotation_of(0, 10, 30.0), replace(prediction, clock="released"))])
    assert (fact, notes) == ("released", [told])
    assert clocks_of([Case(annotation_of(0, 10), prediction)])[1] == []
    samples = Prediction("a", 24, (1,), clock="samples")
    assert clocks_of([Case(annotation_of(0, 10), samples), Case(annotation_of(0, 10))]) == (None, [])


def test_sentences_without_seconds_have_those_of_their_frames(monkeypatch):
    asked = []

    def measures(predictions, references, **options):
        asked.extend((one.start_seconds, one.end_seconds) for some in predictions for one in some)
        return [], ()

    monkeypatch.setattr("llava_v2xum.evaluate.groups.v2t.dense_measures", measures)
    record = {**perfect_answer(0, 10), "num_frames": 100}
    record["sentences"] = [{"text": "A man runs.", "frames": record["frames"]}, {"text": "He stops.", "frames": [99]}]
    prediction = Prediction.from_record(record)
    assert prediction.sentences[1] == PredictedSentence("He stops.", (99,))
    v2t_rows([Case(annotation_of(0, 10), prediction)], dense=True, tokenizer="plain", meteor=False)
    assert asked == [(0.0, 12.0), (VARYING[99], 24.0)]  # until the next sampled frame, and the end
