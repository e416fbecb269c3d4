"""TVSum's and SumMe's files, as published: what is read, and what is wrong with a video told by its reason."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from published import eccv16_video, summe_video, tvsum_video, write_eccv16, write_summe, write_tvsum_mat

from llava_v2xum.core.annotations import read_annotations
from llava_v2xum.data.convert import Accepted, Rejected, SourceError, eccv16, summe, tvsum
from llava_v2xum.data.convert.command import main
from llava_v2xum.data.convert.eccv16 import read_features

pytest.importorskip("h5py")
pytest.importorskip("scipy")
pytestmark = pytest.mark.pinned


def one_of(items):
    """The only item, an annotation."""
    [item] = items
    assert isinstance(item, Accepted), item
    return item


def reason_of(items):
    [item] = items
    assert isinstance(item, Rejected), item
    return item.video_id, item.reason


# eccv16


def test_an_eccv16_video_is_read_whole(tmp_path):
    path = write_eccv16(tmp_path / "a.h5", {"video_1": eccv16_video(video_name=b"Air_Force_One")})
    item = one_of(eccv16.read(path, 1.0))
    assert (item.annotation.video_id, item.annotation.duration_seconds, item.clipped) == ("video_1", None, 0)
    assert item.annotation.keyshots.to_record() == {
        "n_frames": 40,
        "picks": (0, 15, 30),
        "change_points": ((0, 19), (20, 39)),
        "user_summaries": (((0, 2), (39, 39)), ()),
        "scores": None,
        "mean_scores": (np.float32(0.1), 0.5, 0.25),
        "video_name": "Air_Force_One",
    }
    [(video_id, features)] = read_features(path)
    assert video_id == "video_1" and features.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_eccv16_videos_come_in_the_order_of_their_numbers(tmp_path):
    path = write_eccv16(tmp_path / "a.h5", {f"video_{number}": eccv16_video() for number in (10, 2, 1)})
    assert [item.annotation.video_id for item in eccv16.read(path, 1.0)] == ["video_1", "video_2", "video_10"]
    assert [item.place for item in eccv16.read(path, 1.0)] == [0, 1, 2]
    assert [video_id for video_id, _ in read_features(path)] == ["video_1", "video_2", "video_10"]


@pytest.mark.parametrize("without", ["features", "gtscore", "user_summary", "change_points", "n_frame_per_seg"])
def test_what_an_eccv16_file_may_lack(tmp_path, without):
    path = write_eccv16(tmp_path / "a.h5", {"video_1": eccv16_video(**{without: None})})
    keyshots = one_of(eccv16.read(path, 1.0)).annotation.keyshots
    assert (keyshots.change_points is None) == (without == "change_points")
    assert (keyshots.annotators == 0) == (without == "user_summary")
    assert (keyshots.mean_scores is None) == (without == "gtscore")
    assert (list(read_features(path)) == []) == (without == "features")


@pytest.mark.parametrize("width", [38, 43])
def test_a_user_summary_of_another_length_is_cut_or_padded_and_counted(tmp_path, width):
    summary = np.ones((2, width), np.float32)
    path = write_eccv16(tmp_path / "a.h5", {"video_1": eccv16_video(user_summary=summary)})
    item = one_of(eccv16.read(path, 1.0))
    assert item.clipped == 1
    assert item.annotation.keyshots.user_summary().sum(axis=1).tolist() == [min(width, 40)] * 2


def test_change_points_beyond_the_last_frame_are_cut_and_counted(tmp_path):
    video = eccv16_video(change_points=np.array([[0, 19], [20, 44]]), n_frame_per_seg=np.array([20, 25]))
    item = one_of(eccv16.read(write_eccv16(tmp_path / "a.h5", {"video_1": video}), 1.0))
    assert (item.clipped, item.annotation.keyshots.n_frame_per_segment) == (1, (20, 20))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"picks": None}, "missing: picks"),
        ({"n_frames": 40.5}, "n_frames must be a whole number, got 40.5"),
        ({"n_frames": 0}, "n_frames must be a positive integer, got 0"),
        ({"n_frames": "40"}, "n_frames must hold numbers, got |S2"),
        ({"picks": np.array([0, 15, 40])}, "picks must be frame numbers in 0..39, got 40"),
        ({"picks": np.array([0, 15.5, 30])}, "picks must hold whole numbers alone"),
        ({"picks": np.array([0, 15]), "features": None}, "mean_scores must have 2 numbers, got 3"),
        ({"picks": np.array([0, 15])}, "features must have 2 rows, one a pick, got 3"),
        ({"gtscore": np.array([1, np.nan, 1])}, "gtscore must hold finite numbers, and 1 are not"),
        ({"user_summary": np.ones((40, 2))}, "user_summary must be [annotators, 40 frames], got shape (40, 2)"),
        ({"user_summary": np.ones((2, 3))}, "user_summary must be [annotators, 40 frames], got shape (2, 3)"),
        ({"user_summary": np.full((2, 40), 2)}, "user_summary must hold 0 and 1 alone, got 2 in 80 places"),
        ({"user_summary": np.eye(2, 40) * 0.3}, "user_summary must hold 0 and 1 alone, got 0.3 in 2 places"),
        ({"user_summary": np.ones(40)}, "user_summary must have 2 dimensions, got shape (40,)"),
        ({"n_frame_per_seg": [20, 9]}, "n_frame_per_seg and change_points do not agree: [20, 9] and [20, 20]"),
        ({"n_frame_per_seg": [40]}, "n_frame_per_seg and change_points do not agree: [40] and [20, 20]"),
        ({"change_points": np.array([[0, 19, 1]])}, "change_points must be [S, 2], got 3 columns"),
        (
            {"change_points": np.array([[0, 18], [20, 39]]), "n_frame_per_seg": None},
            "change_points[1] must begin at frame 19, behind the last, got 20",
        ),
        ({"gtscore": None, "user_summary": None}, "expected user_summaries, scores or mean_scores, got none of them"),
    ],
)
def test_a_wrong_eccv16_video_is_rejected_with_its_reason(tmp_path, changes, reason):
    path = write_eccv16(tmp_path / "a.h5", {"video_1": eccv16_video(**changes)})
    assert reason_of(eccv16.read(path, 1.0)) == ("video_1", reason)


def test_a_group_in_place_of_a_data_set_is_rejected(tmp_path):
    path = write_eccv16(tmp_path / "a.h5", {"video_1": eccv16_video(picks=None), "video_1/picks": {}})
    assert reason_of(eccv16.read(path, 1.0)) == ("video_1", "picks must be a data set, got a group")


def test_hdf5_of_another_kind_is_named(tmp_path):
    path = write_eccv16(tmp_path / "a.h5", {"video_1": {"other": 1}})
    with pytest.raises(SourceError, match=r"a\.h5: expected HDF5 with a group for each video"):
        list(eccv16.read(path, 1.0))
    with pytest.raises(SourceError, match=r"b\.h5: cannot be read: No such file"):
        list(eccv16.read(tmp_path / "b.h5", 1.0))


def test_without_h5py_the_pip_command_is_told(tmp_path, capsys, monkeypatch):
    path = write_eccv16(tmp_path / "a.h5", {"video_1": eccv16_video()})
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert main(["eccv16", str(path), "--out", str(tmp_path / "out")]) == 1
    assert 'pip install "llava_v2xum[metrics]"' in capsys.readouterr().err


# TVSum


def test_a_tvsum_mat_is_read_at_every_15th_frame(tmp_path):
    video = tvsum_video()
    path = write_tvsum_mat(tmp_path / "a.mat", [video, tvsum_video("-esJrBWj2d8", 17, length=[[7]])])
    first, second = (item.annotation for item in tvsum.read(path, 1.0))
    assert (first.video_id, first.duration_seconds, second.video_id) == ("AwmHb44_ouw", 12.5, "-esJrBWj2d8")
    assert first.keyshots.to_record() == {
        "n_frames": 32,
        "picks": (0, 15, 30),
        "change_points": None,
        "user_summaries": (),
        "scores": ((1, 1, 1), (2, 2, 2), (3, 3, 3)),  # 15 is a multiple of the scores' period
        "mean_scores": tuple(video["gt_score"][0, [0, 15, 30]]),
        "video_name": None,
    }
    assert (second.keyshots.n_frames, second.keyshots.picks) == (17, (0, 15))


def test_a_tvsum_mat_may_have_frames_by_rows(tmp_path):
    turned = tvsum_video(user_anno=tvsum_video()["user_anno"].T)
    straight, other = (
        one_of(tvsum.read(write_tvsum_mat(tmp_path / name, [video]), 1.0)).annotation
        for name, video in [("a.mat", tvsum_video()), ("b.mat", turned)]
    )
    assert straight == other


@pytest.mark.parametrize(
    ("changes", "video_id", "reason"),
    [
        ({"video": [[1.5]]}, None, "video must hold whole numbers alone"),
        ({"video": np.zeros((2, 2), np.uint16)}, None, "video must have 1 dimensions, got shape (2, 2)"),
        ({"nframes": [[30]]}, "AwmHb44_ouw", "user_anno must have nframes = 30 scores, got shape (3, 32)"),
        ({"gt_score": np.ones((1, 30))}, "AwmHb44_ouw", "gt_score must have nframes = 32 scores, got 30"),
        ({"length": [[0]]}, "AwmHb44_ouw", "length must be a positive number of seconds, got 0.0"),
        ({"length": "4:30"}, "AwmHb44_ouw", "length must have 0 dimensions, got shape (4, 1)"),
    ],
)
def test_a_wrong_video_of_a_tvsum_mat_is_rejected_with_its_reason(tmp_path, changes, video_id, reason):
    path = write_tvsum_mat(tmp_path / "a.mat", [tvsum_video(**changes)])
    assert reason_of(tvsum.read(path, 1.0)) == (video_id, reason)


def test_a_tvsum_mat_of_another_kind_is_named(tmp_path):
    write_eccv16(tmp_path / "a.mat", {"tvsum50": {"video": 1, "length": 1, "nframes": 1, "user_anno": 1}})
    write_eccv16(tmp_path / "b.mat", {"tvsum50": {"video": 1}})
    write_summe(tmp_path, {"c": summe_video()})
    for name, message in [
        ("a.mat", "expected fields of as many references as there are videos"),
        ("b.mat", "expected a struct tvsum50 .*; missing: length, nframes, user_anno"),
        ("c.mat", "expected HDF5"),
        ("d.h5", "expected ydata-tvsum50-anno.tsv or ydata-tvsum50.mat, by the file's ending"),
    ]:
        with pytest.raises(SourceError, match=message):
            list(tvsum.read(tmp_path / name, 1.0))


def tsv(*lines) -> str:
    return "".join(f"{video_id}\t{category}\t{scores}\n" for video_id, category, scores in lines)


def test_tvsums_tsv_agrees_with_its_mat(tmp_path):
    video = tvsum_video()
    lines = [("AwmHb44_ouw", "VT", ",".join(f"{score:g}" for score in row)) for row in video["user_anno"]]
    (tmp_path / "a.tsv").write_text(tsv(*lines, ("b", "VT", "1,2"), ("b", "VT", "3,4")))
    first, second = (item.annotation for item in tvsum.read(tmp_path / "a.tsv", 1.0))
    from_mat = one_of(tvsum.read(write_tvsum_mat(tmp_path / "a.mat", [video]), 1.0)).annotation
    assert (first.video_id, first.duration_seconds) == ("AwmHb44_ouw", None)
    assert first.keyshots.scores == from_mat.keyshots.scores and first.keyshots.picks == from_mat.keyshots.picks
    assert second.keyshots.scores == ((1,), (3,)) and second.keyshots.n_frames == 2


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([("a", "VT", "1,2"), ("a", "VT", "1,2,3")], "line 2 has 3 scores, line 1 has 2"),
        ([("a", "VT", "1,x")], "line 1: the scores must be numbers parted by commas"),
        ([("a", "VT", "1,")], "line 1: the scores must be numbers parted by commas"),
        ([("a", "VT", "nan,2")], "scores[0] must hold finite numbers alone, got nan"),
    ],
)
def test_a_wrong_video_of_tvsums_tsv_is_rejected_with_its_reason(tmp_path, lines, reason):
    (tmp_path / "a.tsv").write_text(tsv(*lines))
    video_id, told = reason_of(tvsum.read(tmp_path / "a.tsv", 1.0))
    assert video_id == "a" and told.startswith(reason)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.tsv: expected one line an annotator, got an empty file"),
        (b"a\tVT\t1,2\na 1,2\n", r"a\.tsv:2: expected id, category and scores, parted by tabs, got 'a 1,2"),
        (b"\xff\tVT\t1\n", r"a\.tsv: expected text in UTF-8"),
    ],
)
def test_a_tsv_of_another_kind_is_named(tmp_path, content, message):
    (tmp_path / "a.tsv").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        list(tvsum.read(tmp_path / "a.tsv", 1.0))


# SumMe


def test_summes_folder_is_read_whole(tmp_path):
    folder = write_summe(tmp_path / "GT", {"Jumps": summe_video(), "Air_Force_One": summe_video(45)})
    (folder / "notes.txt").touch()
    second, first = (item.annotation for item in summe.read(folder, 1.0))
    assert (second.video_id, first.video_id, first.duration_seconds) == ("Air_Force_One", "Jumps", 1.28)
    assert first.keyshots.to_record() == {
        "n_frames": 32,
        "picks": (0, 15, 30),
        "change_points": None,
        "user_summaries": (((3, 5), (10, 11)), ((31, 31),)),
        "scores": None,
        "mean_scores": (0, 0, 0),
        "video_name": None,
    }
    assert second.keyshots.picks == (0, 15, 30) and second.keyshots.user_summary().shape == (2, 45)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"user_score": None}, "a.mat: missing: user_score"),
        ({"nFrames": 31}, "a.mat: user_score must have nFrames = 31 rows, got 32"),
        ({"video_duration": -1.0}, "a.mat: video_duration must be a positive number of seconds, got -1.0"),
        ({"gt_score": np.zeros((30, 1))}, "a.mat: gt_score must have nFrames = 32 scores, got 30"),
        ({"user_score": np.full((32, 2), np.nan)}, "a.mat: user_score must hold finite numbers, and 64 are not"),
    ],
)
def test_a_wrong_file_of_summe_is_rejected_with_its_reason(tmp_path, changes, reason):
    folder = write_summe(tmp_path / "GT", {"a": summe_video(**changes)})
    assert reason_of(summe.read(folder, 1.0)) == ("a", reason)


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file", b"x" * 400])
def test_a_file_of_summes_folder_that_is_no_matlab_file_is_rejected(tmp_path, content):
    (tmp_path / "a.mat").write_bytes(content)
    video_id, reason = reason_of(summe.read(tmp_path, 1.0))
    assert video_id == "a" and reason.startswith("a.mat: expected a MATLAB file")


# the command


def test_the_command_writes_annotations_and_no_training_entries(tmp_path, capsys):
    out = tmp_path / "out"
    h5 = write_eccv16(
        tmp_path / "a.h5", {"video_1": eccv16_video(), "video_2": eccv16_video(picks=None), "video_3": eccv16_video(43)}
    )
    mat = write_tvsum_mat(tmp_path / "t.mat", [tvsum_video()])
    folder = write_summe(tmp_path / "GT", {"Jumps": summe_video()})
    for name, source, count in [("eccv16", h5, 2), ("tvsum", mat, 1), ("summe", folder, 1)]:
        assert main([name, str(source), "--out", str(out)]) == 0
        captured = capsys.readouterr()
        assert captured.out.splitlines()[0].split() == ["file", "videos", "rejected", "clipped"]
        annotations = list(read_annotations(out / f"{source.stem}.annotations.jsonl"))
        assert [one.source for one in annotations] == [name] * count
        report = json.loads((out / f"{source.stem}.report.json").read_text())
        assert report["counts"]["entries"] == {} and report["counts"]["tasks_without_answer"] == 0
        assert "tasks" not in report["settings"]
        assert not (out / f"{source.stem}.json").exists()
    read_back = list(read_annotations(out / "t.annotations.jsonl"))
    assert read_back == [item.annotation for item in tvsum.read(mat, 1.0)]


def test_the_command_tells_of_a_stale_file_and_of_wrong_arguments(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "GT.json").write_text("[]")
    folder = write_summe(tmp_path / "GT", {"Jumps": summe_video()})
    assert main(["summe", str(folder), "--out", str(out)]) == 0
    assert "GT.json is an earlier run's" in capsys.readouterr().err
    assert main(["summe", str(folder / "Jumps.mat"), "--out", str(out)]) == 1
    assert "expected a folder of MATLAB files" in capsys.readouterr().err
    for arguments in (["eccv16", str(folder)], ["summe", str(folder), "--tasks", "both"]):
        with pytest.raises(SystemExit, match="2"):
            main([*arguments, "--out", str(out)])


def test_videos_are_found_by_the_name_that_the_file_tells(tmp_path, capsys):
    path = write_eccv16(
        tmp_path / "a.h5",
        {"video_1": eccv16_video(video_name=b"Jumps"), "video_2": eccv16_video(), "video_3": eccv16_video()},
    )
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("Jumps.mp4", "video_2.mp4"):
        (videos / name).touch()
    assert main(["eccv16", str(path), "--out", str(tmp_path / "out"), "--videos", str(videos)]) == 0
    kept = [one.video_id for one in read_annotations(tmp_path / "out" / "a.annotations.jsonl")]
    assert kept == ["video_1", "video_2"]
