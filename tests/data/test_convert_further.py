"""The readers of YouCook2, ViTT, paragraphs, Shot2Story, QVHighlights, S-VideoXum and QFVS."""

from __future__ import annotations

import json

import numpy as np
import pytest
from published import highlight, vitt, write_eccv16, write_qfvs, youcook2

from llava_v2xum.data.convert import READERS, Accepted, Rejected, SourceError

pytest.importorskip("h5py")
pytestmark = pytest.mark.pinned


def read(name, path):
    return list(READERS[name].read(path, 1.0))


def dumped(path, *contents):
    path.write_text("".join(json.dumps(content) + "\n" for content in contents), encoding="utf-8")
    return path


def accepted(name, path):
    items = read(name, path)
    assert all(isinstance(item, Accepted) for item in items), items
    return [item.annotation for item in items]


def reason(name, path):
    [item] = read(name, path)
    assert isinstance(item, Rejected)
    return item.reason


def test_youcook2(tmp_path):
    path = tmp_path / "a.json"
    [one] = accepted("youcook2", dumped(path, youcook2()))
    assert (one.video_id, one.duration_seconds, one.source) == ("v1", 12.5, "youcook2")
    assert [(each.text, each.segment) for each in one.sentences] == [
        ("cut the onion", (2.0, 5.0)),
        ("fry it", (6.0, 9.0)),
    ]
    [item] = read("youcook2", dumped(path, youcook2(duration=8.5)))
    assert item.clipped == 1 and item.annotation.sentences[1].segment == (6.0, 8.5)
    assert "more than 1 s outside the video" in reason("youcook2", dumped(path, youcook2(duration=5)))
    assert reason("youcook2", dumped(path, youcook2(annotations=[{"segment": [1, 2]}]))) == "missing: sentence"
    with pytest.raises(SourceError, match="expected database, an object of videos by id, got an object of 0 items"):
        read("youcook2", dumped(path, {"database": {}}))


def test_vitt_has_no_end_of_the_last_section_and_no_length(tmp_path):
    path = dumped(tmp_path / "a.json", vitt(260, 16000, 23990), vitt(0))
    first, second = read("vitt", path)
    one = first.annotation
    assert (one.video_id, one.duration_seconds) == ("FmTp", None)
    assert [(each.text, each.segment) for each in one.sentences] == [
        ("Part 0", (0.26, 16.0)),
        ("Part 1", (16.0, 23.99)),
        ("Part 2", None),
    ]
    assert first.dropped == ("annotations[2] is the last section, whose end is not told",)
    assert second.annotation.sentences[0].segment is None
    assert "timestamp must be milliseconds from 0 on that ascend, got 5" in reason("vitt", dumped(path, vitt(9, 5)))
    with pytest.raises(SourceError, match=r"a.json: expected JSON lines of ViTT's annotations \(.*a.json:1"):
        path.write_text("[\n")
        read("vitt", path)


def test_texts_alone(tmp_path):
    path = tmp_path / "a.json"
    [one] = accepted("paragraphs", dumped(path, {"v_1": "A man runs. He stops."}))
    assert (one.video_id, one.duration_seconds, one.sentences[0].text) == ("v_1", None, "A man runs. He stops.")
    assert "text must be text that is not empty" in reason("paragraphs", dumped(path, {"v_1": ""}))
    entry = {"video": "x_1.mp4", "whole_caption": "A man cooks.", "captions": []}
    [one] = accepted("shot2story", dumped(path, [entry]))
    assert (one.video_id, one.duration_seconds, one.sentences[0].text) == ("x_1", None, "A man cooks.")
    assert reason("shot2story", dumped(path, [{**entry, "video": 1}])).startswith("video must be text")


def test_qvhighlights(tmp_path):
    path = tmp_path / "a.jsonl"
    [one] = accepted("qvhighlights", dumped(path, highlight()))
    assert (one.video_id, one.duration_seconds, one.sampled_frames) == ("7", 12.0, 12)
    assert one.selections == ((0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0),)
    assert np.array(one.saliency)[:, ::2].tolist() == [[0, 4, 3, 0, 0, 0], [0, 1, 4, 0, 0, 0], [0, 0, 2, 0, 0, 0]]
    assert type(one).from_record(json.loads(json.dumps(one.to_record()))) == one
    assert accepted("qvhighlights", dumped(path, highlight(duration=13)))[0].sampled_frames == 12
    for changes, expected in [
        ({"saliency_scores": None}, "missing: saliency_scores"),
        ({"relevant_clip_ids": [1, 6]}, "relevant_clip_ids must lie in 0..5, got 1..6"),
        ({"saliency_scores": [[1, 2, 3]]}, "saliency_scores must have one row for each of 2 clips, got 1"),
        ({"duration": 1}, "duration must be 2 seconds or more, got 1"),
        ({"qid": True}, "qid must be text or an integer, got True"),
    ]:
        assert reason("qvhighlights", dumped(path, highlight(**changes))) == expected


def test_s_videoxum(tmp_path):
    texts = np.ones((3, 2, 4), np.float32)
    texts[1] = 0  # no script
    scores = np.array([[0, 1, 0], [1, 1, 1], [0, 0, 1]], np.float32)
    path = tmp_path / "a.h5"
    many = accepted("s-videoxum", write_eccv16(path, {"v1": {"gtscores": scores, "text_embeddings": texts}}))
    assert [(one.video_id, one.selections, one.duration_seconds) for one in many] == [
        ("v1/0", ((0, 1, 0),), 3.0),
        ("v1/2", ((0, 0, 1),), 3.0),
    ]
    [one] = accepted("s-videoxum", write_eccv16(path, {"v1": {"gtscores": scores[0], "text_embeddings": texts[0]}}))
    assert (one.video_id, one.selections) == ("v1/0", ((0, 1, 0),))
    assert "gtscores must hold whole numbers" in reason("s-videoxum", write_eccv16(path, {"v1": {"gtscores": [0.5]}}))
    assert reason("s-videoxum", write_eccv16(path, {"v1": {"scores": [1]}})) == "the group must have gtscores"


def test_qfvs(tmp_path):
    [one, other] = accepted("qfvs", write_qfvs(tmp_path, Car_Food="1 3", Men_Sky="4"))
    assert (one.video_id, other.video_id, one.duration_seconds) == ("Car_Food_P01", "Men_Sky_P01", 20.0)
    assert np.flatnonzero(one.selections[0]).tolist() == [*range(5), *range(10, 15)]
    assert np.flatnonzero(other.selections[0]).tolist() == list(range(15, 20))
    folder = write_qfvs(tmp_path / "b", Car_Food="5")
    assert reason("qfvs", folder) == "Car_Food_oracle.txt: expected the number of a shot, 1 to 4, got '5'"
    (tmp_path / "b" / "Dense_per_shot_tags" / "P01" / "P01.txt").unlink()
    with pytest.raises(SourceError, match=r"P01.txt: cannot be read: No such file"):
        read("qfvs", folder)
    with pytest.raises(SourceError, match="expected the folder Oracle_Summaries"):
        read("qfvs", tmp_path)
