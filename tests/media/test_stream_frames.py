"""Frames come one at a time, and what is neither tone-mapped nor deinterlaced is told."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from llava_v2xum.core.timeline import Timeline
from llava_v2xum.media import reading
from llava_v2xum.media.reading import Request, read, read_parts, thumbnails
from llava_v2xum.media.video import Video, read_frames, read_video, stream_frames

pytestmark = pytest.mark.pinned


def film(
    path: Path,
    count: int = 60,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    **colours: int,
) -> Path:
    """A film of grey frames, each of another grey; `colours` is what the file says of its colours."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options=options or {"preset": "ultrafast", "g": "15"})
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        for name, value in colours.items():
            setattr(stream.codec_context, name, value)
        for number in range(count):
            picture = np.full((size[1], size[0], 3), 4 * number % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def whole(path: Path, part: int = 7, thumbs: bool = True) -> tuple[Video, list[np.ndarray]]:
    return read(Request(path, Timeline(30), part, thumbs), np.copy)


def test_parts_are_the_frames_in_their_order(tmp_path):
    path = film(tmp_path / "a.mp4", size=(640, 360))
    video = read_video(path, Timeline(30))
    made, parts = whole(path)
    np.testing.assert_array_equal(np.concatenate(parts), video.frames)
    assert [len(part) for part in parts] == [7, 7, 7, 7, 2]
    np.testing.assert_array_equal(made.frames, thumbnails(video.frames))
    made, parts = whole(path, part=0, thumbs=False)
    assert len(made.frames) == 0 and parts == []


def test_large_frames_come_in_smaller_parts(tmp_path, monkeypatch):
    path = film(tmp_path / "a.mp4")
    monkeypatch.setattr(reading, "PART_BYTES", 3 * 64 * 48 * 3 + 1)
    assert {len(part) for part in whole(path)[1]} == {3}
    monkeypatch.setattr(reading, "PART_BYTES", 1)
    assert {len(part) for part in whole(path)[1]} == {1}


def test_no_more_than_a_part_of_large_frames_is_in_memory(tmp_path):
    path = film(tmp_path / "large.mp4", 40, (2048, 1080))
    whole(path)  # what is loaded at first use does not count
    tracemalloc.start()
    for part in read_parts(Request(path, Timeline(30), 32, True)):
        del part
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    frame = 2048 * 1080 * 3
    assert peak < 2 * reading.PART_BYTES + 6 * frame < 30 * frame, peak / frame


def test_what_came_before_a_second_reading_is_void(tmp_path):
    """A packet in the middle is spoiled: frames before it have come when that is seen."""
    path = film(tmp_path / "a.mp4", 120, options={"g": "10", "preset": "ultrafast"})
    stored = path.read_bytes()
    box = stored.index(b"mdat")
    middle = box + (len(stored) - box) // 2
    for place in range(middle, middle + 2000, 50):  # to one of which packets do not tell before they are decoded
        spoiled = bytes(byte ^ 0xFF for byte in stored[place : place + 8])
        path.write_bytes(stored[:place] + spoiled + stored[place + 8 :])
        frames = stream_frames(path, lambda s: Timeline(30).frame_numbers(s))
        began = [came for came in frames if isinstance(came, int)]
        if len(began) > 1:
            break
    assert began == [30, 30]
    video = read_video(path, Timeline(30))
    made, parts = whole(path)
    assert "damaged" in video.warnings[0] and made.warnings == video.warnings
    np.testing.assert_array_equal(np.concatenate(parts), video.frames)


def test_frames_come_as_they_were_chosen(tmp_path):
    path = film(tmp_path / "a.mp4", 60)
    numbers = np.array([40, 3, 3, 59, 0])
    greys = read_frames(path, lambda seconds: numbers).frames[:, 9, 9, 0].astype(int)
    assert np.abs(greys - 4 * numbers % 256).max() <= 3


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_told(tmp_path, transfer, name):
    path = film(tmp_path / "hdr.mp4", codec="libx265", pix_fmt="yuv420p10le", color_trc=transfer, color_primaries=9,
                colorspace=9, options={"x265-params": "log-level=none"})  # fmt: skip
    (warning,) = read_video(path, Timeline(30)).warnings
    assert warning == f"{path}: HDR ({name}) is not tone-mapped: the frames look paler than they should"


@pytest.mark.parametrize(
    ("codec", "options"),
    [("libx264", {"x264-params": "tff=1"}), ("mpeg2video", {"flags": "+ildct+ilme"})],
)
def test_interlaced_frames_are_told(tmp_path, codec, options):
    path = film(tmp_path / "i.mkv", codec=codec, options=options)
    (warning,) = read_video(path, Timeline(30)).warnings
    assert warning == f"{path}: interlaced frames are not deinterlaced: edges that move look like combs"
