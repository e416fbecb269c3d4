"""Annotations by several people: of several files, or of one that has a video more than once."""

from __future__ import annotations

import json

import pytest
from evaluate_world import run
from published import captions, videoxum, vitt

from llava_v2xum.core.annotations import read_annotations, write_annotations
from llava_v2xum.evaluate.formats.references import load_references, together
from llava_v2xum.evaluate.reports.scores import read_report

pytestmark = pytest.mark.pinned

SCORING = ["--dense", "--no-meteor", "--tokenizer", "plain", "--resamples", 0, "--seeds", 1]
ONE = {
    "v_1": captions(duration=20.0, timestamps=[[0, 4], [8, 12]], sentences=["A man runs fast.", "He stops."]),
    "v_2": captions(duration=10.0, timestamps=[[0, 9]], sentences=["Two dogs play."]),
}
OTHER = {
    "v_1": captions(duration=20.5, timestamps=[[14, 20.5]], sentences=["A woman sings a song."]),
    "v_3": captions(duration=10.0, timestamps=[[5, 9]], sentences=["A cat sleeps."]),
}


def dumped(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path):
    return dumped(tmp_path / "val_1.json", ONE), dumped(tmp_path / "val_2.json", OTHER)


def scored(tmp_path, predictions, *annotations, dataset="activitynet-captions"):
    arguments = ["--predictions", predictions, "--annotations", *annotations, "--out", tmp_path / "report"]
    assert run(dataset, *arguments, *SCORING) == 0
    return read_report(tmp_path / "report")


def dense(tmp_path, videos):
    results = {
        video_id: [{"sentence": text, "timestamp": span} for text, span in zip(one["sentences"], one["timestamps"])]
        for video_id, one in videos.items()
    }
    return dumped(tmp_path / "p.json", {"results": results})


def test_each_person_s_own_answer_is_the_best_there_is(tmp_path, files):
    for said in ({**OTHER, **ONE}, {**ONE, **OTHER}):
        report = scored(tmp_path, dense(tmp_path, said), *files)
        assert len(report.video_ids) == 3
        for name in ("dense_f1", "dense_recall", "dense_precision", "dense_rouge_l", "rouge_l"):
            assert report.score("system", name).value == pytest.approx(1, abs=1e-6), name
        fact = "val_1.json (activitynet-captions), val_2.json (activitynet-captions), 1 of 3 videos by several people"
        assert report.facts["annotations"] == fact


def test_the_order_of_the_files_changes_no_figure(tmp_path, files):
    half = {"v_1": captions(timestamps=[[0, 5], [13, 20]], sentences=["A man runs.", "A woman sings."])}
    predictions = dense(tmp_path, half)
    first, second = (scored(tmp_path, predictions, *some) for some in (files, files[::-1]))
    for name in ("dense_f1", "dense_cider", "dense_bleu_1", "rouge_l", "bleu_1", "dense_recall@0.5"):
        assert first.score("system", name).value == pytest.approx(second.score("system", name).value), name
    alone = scored(tmp_path, predictions, files[0])
    assert alone.score("system", "rouge_l").value < first.score("system", "rouge_l").value * 3 / 2


def test_their_segments_are_two_annotators(tmp_path, files):
    annotations = together(load_references(files[0]).annotations, load_references(files[1]).annotations)
    assert [one.video_id for one in annotations] == ["v_1", "v_2", "v_3"]
    one = annotations[0]
    assert one.duration_seconds == 20.5 and [each.text for each in one.alternatives[0]] == ["A woman sings a song."]
    write_annotations(tmp_path / "a.jsonl", annotations)
    assert list(read_annotations(tmp_path / "a.jsonl")) == annotations
    frames = {"video_id": "v_1", "num_frames": 21, "clock": "samples", "frames": [*range(5), *range(8, 13)]}
    predictions = tmp_path / "p.jsonl"
    predictions.write_text(json.dumps(frames) + "\n")
    report = scored(tmp_path, predictions, *files)
    assert report.per_video["f1_max"][0] == 1 and report.per_video["f1"][0] == 0.5


def test_annotations_that_mark_parts_are_not_brought_together(tmp_path, files, capsys):
    paths = [dumped(tmp_path / f"{name}.json", [videoxum()]) for name in "ab"]
    predictions = dense(tmp_path, ONE)
    arguments = ["--predictions", predictions, "--annotations", *paths, "--out", tmp_path / "report"]
    assert run("videoxum", *arguments) == 1
    assert "b.json: video 'v_1': it is annotated twice, and only sentences" in capsys.readouterr().err
    arguments = ["--predictions", predictions, "--annotations", files[0], paths[0], "--out", tmp_path / "report"]
    assert run("activitynet-captions", *arguments) == 1
    told = "a.json: expected annotations of activitynet-captions (activitynet-captions), got videoxum; it is "
    assert told + "taken by evaluate videoxum --annotations, evaluate shapes" in capsys.readouterr().err


def test_vitt_s_annotators_are_all_references(tmp_path, capsys):
    path = tmp_path / "ViTT-annotations.json"
    said = [vitt(0, 4000, 9000), vitt(0, 6000, tag="Chapter")]
    path.write_text("".join(json.dumps(one) + "\n" for one in said))
    predictions = dumped(tmp_path / "p.json", {"FmTp": [{"timestamp": [0, 6], "caption": "Chapter 0"}]})
    report = scored(tmp_path, predictions, path, dataset="vitt")
    assert report.score("system", "dense_f1").value == pytest.approx(1)
    assert report.score("system", "dense_f1@0.9").value == pytest.approx(1)
    assert 0.3 < report.score("system", "rouge_l").value < 1
    assert "f1" not in report.per_video  # nobody tells how long the video is
    assert any("'FmTp': annotations[2] is the last section, whose end is not told" in note for note in report.notes)
