"""summaries.jsonl: what a kill may leave, and what is done."""

from __future__ import annotations

import json

import pytest

from llava_v2xum.results import ResultFolder


def record(video: str, task: str = "both") -> dict:
    return {"video": video, "task": task, "model": "m", "text": "ä"}


def test_appended_records_are_done(tmp_path):
    results = ResultFolder(tmp_path / "out")
    results.append(record("a.mp4"))
    again = ResultFolder(tmp_path / "out")
    assert again.is_done("a.mp4", "both", "m")
    assert not again.is_done("a.mp4", "text", "m")
    assert not again.is_done("b.mp4", "both", "m")
    assert not ResultFolder(tmp_path / "out", fresh=True).is_done("a.mp4", "both", "m")


def test_a_half_written_last_line_is_cut_off(tmp_path, caplog):
    results = ResultFolder(tmp_path)
    results.append(record("a.mp4"))
    whole = results.file.read_bytes()
    results.file.write_bytes(whole + json.dumps(record("b.mp4")).encode()[:20])
    again = ResultFolder(tmp_path)
    assert "half written" in caplog.text
    assert again.is_done("a.mp4", "both", "m") and not again.is_done("b.mp4", "both", "m")
    again.append(record("b.mp4"))
    assert [json.loads(line)["video"] for line in again.file.read_text().splitlines()] == ["a.mp4", "b.mp4"]


def test_a_foreign_file_is_refused_and_left_alone(tmp_path):
    (tmp_path / "summaries.jsonl").write_text('{"video": "a.mp4"}\n')
    with pytest.raises(ValueError, match=r"summaries\.jsonl:1: expected a summary record"):
        ResultFolder(tmp_path)
    assert (tmp_path / "summaries.jsonl").read_text() == '{"video": "a.mp4"}\n'


def test_an_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(NotADirectoryError, match="out"):
        ResultFolder(tmp_path / "out")
