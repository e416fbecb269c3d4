"""Healthy but odd files are read exactly, and damaged ones with a warning; every file is made here, of grey frames."""

from __future__ import annotations

import logging
import random
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from llava_v2xum.core.timeline import Timeline
from llava_v2xum.media.cut import cut_clip
from llava_v2xum.media.video import read_video
from llava_v2xum.media.whole import mended_stamps

pytestmark = pytest.mark.pinned

RATE, COUNT = 25, 100
PAUSE_MS = [1000 * i for i in range(20)] + [20_000 + 40 * i for i in range(100)]  # 20 s of a frame a second, then 4 s


def picture(number: int, size: int = 64) -> av.VideoFrame:
    """Frame `number`: all grey, and of another grey than its neighbours."""
    frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), 2 * number % 256, np.uint8), format="rgb24")
    frame = frame.reformat(format="yuv420p")
    frame.pts, frame.time_base = number, Fraction(1, RATE)
    return frame


def film(path: Path, count: int = COUNT, stamps_ms=None, in_storage_order: bool = False, **x264) -> Path:
    """A film of grey frames.

    Args:
        stamps_ms: of the packets, without B-frames; those of a constant rate if None.
        in_storage_order: the packets' stamps count them as they are stored, as a raw copy does.
    """
    parameters = {"keyint": 30, "scenecut": 0, "bframes": 3 if in_storage_order else 0, **x264}
    with av.open(str(path), "w") as output:
        options = {"x264-params": ":".join(f"{name}={value}" for name, value in parameters.items())}
        stream = output.add_stream("libx264", rate=RATE, options=options)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        packets = [packet for number in range(count) for packet in stream.encode(picture(number))]
        packets += stream.encode(None)
        for place, packet in enumerate(packets):
            if stamps_ms is not None:
                packet.pts = packet.dts = stamps_ms[place]
                packet.time_base = Fraction(1, 1000)
            elif in_storage_order:
                packet.pts = packet.dts = place
                packet.time_base = Fraction(1, RATE)
            packet.stream = stream
            output.mux(packet)
    return path


def greys(frames: np.ndarray) -> list[int]:
    return frames[:, 9, 9, 0].astype(int).tolist()


def assert_shows(frames: np.ndarray, numbers) -> None:
    off = [abs(grey - 2 * number % 256) for grey, number in zip(greys(frames), numbers, strict=True)]
    assert max(off) <= 3, off


@pytest.mark.parametrize("name", ["raw.mp4", "raw.avi"])
def test_stamps_that_count_what_is_stored_do_not_order_the_frames(tmp_path, name):
    video = read_video(film(tmp_path / name, in_storage_order=True))
    assert video.total_frames == COUNT and not video.warnings
    assert_shows(video.frames, np.linspace(0, COUNT - 1, 100).astype(int))
    assert video.duration_seconds == pytest.approx(COUNT / RATE, abs=0.1)


def test_one_of_two_equal_stamps_does_not_stop_the_clock(tmp_path):
    right = read_video(film(tmp_path / "right.mkv", 120, PAUSE_MS))
    twice = [*PAUSE_MS[:60], PAUSE_MS[59], *PAUSE_MS[61:]]
    video = read_video(film(tmp_path / "twice.mkv", 120, twice))
    assert right.warnings == video.warnings == ()  # the rate varies all along
    assert right.duration_seconds == pytest.approx(24.0, abs=0.05)
    assert video.duration_seconds == pytest.approx(24.0, abs=0.05)
    assert np.abs(video.frame_seconds - right.frame_seconds).max() <= 0.05


def test_a_packet_without_a_stamp_does_not_stop_the_clock(tmp_path):
    """In a transport stream, behind a pause of a minute."""
    stamps = [40 * i for i in range(60)] + [60_000 + 40 * i for i in range(60, 120)]
    data = bytearray(film(tmp_path / "right.ts", 120, stamps).read_bytes())
    starts = [at for at in range(0, len(data), 188) if data[at + 1] & 0x5F == 0x41 and data[at + 2] == 0]
    at = starts[89]
    header = at + 4 + (1 + data[at + 4] if data[at + 3] & 0x20 else 0)
    data[header + 7] &= 0x3F
    data[header + 9 : header + 9 + data[header + 8]] = b"\xff" * data[header + 8]
    (tmp_path / "lacks.ts").write_bytes(data)
    right, video = (read_video(tmp_path / name) for name in ("right.ts", "lacks.ts"))
    assert video.duration_seconds == pytest.approx(64.8, abs=0.05)
    assert np.abs(video.frame_seconds - right.frame_seconds).max() <= 0.05


