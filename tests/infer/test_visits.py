"""What visitors of the app bring and get: nothing outside of their own folders is to be had, and it goes in time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from llava_v2xum.infer.web.visits import Visits
from llava_v2xum.infer.web.work import check_length, take_in, without_folders
from llava_v2xum.media.video import VideoError
from llava_v2xum.shapes import DEMO_CLIP

pytestmark = pytest.mark.every_python


@pytest.fixture
def visits(tmp_path) -> Visits:
    (tmp_path / "secret").write_text("secret")
    return Visits(tmp_path / "visits", keep_seconds=60)


def test_a_visitor_gets_the_files_of_the_visit(visits):
    key, folder = visits.new()
    (folder / "summary" / "a b.txt").write_text("mine")
    assert visits.file(key, "summary/a b.txt") == folder / "summary" / "a b.txt"
    other, _ = visits.new()
    assert other != key and visits.file(other, "summary/a b.txt") is None


@pytest.mark.parametrize(
    "path",
    ["../../secret", "summary/../../../secret", "/etc/passwd", "summary//etc/passwd", "", "summary", ".hidden", "link",
     "summary/\x00", "..", "link/passwd", "folder/secret"],
)  # fmt: skip
def test_nothing_else_is_to_be_had(visits, tmp_path, path):
    key, folder = visits.new()
    (folder / ".hidden").write_text("hidden")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "folder").symlink_to(tmp_path)
    assert visits.file(key, path) is None


@pytest.mark.parametrize("key", ["", ".", "..", "../visits", "x" * 22, "x" * 21, "x" * 22 + "\n"])
def test_no_other_key_opens_anything(visits, key):
    _, folder = visits.new()
    (folder / "file").write_text("mine")
    assert visits.file(key, "file") is None


def test_visits_go_when_their_time_is_over(visits, tmp_path):
    (_, old), (_, new) = visits.new(), visits.new()
    (visits.root / "not one of them").mkdir()
    os.utime(old, (time.time() - 100, time.time() - 100))
    os.utime(visits.root / "not one of them", (0, 0))
    assert visits.delete_old() == 1
    assert not old.exists() and new.exists() and (visits.root / "not one of them").exists()
    assert visits.delete_old(now=time.time() + 60) == 1 and not new.exists()


def test_what_is_too_long_or_no_video_is_refused_by_its_name_alone(visits, tmp_path):
    _, folder = visits.new()
    video = take_in(DEMO_CLIP, folder)
    assert video.parent == folder / "upload" and video.read_bytes() == DEMO_CLIP.read_bytes()
    check_length(video, 29)
    with pytest.raises(VideoError, match=r"^demo\.mp4 lasts 0:28, and at most 0:20 is taken$"):
        check_length(video, 20)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"^bad\.mp4: is not a video"):
        check_length(take_in(tmp_path / "bad.mp4", folder), 20)
    assert without_folders(f"{video}: x, beside {video.parent}/y", video) == "demo.mp4: x, beside y"


def test_a_file_without_an_ending_is_taken_too(visits, tmp_path):
    _, folder = visits.new()
    (tmp_path / "film").write_bytes(DEMO_CLIP.read_bytes())
    assert take_in(Path(tmp_path / "film"), folder).name == "film.mp4"
