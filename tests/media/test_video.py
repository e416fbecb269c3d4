"""Reading videos: exact frames, true times, upright pictures, and a clear word on every bad input.

The rendered clips carry each frame's number as ten black or white blocks, so a wrong frame cannot pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from unittest.mock import Mock

import av
import numpy as np
import pytest

from llava_v2xum.core.timeline import Timeline
from llava_v2xum.media.video import VideoError, find_videos, read_video

pytestmark = pytest.mark.every_python

BLOCK = 16  # pixels; a block is a bit of the frame's number, the lowest on the left
BITS = 10
REAL = Path(__file__).resolve().parents[3] / "shared" / "videos"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the sample videos are not here")


def picture_of(number: int) -> np.ndarray:
    """uint8 [32, 160, 3] that shows `number` in binary."""
    bits = [255 * (number >> bit & 1) for bit in range(BITS)]
    row = np.repeat(np.array(bits, dtype=np.uint8), BLOCK)
    return np.broadcast_to(row[None, :, None], (2 * BLOCK, BITS * BLOCK, 3)).copy()


def number_in(picture: np.ndarray) -> int:
    """The number that a picture [32, 160, 3] shows."""
    middle = picture[BLOCK, BLOCK // 2 :: BLOCK, 1]
    return sum(int(value > 127) << bit for bit, value in enumerate(middle))


def render(
    path: Path,
    pictures: int | list[np.ndarray],
    fps: int | Fraction = 25,
    codec: str = "libx264",
    stamps: list[int] | None = None,
    sound_seconds: float = 0,
    gop: int = 12,
    container_options: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Write a clip; `stamps` are presentation times in milliseconds, for a varying frame rate."""
    pictures = [picture_of(number) for number in range(pictures)] if isinstance(pictures, int) else pictures
    options = {"preset": "ultrafast", "bf": "2", **options} if codec == "libx264" else options
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        height, width = pictures[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = gop
        stream.codec_context.thread_count = 1
        sound = container.add_stream("aac", rate=16000, layout="mono") if sound_seconds else None
        if stamps is not None:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            write_sound(container, sound, sound_seconds)
    return path


def write_sound(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    """Silence."""
    for start in range(0, int(16000 * seconds), 1024):
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def set_matrix(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """Overwrite the display matrix in an mp4's track header: (x, y) -> (a x + c y, b x + d y)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    for place, value in ((0, a), (1, b), (3, c), (4, d)):
        data[start + 4 * place : start + 4 * place + 4] = round(value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(bytes(data))
    return path


def fill_media(data: bytes, start: float, end: float) -> bytes:
    """An mp4 with noise written over a share of its media data."""
    box = data.index(b"mdat") - 4
    first, size = box + 8, int.from_bytes(data[box : box + 4], "big") - 8
    low, high = first + int(size * start), first + int(size * end)
    return data[:low] + np.random.default_rng(0).bytes(high - low) + data[high:]


def assert_exact(video, total: int, fps: float, num_frames: int = 100) -> None:
    """The right frames at the right seconds, from a clip of constant rate."""
    expected = np.linspace(0, total - 1, num_frames).astype(np.int64)
    assert video.warnings == ()
    assert video.total_frames == total
    assert video.frames.dtype == np.uint8 and video.frames.shape == (num_frames, 2 * BLOCK, BITS * BLOCK, 3)
    assert video.frame_indices.dtype == np.int64 and video.frame_indices.tolist() == expected.tolist()
    assert [number_in(picture) for picture in video.frames] == expected.tolist()
    assert video.frame_seconds.dtype == np.float64
    np.testing.assert_allclose(video.frame_seconds, expected / fps, atol=1e-3)  # Matroska counts milliseconds
    assert video.fps == pytest.approx(fps, rel=1e-3)
    assert video.duration_seconds == pytest.approx(total / fps, abs=2e-3)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {}),
        ("pyramid.mp4", "libx264", {"preset": "medium", "bf": "3", "gop": 250}),
        ("open.mkv", "libx264", {"preset": "veryfast", "x264-params": "open-gop=1:bframes=3:b-adapt=0"}),
        ("refresh.mp4", "libx264", {"x264-params": "intra-refresh=1:bframes=0"}),
        ("a.ts", "libx264", {}),
        ("b.avi", "mpeg4", {"bf": "0"}),
        ("b_frames.avi", "mpeg4", {"bf": "2"}),
        ("hidden.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "gop": 60, "b": "200k"}),
    ],
)
def test_frames_are_exact(tmp_path: Path, name: str, codec: str, options: dict) -> None:
    assert_exact(read_video(render(tmp_path / name, 260, codec=codec, **options)), 260, 25)


@pytest.mark.parametrize("num_frames", [7, 100])
@pytest.mark.parametrize("parameters", ["open-gop=0", "open-gop=1:b-adapt=0"])
def test_ordinary_files_are_not_decoded_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: str, num_frames: int
) -> None:
    monkeypatch.setattr("llava_v2xum.media.video.decode_all", lambda *_: pytest.fail("decoded the whole file"))
    options = {"preset": "veryfast", "x264-params": f"bframes=3:{parameters}"}
    path = render(tmp_path / "12:30 %03d.mp4", 260, **options)  # neither a protocol nor a pattern
    assert_exact(read_video(path, Timeline(num_frames)), 260, 25, num_frames)


def test_frames_before_an_edit_list_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "trimmed.mp4"
    with (
        av.open(str(render(tmp_path / "a.mp4", 100, gop=50))) as source,
        av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:  # one second earlier: the muxer cuts it off by an edit list
                second = int(1 / packet.time_base)
                packet.pts, packet.dts = packet.pts - second, packet.dts - second
                packet.stream = stream
                target.mux(packet)
    video = read_video(path, Timeline(10))
    assert video.total_frames == 75 and video.warnings == ()
    assert [number_in(picture) for picture in video.frames] == (video.frame_indices + 25).tolist()
    np.testing.assert_allclose(video.frame_seconds, video.frame_indices / 25, atol=1e-6)


@pytest.mark.parametrize("total", [2, 7, 99, 100, 101])
def test_few_frames_repeat(tmp_path: Path, total: int) -> None:
    assert_exact(read_video(render(tmp_path / "short.mp4", total, fps=10)), total, 10)


def test_other_timelines_and_fractional_rates(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", 60, fps=Fraction(30000, 1001))
    for num_frames in (1, 2, 16):
        assert_exact(read_video(str(path), Timeline(num_frames)), 60, 30000 / 1001, num_frames)


def test_seconds_are_presentation_times_where_the_rate_varies(tmp_path: Path) -> None:
    stamps = np.cumsum([40] * 30 + [200] * 20 + [40] * 10).tolist()
    video = read_video(render(tmp_path / "vfr.mp4", 60, stamps=stamps), Timeline(20))
    expected = np.linspace(0, 59, 20).astype(int)
    assert [number_in(picture) for picture in video.frames] == expected.tolist()
    np.testing.assert_allclose(
        video.frame_seconds, (np.array(stamps)[expected] - stamps[0]) / 1000, atol=1e-3
    )
    assert video.duration_seconds == pytest.approx((stamps[-1] - stamps[0]) / 1000, abs=0.25)
    assert video.fps == pytest.approx(59 / ((stamps[-1] - stamps[0]) / 1000), rel=0.03)
    assert video.warnings == ()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_longer_sound_is_no_cut_off_video(tmp_path: Path, name: str) -> None:
    assert_exact(read_video(render(tmp_path / name, 50, sound_seconds=5)), 50, 25)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.ts"])
def test_a_late_beginning_is_no_cut_off_video(tmp_path: Path, name: str) -> None:
    codec = "libvpx" if name.endswith("webm") else "libx264"
    path = render(tmp_path / name, 50, codec=codec, stamps=[2500 + 40 * number for number in range(50)])
    assert_exact(read_video(path), 50, 25)


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((1, 0, 0, 1), lambda picture: picture),
        ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),  # a phone held upright: 90 degrees clockwise
        ((-1, 0, 0, -1), lambda picture: np.rot90(picture, 2)),
        ((0, -1, 1, 0), lambda picture: np.rot90(picture, 1)),
        ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
        ((0, 1, 1, 0), lambda picture: picture.swapaxes(0, 1)),
    ],
)
def test_frames_are_upright(tmp_path: Path, matrix: tuple, turn) -> None:
    picture = np.zeros((32, 64, 3), dtype=np.uint8)
    picture[:16, :32], picture[:16, 32:], picture[16:, :32] = 240, 160, 80
    path = set_matrix(render(tmp_path / "phone.mp4", [picture] * 4), *matrix)
    video = read_video(path, Timeline(3))
    expected = turn(picture)
    assert video.frames.shape == (3, *expected.shape)
    assert np.abs(video.frames.astype(int) - expected).mean() < 6
    assert video.warnings == ()


@pytest.mark.parametrize(
    ("matrix", "word"), [((0.7071, 0.7071, -0.7071, 0.7071), "45 degrees"), ((1, 0, 1, 0), "broken")]
)
def test_odd_rotation_is_a_warning(tmp_path: Path, matrix: tuple, word: str) -> None:
    video = read_video(set_matrix(render(tmp_path / "odd.mp4", 20), *matrix))
    assert [number_in(picture) for picture in video.frames] == video.frame_indices.tolist()
    (warning,) = video.warnings
    assert "odd.mp4" in warning and word in warning


def assert_refused(path: Path, *words: str) -> None:
    """Reading fails with a message that names the file and says what is wrong."""
    with pytest.raises(VideoError) as caught:
        read_video(path)
    message = str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert str(path) in message
    for word in words:
        assert word in message


def test_what_is_no_readable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_refused(tmp_path / "none.mp4", "no such file")
    assert_refused(tmp_path, "is a folder")
    (tmp_path / "empty.mp4").touch()
    assert_refused(tmp_path / "empty.mp4", "empty")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp4")
        assert_refused(tmp_path / "pipe.mp4", "not a regular file")
    path = render(tmp_path / "secret.mp4", 5)
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser may read it all the same
        refuse = Mock(side_effect=PermissionError(13, "Permission denied"))
        monkeypatch.setattr("builtins.open", refuse)
    assert_refused(path, "permission")


def test_what_is_no_video_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    for name in ("notes.mp4", "notes.txt"):
        (tmp_path / name).write_text("These are notes.\n" * 200)
        assert_refused(tmp_path / name, "not a video")
    (tmp_path / "noise.avi").write_bytes(np.random.default_rng(0).bytes(20000))
    assert_refused(tmp_path / "noise.avi", "not a video")
    with av.open(str(tmp_path / "song.m4a"), "w") as container:
        write_sound(container, container.add_stream("aac", rate=16000, layout="mono"), 1)
    assert_refused(tmp_path / "song.m4a", "sound only")
    assert capfd.readouterr().err == ""


def test_too_few_frames_are_refused(tmp_path: Path) -> None:
    assert_refused(render(tmp_path / "one.mp4", 1), "1 frame", "at least 2")
    assert_refused(render(tmp_path / "one.avi", 1, codec="mpeg4"), "1 frame", "at least 2")
    av.VideoFrame.from_ndarray(picture_of(3), format="rgb24").to_image().save(tmp_path / "photo.png")
    assert_refused(tmp_path / "photo.png", "1 frame", "at least 2")
    flags = {"movflags": "frag_keyframe+empty_moov"}
    whole = render(tmp_path / "fragments.mp4", 30, container_options=flags).read_bytes()
    (tmp_path / "zero.mp4").write_bytes(whole[: whole.index(b"moof") - 4])  # the header alone
    assert_refused(tmp_path / "zero.mp4", "zero length")


def test_truncated_before_the_index_is_refused(tmp_path: Path) -> None:
    data = render(tmp_path / "whole.mp4", 100).read_bytes()
    for share in (0.1, 0.6, 0.9):
        (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * share)])
        assert_refused(tmp_path / "cut.mp4", "moov")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_truncated_file_is_read_as_far_as_it_goes(tmp_path: Path, name: str, share: float) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = render(tmp_path / name, 250, codec=codec, container_options={"movflags": "faststart"})
    data = path.read_bytes()
    start = max(data.find(word) for word in (b"mdat", b"movi", b"\x1f\x43\xb6\x75"))  # where the frames begin
    end = data.find(b"idx1") if name.endswith("avi") else len(data)
    path.write_bytes(data[: start + int((end - start) * share)])
    video = read_video(path)
    assert 2 <= video.total_frames < 250
    assert video.frame_indices.tolist() == np.linspace(0, video.total_frames - 1, 100).astype(int).tolist()
    assert [number_in(picture) for picture in video.frames] == video.frame_indices.tolist()
    assert video.duration_seconds == pytest.approx(video.total_frames / 25, abs=0.05)
    *_, warning = video.warnings  # before it, perhaps, one about the frame that is cut through
    assert (
        name in warning and f"cut off: {video.duration_seconds:.1f} of the announced 10.0 seconds" in warning
    )


def test_damage_in_the_middle_is_a_warning(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    path = render(tmp_path / "a.mp4", 250)
    path.write_bytes(fill_media(path.read_bytes(), 0.45, 0.55))
    video = read_video(path)
    assert video.total_frames == 250 and video.frame_indices[[0, -1]].tolist() == [0, 249]
    np.testing.assert_allclose(video.frame_seconds, video.frame_indices / 25, atol=1e-6)
    wanted = np.linspace(0, 249, 100).astype(int)
    far = (wanted < 80) | (wanted > 170)  # damage reaches to the next key frame
    assert video.frame_indices[far].tolist() == wanted[far].tolist()
    assert [number_in(picture) for picture in video.frames[far]] == wanted[far].tolist()
    assert (video.frame_indices != wanted).any() and (np.diff(video.frame_indices) >= 0).all()
    (warning,) = video.warnings
    assert "a.mp4: damaged" in warning and "of 250 frames" in warning
    assert capfd.readouterr().err == ""


def test_lost_packets_are_a_warning(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mkv", 500, preset="medium")
    data, middle = path.read_bytes(), path.stat().st_size // 2
    path.write_bytes(data[: middle - 2000] + bytes(4000) + data[middle + 2000 :])
    video = read_video(path)
    assert any("a.mkv: holds no frame from second" in warning for warning in video.warnings)
    assert [number_in(picture) for picture in video.frames[[0, -1]]] == [
        0,
        round(video.frame_seconds[-1] * 25),
    ]


def test_damage_everywhere_is_refused(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", 250)
    path.write_bytes(fill_media(path.read_bytes(), 0, 1))
    assert_refused(path, "corrupt", "0 of 250 frames")


@needs_real
@pytest.mark.parametrize("path", sorted(REAL.glob("*.*")), ids=lambda path: path.name)
def test_real_videos_equal_a_full_decode(path: Path) -> None:
    video = read_video(path)
    slots = {index: slot for slot, index in enumerate(video.frame_indices.tolist())}
    with av.open(str(path)) as container:
        total = 0
        for frame in container.decode(video=0):
            if total in slots:
                np.testing.assert_array_equal(video.frames[slots[total]], frame.to_ndarray(format="rgb24"))
            total += 1
    assert video.total_frames == total and video.warnings == ()
    np.testing.assert_allclose(video.frame_seconds, video.frame_indices / video.fps, atol=1e-6)


@needs_real
@pytest.mark.parametrize("name", ["landscape_15fps_18s.mp4", "portrait_30fps_15s.mp4"])
def test_real_videos_with_damage(tmp_path: Path, name: str) -> None:
    data, path = (REAL / name).read_bytes(), tmp_path / name
    path.write_bytes(fill_media(data, 0.5, 0.55))
    video = read_video(path)
    assert len(video.frames) == 100 and "damaged" in video.warnings[0] and name in video.warnings[0]
    path.write_bytes(fill_media(data, 0, 1))
    assert_refused(path, "corrupt")
    path.write_bytes(data[: len(data) // 2])
    if data.index(b"moov") > data.index(b"mdat"):
        assert_refused(path, "moov")
    else:
        assert "of the announced 15.0 seconds" in read_video(path).warnings[0]


@needs_real
def test_real_avi_with_damage(tmp_path: Path) -> None:
    data = (REAL / "old_avi_30fps_7s.avi").read_bytes()
    path = tmp_path / "old.avi"
    path.write_bytes(data[: len(data) // 2])
    assert "cut off" in read_video(path).warnings[0]
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(20000) + data[middle + 20000 :])
    assert read_video(path).warnings


def test_find_videos(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MKV", "c.avi", ".hidden.mp4", "notes.txt", "inner/d.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    folder = [tmp_path / name for name in ("a.MKV", "b.mp4", "c.avi")]
    assert find_videos(tmp_path) == folder
    assert find_videos([str(tmp_path / "c.avi"), tmp_path]) == [folder[2], folder[0], folder[1]]
    assert find_videos([tmp_path / "notes.txt"]) == [tmp_path / "notes.txt"]  # named, so meant
    assert find_videos([]) == []


def test_find_videos_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"none\.mp4: no such file"):
        find_videos([tmp_path / "none.mp4"])
    with pytest.raises(VideoError, match="holds no video"):
        find_videos([tmp_path])


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, llava_v2xum.media.video; sys.exit('torch' in sys.modules or 'llava' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_forked_process_reads_what_its_parent_has_read_before(tmp_path):
    """As a loader's worker does. In a process of its own: the tests' has threads that a fork would not survive."""
    path = render(tmp_path / "a.mp4", 20)
    code = (
        "import multiprocessing, sys\n"
        "from llava_v2xum import Timeline, read_video\n"
        "def read(): read_video(sys.argv[1], Timeline(5))\n"
        "read()\n"
        "worker = multiprocessing.get_context('fork').Process(target=read)\n"
        "worker.start(); worker.join(60); worker.kill()\n"
        "sys.exit(worker.exitcode)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
