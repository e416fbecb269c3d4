"""summaries.jsonl: what a kill may leave, and what is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llava_v2xum.results import ResultFolder


def record(video: str, task: str = "both", frames: tuple[int, ...] = (1,), **more) -> dict:
    return {"video_id": Path(video).stem, "video": video, "task": task, "model": "m", "frames": frames, **more}


def done(results: ResultFolder, video: str, task: str = "both", formats=("json",)) -> bool:
    return results.is_done(Path(video), task, "m", formats)


def put(results: ResultFolder, video: str, *names: str, **more) -> None:
    folder = results.folder_of(Path(video).stem)
    folder.mkdir(exist_ok=True)
    for name in names or ("summary.json",):
        (folder / name).write_text("")
    results.append(record(video, **more))


def test_what_was_appended_is_done(tmp_path):
    put(ResultFolder(tmp_path / "out"), "/v/a.mp4")
    again = ResultFolder(tmp_path / "out")
    assert done(again, "/v/a.mp4")
    assert not done(again, "/v/a.mp4", "text")
    assert not done(again, "/v/b.mp4")
    assert not done(ResultFolder(tmp_path / "out", fresh=True), "/v/a.mp4")


def test_formats_that_are_missing_are_to_do(tmp_path):
    results = ResultFolder(tmp_path)
    put(results, "/v/a.mp4", "summary.json", "keyframes.png")
    assert done(results, "/v/a.mp4", formats=("json", "sheet"))
    assert not done(results, "/v/a.mp4", formats=("json", "clip"))
    put(results, "/v/b.mp4", "summary.json", frames=())
    assert done(results, "/v/b.mp4", formats=("json", "clip"))  # nothing is cited: there is no clip to make


def test_only_what_the_folder_holds_now_is_done(tmp_path):
    results = ResultFolder(tmp_path)
    put(results, "/v/a.mp4", task="both")
    put(results, "/v/a.mp4", task="text")
    assert done(results, "/v/a.mp4", "text") and not done(results, "/v/a.mp4", "both")


def test_another_video_of_the_same_name_is_refused(tmp_path):
    results = ResultFolder(tmp_path)
    put(results, "/v/a.mp4")
    with pytest.raises(ValueError, match="/w/a.mp4: .* holds the summary of /v/a.mp4"):
        done(results, "/w/a.mp4")


@pytest.mark.parametrize("fresh", [False, True])
def test_a_half_written_last_line_is_cut_off(tmp_path, caplog, fresh):
    results = ResultFolder(tmp_path)
    put(results, "/v/a.mp4")
    results.file.write_bytes(results.file.read_bytes() + json.dumps(record("/v/b.mp4")).encode()[:20])
    again = ResultFolder(tmp_path, fresh)
    assert "half written" in caplog.text
    put(again, "/v/b.mp4")
    assert [json.loads(line)["video"] for line in again.file.read_text().splitlines()] == ["/v/a.mp4", "/v/b.mp4"]


def test_odd_line_separators_in_an_answer_do_not_split_its_line(tmp_path):
    put(ResultFolder(tmp_path), "/v/a.mp4", answer="one\u2028two\x85three")
    assert done(ResultFolder(tmp_path), "/v/a.mp4")


def test_a_foreign_file_is_refused_and_left_alone(tmp_path):
    (tmp_path / "summaries.jsonl").write_text('{"video": "a.mp4"}\n')
    with pytest.raises(ValueError, match=r"summaries\.jsonl:1: expected a summary record"):
        ResultFolder(tmp_path)
    assert (tmp_path / "summaries.jsonl").read_text() == '{"video": "a.mp4"}\n'


def test_an_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(NotADirectoryError, match="out"):
        ResultFolder(tmp_path / "out")