@pytest.mark.parametrize(
    ("stamps", "mended"),
    [
        ([0, 1, 2, 2, 4, 5, 6, 7, 8, 9, 10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ([0, 1, None, *range(3, 20), None], list(range(21))),
        ([None, 1, 2, 3, 900, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20], list(range(21))),
        ([0, 2, 3, 1, 5, 6, 4], [0, 1, 2, 3, 4, 5, 6]),
        ([None, None, 2], None),
        ([], None),
    ],
)
def test_stamps_are_mended_from_their_neighbours(stamps, mended):
    made = mended_stamps(stamps)
    assert made is None or all(earlier < later for earlier, later in pairwise(made))
    assert made == mended


def test_flipped_bits_of_a_transport_stream_are_told_of(tmp_path):
    path = film(tmp_path / "whole.ts", 200, keyint=50)
    assert read_video(path).warnings == ()
    told = 0
    for seed in range(4):
        data, draw = bytearray(path.read_bytes()), random.Random(seed)
        for _ in range(60):
            at = draw.randrange(len(data) // 4, len(data))  # so many that the decoder must notice
            data[at] ^= 1 << draw.randrange(8)
        (tmp_path / "flipped.ts").write_bytes(data)
        video = read_video(tmp_path / "flipped.ts")
        numbers = np.linspace(0, 199, 100).astype(int)
        spoiled = [abs(grey - 2 * number % 256) > 8 for grey, number in zip(greys(video.frames), numbers)]
        assert video.warnings or not any(spoiled), seed
        told += bool(video.warnings)
    assert told == 4


def test_of_several_tracks_the_default_one_is_read(tmp_path):
    path = tmp_path / "two.mp4"
    with av.open(str(path), "w") as output:
        tracks = [output.add_stream("libx264", rate=RATE) for _ in range(2)]
        for track, size in zip(tracks, (32, 64)):
            track.width = track.height = size
            track.pix_fmt = "yuv420p"
        tracks[0].disposition = av.stream.Disposition(0)
        tracks[1].disposition = av.stream.Disposition.default
        for number in range(50):
            for track, size in zip(tracks, (32, 64)):
                output.mux(track.encode(picture(number, size)))
        for track in tracks:
            output.mux(track.encode(None))
    assert read_video(path, Timeline(10)).frames.shape == (10, 64, 64, 3)


@pytest.mark.parametrize("name", ["c.mp4", "c.ts"])
def test_a_clip_has_the_spans_of_the_first_group_of_pictures_too(tmp_path, name):
    path = film(tmp_path / name, 120, keyint=50, bframes=3)
    cut_clip(path, [(0.5, 1.0), (4.0, 4.5)], tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as clip:
        shown = [int(frame.to_ndarray(format="rgb24")[9, 9, 0]) for frame in clip.decode(video=0)]
    wanted = [2 * number for number in (*range(13, 25), *range(100, 113))]
    assert len(shown) == 25 and max(abs(a - b) for a, b in zip(shown, wanted)) <= 4


def test_a_span_without_a_frame_is_named(tmp_path, caplog):
    path = film(tmp_path / "short.mp4", 50)
    with caplog.at_level(logging.WARNING):
        cut_clip(path, [(0.0, 1.0), (8.0, 9.0)], tmp_path / "clip.mp4")
    assert "no frame decodes in the seconds 8.00-9.00: the clip lacks them" in caplog.text


@pytest.mark.parametrize("spans", [[(0.0, 303.0)], [(2.0, 301.5)], [(0.0, 300.0)]])
def test_a_clip_over_a_long_pause_is_as_long_as_its_spans(tmp_path, spans):
    stamps = [200 * i for i in range(20)] + [300_000 + 200 * i for i in range(20)]
    cut_clip(film(tmp_path / "pause.mp4", 40, stamps), spans, tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as clip:
        track = clip.streams.video[0]
        assert float(track.duration * track.time_base) == pytest.approx(sum(b - a for a, b in spans), abs=0.2)


def test_frames_that_an_avi_has_lost_are_missed(tmp_path):
    whole, torn = tmp_path / "whole.avi", tmp_path / "torn.avi"
    with av.open(str(whole), "w") as output:
        stream = output.add_stream("mjpeg", rate=RATE)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        for number in range(COUNT):
            output.mux(stream.encode(picture(number).reformat(format="yuvj420p")))
        output.mux(stream.encode(None))
    stored = whole.read_bytes()
    begins = [place for place in range(len(stored)) if stored.startswith(b"00dc", place)]
    torn.write_bytes(stored[: begins[60]] + stored[begins[62] :])
    assert read_video(whole).warnings == ()
    assert [told for told in read_video(torn).warnings if "2 of the announced" in told and "are missing" in told]
