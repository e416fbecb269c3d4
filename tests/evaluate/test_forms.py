"""Other systems' own prediction files: told apart, read, and scored; what is wrong is named."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from evaluate_world import run
from published import write_eccv16

from llava_v2xum.core.annotations import AnnotatedSentence, Annotation, write_annotations
from llava_v2xum.evaluate.formats.detect import holds
from llava_v2xum.evaluate.formats.format import PREDICTIONS
from llava_v2xum.evaluate.formats.format_registry import EXPORTS, PREDICTION_FORMATS
from llava_v2xum.evaluate.formats.prediction_files import load_predictions
from llava_v2xum.evaluate.reports.scores import read_report

pytest.importorskip("h5py")
pytestmark = pytest.mark.pinned

SCORING = ["--no-meteor", "--tokenizer", "plain", "--resamples", 0, "--seeds", 1]


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def dumped(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def log_line(video_id="v_1", answer=None, task="captioning"):
    events = [("A man runs.", "from 00 to 29"), ("A man runs.", "from 30 to 39"), ("He stops.", "from 70 to 99")]
    listed = json.dumps([{"event": event, "timestamps": times} for event, times in events])
    answer = f"Here is the JSON:\n{listed}" if answer is None else answer
    return {"video_id": video_id, "task": task, "query_id": 0, "answer": answer}


def told(name, path):
    """The predictions of a file that is told apart from all others."""
    assert holds(path) == (PREDICTIONS, name)
    found = load_predictions(path)
    assert {one: each.to_record() for one, each in load_predictions(path, name).items()} == {
        one: each.to_record() for one, each in found.items()
    }
    return found


def test_every_form_that_is_read_has_its_test_here_or_is_written_too():
    elsewhere = {"scores-csv", "lvsum-predictions"}
    assert set(PREDICTION_FORMATS) - set(EXPORTS) - elsewhere == {"timechat", "vtimellm", "qvhighlights-predictions"}


def test_vtimellm_s_log(tmp_path, caplog):
    other = log_line("v_2", "I cannot tell.")
    for name in ("log.txt", "log.jsonl"):
        found = told("vtimellm", lines(tmp_path / name, log_line(task="grounding"), log_line(), other))
        one = found["v_1"]
        # the second event says what the first does, and follows it
        assert [each.text for each in one.sentences] == ["A man runs.", "He stops."]
        assert one.num_frames == 100 and one.frames == (*range(40), *range(70, 100))
        assert (found["v_2"].frames, found["v_2"].sentences) == ((), ())
    assert "1 of 2 answers hold no list of events, such as that of 'v_2'" in caplog.text
    for answer, reason in [
        ('[{"event": "A", "timestamps": "0-5"}]', "expected timestamps such as 'from 00 to 29', got '0-5'"),
        ('[{"event": "A", "timestamps": "from 30 to 20"}]', "expected timestamps such as"),
        ('[{"event": "A"}]', "missing: timestamps"),
    ]:
        with pytest.raises(ValueError, match=rf"log.txt:1: video 'v_1': .*{reason}"):
            load_predictions(lines(tmp_path / "log.txt", log_line(answer=answer)))
    with pytest.raises(ValueError, match="video 'v_1': it is there twice"):
        load_predictions(lines(tmp_path / "log.txt", log_line(), log_line()))
    with pytest.raises(ValueError, match="expected lines of the task captioning, got none"):
        load_predictions(lines(tmp_path / "log.txt", log_line(task="grounding")))


def test_timechat_s_captions(tmp_path, caplog):
    content = {
        "v_1": [{"timestamp": [0.5, 2.0], "caption": "A man runs."}, {"timestamp": [9.0, 7.5], "caption": "He stops."}],
        "v_2": [],
    }
    found = told("timechat", dumped(tmp_path / "p.json", content))
    one = found["v_1"]
    assert [(each.text, each.start_seconds, each.end_seconds) for each in one.sentences] == [
        ("A man runs.", 0.5, 2.0),
        ("He stops.", 7.5, 9.0),
    ]
    assert (one.clock, one.num_frames, one.frames) == ("seconds", 10, (0, 1, 2, 7, 8, 9))
    assert (found["v_2"].frames, found["v_2"].text) == ((), "")
    assert "1 spans end before they start, such as one of 'v_1'" in caplog.text
    for wrong in ([-1, 2], [0, None], [0, 1e9]):
        entry = {"v_1": [{"timestamp": wrong, "caption": "A"}]}
        with pytest.raises(ValueError, match=r"p.json: video 'v_1': caption 0: timestamp must be \[start, end\]"):
            load_predictions(dumped(tmp_path / "p.json", entry), "timechat")


def test_spans_are_scored_as_frames_and_as_dense_captions(tmp_path, caplog):
    sentences = (AnnotatedSentence("A man runs.", (0, 29.5)), AnnotatedSentence("He stops.", (70.5, 99.0)))
    write_annotations(tmp_path / "a.jsonl", [Annotation("v_1", 99.5, "activitynet-captions", sentences)])
    spans = {"v_1": [{"timestamp": list(one.segment), "caption": one.text} for one in sentences]}
    files = {"timechat": dumped(tmp_path / "t.json", spans), "vtimellm": lines(tmp_path / "l.txt", log_line())}
    figures = {}
    for name, path in files.items():
        arguments = ["--predictions", path, "--annotations", tmp_path / "a.jsonl", "--out", tmp_path / name]
        assert run("activitynet-captions", *arguments, "--dense", *SCORING) == 0
        report = read_report(tmp_path / name)
        figures[name] = {key: report.score("system", key).value for key in ("f1", "dense_f1@0.5", "rouge_l")}
        assert not any("length" in note for note in report.notes)
    assert figures["timechat"] == pytest.approx({"f1": 1.0, "dense_f1@0.5": 1.0, "rouge_l": 1.0})
    # the merged event goes ten frames too far, the seconds of both overlap by 0.74 and more
    assert 0.85 < figures["vtimellm"]["f1"] < 0.95 and figures["vtimellm"]["dense_f1@0.5"] == pytest.approx(1.0)


def test_seconds_are_no_frames_of_keyshots(tmp_path):
    from published import eccv16_video

    annotations = write_eccv16(tmp_path / "a.h5", {"video_1": eccv16_video()})
    predictions = dumped(tmp_path / "p.json", {"video_1": [{"timestamp": [0, 1], "caption": "A"}]})
    arguments = ["--predictions", predictions, "--annotations", annotations, "--out", tmp_path / "report"]
    assert run("tvsum", *arguments, "--resamples", 0) == 1


def test_qvhighlights_predictions(tmp_path):
    entry = {
        "qid": 7,
        "query": "A dog.",
        "vid": "v_0.0_10.0",
        "pred_relevant_windows": [[2, 6, 0.9], [0, 10, 0.1]],
        "pred_saliency_scores": [-0.5, 0.5, 1.5],
    }
    for path in (lines(tmp_path / "p.jsonl", entry), dumped(tmp_path / "p.json", [entry])):
        one = told("qvhighlights-predictions", path)["7"]
        assert (one.clock, one.num_frames, one.frames) == ("seconds", 6, (2, 3, 4, 5))
        assert one.importance.tolist() == [-0.5, -0.5, 0.5, 0.5, 1.5, 1.5]
    scores = {key: entry[key] for key in ("qid", "pred_saliency_scores")}
    assert told("qvhighlights-predictions", lines(tmp_path / "p.jsonl", scores))["7"].frames is None
    windows = {"qid": "a", "pred_relevant_windows": [[1.5, 12.5]]}
    one = told("qvhighlights-predictions", lines(tmp_path / "p.jsonl", windows))["a"]
    assert (one.frames, one.importance) == (tuple(range(1, 13)), None)
    for changes, reason in [
        ({"qid": None}, "p.jsonl:1: qid must be text or an integer"),
        ({"pred_relevant_windows": [[6, 2]]}, r"query|video '7': pred_relevant_windows must be \[start, end\]"),
        ({"pred_saliency_scores": ["a"]}, "video '7': pred_saliency_scores must hold numbers"),
    ]:
        with pytest.raises(ValueError, match=reason):
            load_predictions(lines(tmp_path / "p.jsonl", {**entry, **changes}))
    with pytest.raises(ValueError, match="p.jsonl:1: missing: pred_relevant_windows or pred_saliency_scores"):
        load_predictions(lines(tmp_path / "p.jsonl", {"qid": 1}), "qvhighlights-predictions")


def test_scores_in_csv(tmp_path):
    path = written(tmp_path / "p.csv", "second,video_id,score\n0,a,0.5\n0,b,1\n1,a,0.25\n\n")
    found = told("scores-csv", path)
    assert {one: each.importance.tolist() for one, each in found.items()} == {"a": [0.5, 0.25], "b": [1.0]}
    assert found["a"].clock == "seconds"
    folder = tmp_path / "csv"
    folder.mkdir()
    written(folder / "a.csv", "0.5\n0.25\n1e-3\n")
    written(folder / "b.csv", "\ufeffFrame,Importance,note\r\n0,0.5,x\r\n1,1,\r\n")
    found = told("scores-csv", folder)
    assert (found["a"].importance.tolist(), found["a"].clock) == ([0.5, 0.25, 0.001], "samples")
    assert (found["b"].importance.tolist(), found["b"].clock) == ([0.5, 1.0], "video-frames")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "got an empty file"),
        ("video_id,score\n", "and one for each score, got 'video_id, score'"),
        ("score\n1\n", "expected a line that names the columns"),
        ("video_id,score,importance\na,1,1\n", "expected a line that names the columns"),
        ("video_id,frame,second,score\na,0,0,1\n", "at most one of sample, frame, second"),
        ("video_id,second,score\na,1,1\n", r"p.csv:2: expected second 0, .* without gaps, got '1'"),
        ("video_id,second,score\na,0,1\na,0.5,1\n", "p.csv:3: expected second 1"),
        ("video_id,score\na,nan\n", "p.csv:2: the score must be a finite number, got 'nan'"),
        ("video_id,score\na,much\n", "the score must be a finite number, got 'much'"),
        ("video_id,score\na\n", "p.csv:2: expected 2 cells, got 1"),
        ("video_id,score\n,1\n", "video_id must be text that is not empty"),
    ],
)
def test_csv_that_is_wrong_is_told(tmp_path, text, reason):
    with pytest.raises(ValueError, match=reason):
        load_predictions(written(tmp_path / "p.csv", text))


def test_hdf5_whose_key_is_scores(tmp_path):
    found = told("scores-h5", write_eccv16(tmp_path / "p.h5", {"video_1": {"scores": np.array([0.5, 1.0])}}))
    assert found["video_1"].importance.tolist() == [0.5, 1.0]
    both = write_eccv16(tmp_path / "p.h5", {"video_1": {"scores": np.ones(2), "score": np.ones(2)}})
    with pytest.raises(ValueError, match="the group must have one data set score or scores, got score, scores"):
        load_predictions(both)


def test_text_that_is_no_log_is_no_prediction_file(tmp_path):
    assert holds(written(tmp_path / "notes.txt", "hello\n")) is None
    with pytest.raises(ValueError, match=r"notes.txt: expected predictions, got a file named \.txt; if it has one of"):
        load_predictions(tmp_path / "notes.txt")


def test_raw_answers_are_exported_with_the_seconds_of_their_frames(tmp_path, caplog, capsys):
    answers = lines(tmp_path / "p.jsonl", {"video_id": "v_1", "answer": "A man runs [00, 01]. He stops [98, 99]."})
    out = tmp_path / "d.json"
    assert run("export", "dense-captions", answers, "--out", out) == 1 and not out.exists()
    assert "none of 2 sentences has a text and seconds; --annotations tells" in capsys.readouterr().err
    write_annotations(tmp_path / "a.jsonl", [Annotation("v_1", 50.0, "x", selections=[[1]])])
    assert run("export", "dense-captions", answers, "--annotations", tmp_path / "a.jsonl", "--out", out) == 0
    assert capsys.readouterr().out == f"{out}: 2 sentences written\n"
    assert json.loads(out.read_text())["results"] == {
        "v_1": [
            {"sentence": "A man runs.", "timestamp": [0.0, 1.0]},
            {"sentence": "He stops.", "timestamp": [49.0, 50.0]},
        ]
    }
    write_annotations(tmp_path / "b.jsonl", [Annotation("v_9", 50.0, "x", selections=[[1]])])
    assert run("export", "dense-captions", answers, "--annotations", tmp_path / "b.jsonl", "--out", out) == 1
    assert "b.jsonl: has none of the 1 predicted videos ('v_1')" in capsys.readouterr().err
    assert run("export", "coco-references", answers, "--annotations", answers, "--out", out) == 2
    known = lines(tmp_path / "k.jsonl", {"video_id": "v_1", "duration_seconds": 10, "answer": "A man runs [00, 09]."})
    assert run("export", "dense-captions", known, "--out", out) == 0
    assert json.loads(out.read_text())["results"]["v_1"][0]["timestamp"] == [0.0, 1.0]


def test_nothing_is_logged_of_files_that_are_whole(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    load_predictions(lines(tmp_path / "l.txt", log_line()))
    assert not caplog.records
