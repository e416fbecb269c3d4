"""summaries.jsonl: what a kill may leave, and what is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llava_v2xum.infer.results import Asked, OtherSummary, ResultFolder


def record(video: str, task: str = "both", frames: tuple[int, ...] = (1,), **more) -> dict:
    return {"video_id": Path(video).stem, "video": video, "task": task, "model": "m", "frames": frames, **more}


def done(results: ResultFolder, video: str, task: str = "both", formats=("json",)) -> bool:
    return results.is_done(Path(video), Asked(task, "m"), formats)


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
    with pytest.raises(OtherSummary, match="a holds the BOTH summary by m, and not the TEXT summary by m"):
        done(again, "/v/a.mp4", "text")
    with pytest.raises(OtherSummary, match="a holds the BOTH summary by m, and not the BOTH summary of video track 1"):
        again.is_done(Path("/v/a.mp4"), Asked("both", "m", track=1), ("json",))
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
    assert done(results, "/v/a.mp4", "text")
    with pytest.raises(OtherSummary):
        done(results, "/v/a.mp4", "both")
    (tmp_path / "a" / "summary.json").unlink()
    assert not done(results, "/v/a.mp4", "both")  # there is nothing to lose


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


def of_ranks(path, world_size: int = 2, **more) -> list[ResultFolder]:
    return [ResultFolder(path, rank=rank, world_size=world_size, **more) for rank in range(world_size)]


def videos_in(results: ResultFolder) -> list[str]:
    return [json.loads(line)["video"] for line in results.merged.read_text().splitlines()]


def test_ranks_write_files_of_their_own_and_the_merged_one_is_as_one_process_writes_it(tmp_path):
    order = [Path(f"/v/{name}.mp4") for name in "abcde"]
    alone, ranks = ResultFolder(tmp_path / "alone"), of_ranks(tmp_path / "ranks")
    for path in order:
        put(alone, str(path))
    for number in (1, 3, 0, 4, 2):
        put(ranks[number % 2], str(order[number]))
    assert not ranks[0].merged.exists()
    ranks[0].merge(order)
    assert ranks[0].merged.read_bytes() == alone.merged.read_bytes()
    assert sorted(path.name for path in (tmp_path / "ranks").glob("*.jsonl")) == ["summaries.jsonl"]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_what_any_number_of_ranks_left_is_done(tmp_path, world_size):
    for number, rank in enumerate(of_ranks(tmp_path, 4)):
        put(rank, f"/v/{number}.mp4")
    for results in of_ranks(tmp_path, world_size):
        assert all(done(results, f"/v/{number}.mp4") for number in range(4))
        assert not done(results, "/v/4.mp4")


def test_a_process_that_is_alone_merges_what_ranks_left(tmp_path):
    for number, rank in enumerate(of_ranks(tmp_path)):
        put(rank, f"/v/{number}.mp4")
    results = ResultFolder(tmp_path)
    put(results, "/v/2.mp4")
    assert sorted(videos_in(results)) == ["/v/0.mp4", "/v/1.mp4", "/v/2.mp4"]
    assert not list(tmp_path.glob("summaries.rank*"))


def test_a_merge_that_was_killed_before_it_had_cleared_up_is_finished(tmp_path):
    ranks = of_ranks(tmp_path)
    put(ranks[0], "/v/a.mp4")
    put(ranks[1], "/v/b.mp4")
    kept = {rank.file: rank.file.read_bytes() for rank in ranks}
    ranks[0].merge()
    for file, data in kept.items():
        file.write_bytes(data)
    assert videos_in(ResultFolder(tmp_path)) == ["/v/a.mp4", "/v/b.mp4"]


def test_of_two_ranks_records_of_one_video_the_later_counts(tmp_path, monkeypatch):
    times = iter([20.0, 10.0])
    monkeypatch.setattr("llava_v2xum.infer.results.time.time", lambda: next(times))
    ranks = of_ranks(tmp_path)
    put(ranks[0], "/v/a.mp4", task="text")
    put(ranks[1], "/v/a.mp4", task="video")
    assert done(ResultFolder(tmp_path, rank=2, world_size=3), "/v/a.mp4", "text")
    ranks[0].merge()
    assert done(ResultFolder(tmp_path), "/v/a.mp4", "text")


def test_a_rank_leaves_what_others_are_writing_alone(tmp_path, caplog):
    first, second = of_ranks(tmp_path)
    put(first, "/v/a.mp4")
    put(second, "/v/b.mp4")
    first.merged.write_bytes(b'{"torn')
    second.file.write_bytes(second.file.read_bytes() + b'{"saved": 1')
    data = second.file.read_bytes()
    assert done(ResultFolder(tmp_path, rank=0, world_size=2), "/v/b.mp4") and not caplog.text
    assert second.file.read_bytes() == data
    again = ResultFolder(tmp_path, rank=1, world_size=2)
    assert "half written" in caplog.text
    put(again, "/v/c.mp4")
    again.merge()
    assert videos_in(again) == ["/v/a.mp4", "/v/b.mp4", "/v/c.mp4"]


def test_a_foreign_rank_file_is_refused(tmp_path):
    (tmp_path / "summaries.rank07.jsonl").write_text('{"video": "a.mp4"}\n')
    with pytest.raises(ValueError, match=r"summaries\.rank07\.jsonl:1: expected a summary record"):
        ResultFolder(tmp_path, rank=0, world_size=2)
