"""What H.264 tells by itself: lost pictures by their numbers, the rate where no container does."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from llava_v2xum.media.nal import FrameNumbers
from llava_v2xum.media.video import read_video

COUNT = 60
KINDS = {
    "usual": {},
    "pyramid": {"bf": "3", "x264-params": "ref=4:b-pyramid=normal"},
    "baseline": {"profile": "baseline", "bf": "0", "sc_threshold": "0"},
    "matrices": {"x264-params": "cqm=jvt"},
    "planes": {"pix_fmt": "yuv444p"},
    "interlaced": {"flags": "+ildct+ilme", "x264-params": "tff=1"},
    "open groups": {"x264-params": "open-gop=1", "g": "12", "bf": "2"},
    "intra refresh": {"x264-params": "intra-refresh=1:keyint=20"},
}


def encode(path: Path, options: dict[str, str], rate: int = 25) -> Path:
    draw = np.random.default_rng(0)
    options = {"g": "250", "preset": "medium", **options}
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = 64, 48, options.pop("pix_fmt", "yuv420p")
        stream.options = options
        still = draw.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        for number in range(COUNT):
            frame = av.VideoFrame.from_ndarray(np.roll(still, 2 * number, axis=1), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def gaps(path: Path, without: int | None = None) -> list[int]:
    """The packets before which pictures are lost, where one is left out."""
    with av.open(str(path)) as film:
        numbers = FrameNumbers(film.streams.video[0].codec_context)
        packets = [packet for packet in film.demux(video=0) if packet.size]
        assert len(packets) == COUNT
        return [place for place, packet in enumerate(packets) if place != without and numbers.tells_of_loss(packet)]


@pytest.mark.parametrize("ending", ["mp4", "ts", "mkv"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_gap_is_where_a_picture_is_lost_to_which_others_refer(tmp_path: Path, kind: str, ending: str) -> None:
    path = encode(tmp_path / f"film.{ending}", dict(KINDS[kind]))
    assert not gaps(path)
    lost = range(5, COUNT - 8, 7)
    found = {place: gaps(path, without=place) for place in lost}
    assert any(found.values())
    assert all(not places or place < places[0] <= place + 4 for place, places in found.items())
    if kind == "baseline":  # there each picture refers to the one before
        assert found == {place: [place + 1] for place in lost}


def test_reading_tells_of_a_picture_that_was_lost_before_the_film_was_put_together(tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.mp4", {"bf": "0"})
    path = tmp_path / "lossy.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for place, packet in enumerate(source.demux(video=0)):
            if packet.size and place != 30:
                packet.stream = stream
                output.mux(packet)
    assert not read_video(whole).warnings
    (warning,) = read_video(path).warnings
    assert str(path) in warning and "come after damage and before the next key frame" in warning


def test_a_film_without_a_container_has_the_rate_of_its_codec(tmp_path: Path) -> None:
    video = read_video(encode(tmp_path / "film.h264", {}, rate=50))
    assert (video.fps, video.total_frames) == (50, COUNT) and not video.warnings
    assert video.duration_seconds == pytest.approx(COUNT / 50)
