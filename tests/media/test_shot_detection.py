"""Shots begin where the picture changes, on the clock of the frames."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from llava_v2xum.core.extras import MissingExtra
from llava_v2xum.media.shot_detection import shot_starts
from llava_v2xum.media.video import VideoError

pytest.importorskip("scenedetect", exc_type=ImportError)  # OpenCV asks for libGL

SCENES = ((200, 40, 40), (20, 60, 20), (250, 250, 250), (30, 40, 120), (220, 220, 60))


def write_film(path: Path, times: np.ndarray, cuts: list[int]) -> Path:
    """A film whose picture changes at the frames of those numbers; in between something moves, and it grows lighter."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, second in enumerate(times):
            image = np.full((192, 320, 3), SCENES[sum(number >= cut for cut in cuts) % len(SCENES)], np.uint8)
            image = np.clip(image.astype(int) + number // 4, 0, 255).astype(np.uint8)
            image[80:100, 2 * number % 280 : 2 * number % 280 + 20] = 128
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(second * 1000), Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def test_shots_begin_at_their_first_frames(tmp_path):
    film = write_film(tmp_path / "film.mp4", np.arange(150) / 25, [50, 55, 100])  # the second is of a fifth of a second
    assert shot_starts(film) == [0.0, 2.0, 2.2, 4.0, 6.0]


def test_of_a_film_whose_rate_varies_they_are_told_on_its_clock(tmp_path):
    times = np.concatenate([np.arange(50) / 25, 2.0 + np.arange(50) / 5])
    starts = shot_starts(write_film(tmp_path / "film.mkv", times, [25, 75]))
    assert starts[:3] == [0.0, 1.0, 7.0] and len(starts) == 4


def test_a_camera_that_is_swung_gives_no_shots(tmp_path):
    """Every frame differs much from the one before."""
    path, wall = tmp_path / "film.mp4", np.random.default_rng(0).integers(0, 255, (24, 240, 3), dtype=np.uint8)
    wall = np.kron(wall, np.ones((8, 8, 1), np.uint8))
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        for number in range(50):
            image = np.ascontiguousarray(wall[:, 32 * number : 32 * number + 320])
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode(None))
    assert shot_starts(path) == [0.0, 2.0]


def test_one_shot_and_none(tmp_path, monkeypatch):
    assert shot_starts(write_film(tmp_path / "film.mp4", np.arange(50) / 25, [])) == [0.0, 2.0]
    with pytest.raises(VideoError, match=r"gone\.mp4: no such file"):
        shot_starts(tmp_path / "gone.mp4")
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(MissingExtra, match=r"llava_v2xum\[edit\]"):
        shot_starts(tmp_path / "film.mp4")
