"""What is cited is what the record, the sheet, the plot and the clip show."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from summaries import CONSTANT, number_in, picture, record_of, write_source

from llava_v2xum.core.lengths import LEAST_CLIP_SECONDS
from llava_v2xum.media.cut import ClipError, cited_spans, clip_spans, cut_clip, replacing
from llava_v2xum.media.figures import draw_sheet, evenly_chosen, frame_ranges, moment_label, time_label
from llava_v2xum.media.file_format import FileFormat
from llava_v2xum.media.formats import FORMATS, write_files
from llava_v2xum.media.plot import draw_importance
from llava_v2xum.media.render import format_for_people, to_json
from llava_v2xum.media.video import VideoError, read_video

VIDEOS = Path(__file__).resolve().parents[3] / "shared" / "videos"
KEYS = (
    "video_id video duration_seconds fps num_frames task answer text sentences segments frames frame_seconds "
    "importance problems model versions"
).split()


def rotate_flag(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write a, b, c, d of the display matrix into the first track (ISO 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = b"".join(
        n.to_bytes(4, "big", signed=True) for n in (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    )
    path.write_bytes(data)
    return path


def pictures_of(path: Path, spans: Sequence[tuple[float, float]] = ((0.0, 1e9),)) -> list:
    """(second, uint8 [H, W, 3]) of every frame in the spans."""
    with av.open(str(path)) as clip:
        return [
            (frame.time, frame.to_ndarray(format="rgb24"))
            for frame in clip.decode(video=0)
            if any(start <= round(frame.time, 6) < end for start, end in spans)
        ]


def check_browser_form(path: Path, seconds: float, sound: bool) -> None:
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as clip:
        context = clip.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert context.width % 2 == context.height % 2 == 0
        lengths = [float(stream.duration * stream.time_base) for stream in clip.streams]
        assert [stream.codec_context.name for stream in clip.streams.audio] == (["aac"] if sound else [])
    assert all(abs(length - seconds) < 0.1 for length in lengths), (lengths, seconds)


def test_a_clip_holds_the_frames_and_the_sound_of_its_spans(tmp_path):
    source = write_source(tmp_path / "source.mp4", CONSTANT, sound=True)
    spans = [(0.2, 0.8), (2.1, 2.9), (5.3, 6.0)]
    clip = cut_clip(source, spans, tmp_path / "clip.mp4")
    check_browser_form(clip, 2.1, sound=True)
    expected, clip_start = [], 0.0
    for start, end in spans:
        expected += [(clip_start + t - start, n) for n, t in enumerate(CONSTANT) if start <= t < end]
        clip_start += end - start
    shown = [(time, number_in(image)) for time, image in pictures_of(clip)]
    assert [number for _, number in shown] == [number for _, number in expected]
    np.testing.assert_allclose([time for time, _ in shown], [time for time, _ in expected], atol=0.002)
    with av.open(str(clip)) as opened:
        wave = np.concatenate([frame.to_ndarray()[0] for frame in opened.decode(audio=0)])
    for middle, second in ((0.3, 0), (1.0, 2), (1.75, 5)):
        piece = wave[int((middle - 0.1) * 44100) : int((middle + 0.1) * 44100)]
        peak = np.abs(np.fft.rfft(piece * np.hanning(len(piece)))).argmax() * 5
        assert abs(peak - (400 + 200 * second)) <= 10


def sound_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as opened:
        return np.concatenate([frame.to_ndarray()[0] for frame in opened.decode(audio=0)])


def test_sound_fades_in_and_out_at_each_cut(tmp_path):
    """Over 50 ms; between them it is as loud as it was."""
    source = write_source(tmp_path / "source.mp4", CONSTANT, sound=True)
    spans = [(0.2, 0.8), (2.1, 2.9), (5.3, 5.34)]
    wave, at = sound_of(cut_clip(source, spans, tmp_path / "clip.mp4")), 0.0

    def loudness(second: float, window: float = 0.004) -> float:
        return float(np.sqrt(np.mean(wave[int((second - window) * 44100) : int((second + window) * 44100)] ** 2)))

    for start, end in spans[:2]:
        length, whole = end - start, loudness(at + (end - start) / 2)
        assert whole == pytest.approx(0.4 / np.sqrt(2), rel=0.1)
        for offset, share in ((0.004, 0.1), (0.025, 0.5), (0.06, 1.0)):
            for second in (at + offset, at + length - offset):
                assert loudness(second) / whole == pytest.approx(share, abs=0.15), (start, offset)
        at += length
    assert loudness(at + 0.02) > 3 * loudness(at + 0.003, 0.002)  # of a span of 40 ms both halves fade


def test_a_clip_without_sound(tmp_path):
    source = write_source(tmp_path / "source.mp4", CONSTANT)
    check_browser_form(cut_clip(source, [(1.0, 1.5)], tmp_path / "clip.mp4"), 0.5, sound=False)


@pytest.mark.parametrize(
    ("matrix", "corner"), [((0, 1, -1, 0), (0, -1)), ((0, -1, 1, 0), (-1, 0)), ((-1, 0, 0, -1), (-1, -1))]
)
def test_a_rotated_source_gives_an_upright_clip(tmp_path, matrix, corner):
    source = rotate_flag(write_source(tmp_path / "source.mp4", CONSTANT[:25], sound=True), matrix)
    clip = cut_clip(source, [(0.0, 0.6)], tmp_path / "clip.mp4")
    check_browser_form(clip, 0.6, sound=True)
    image = pictures_of(clip)[0][1]
    assert image.shape[:2] == ((160, 96) if matrix[0] == 0 else (96, 160))
    red = image[corner[0] * 4, corner[1] * 4]
    assert red[0] > 150 and red[1] < 90  # the stored top left corner, where the flag puts it
    assert np.abs(image.astype(int) - read_video(source).frames[0]).mean() < 6


def test_odd_sides_become_even(tmp_path):
    source = write_source(tmp_path / "source.mp4", CONSTANT[:25], size=(161, 97), pix_fmt="yuv444p")
    check_browser_form(cut_clip(source, [(0.0, 0.6)], tmp_path / "clip.mp4"), 0.6, sound=False)


def test_full_range_pictures_become_plain_yuv420p(tmp_path):
    path = tmp_path / "camera.avi"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuvj420p"
        for number in range(20):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        output.mux(stream.encode(None))
    clip = cut_clip(path, [(0.2, 0.8)], tmp_path / "clip.mp4")
    check_browser_form(clip, 0.6, sound=False)
    shown = pictures_of(clip)
    assert [number_in(image) for _, image in shown] == list(range(5, 20))
    assert np.abs(shown[0][1].astype(int) - picture(5)).mean() < 8


def test_variable_rate_keeps_its_times(tmp_path):
    times = np.array([0.0, 0.04, 0.08, 1.0, 2.5, 2.54, 2.58, 4.0, 4.04])
    source = write_source(tmp_path / "source.mkv", times)
    clip = cut_clip(source, [(0.5, 1.5), (2.5, 3.5)], tmp_path / "clip.mp4")
    shown = [(round(time, 2), number_in(image)) for time, image in pictures_of(clip)]
    # Frame 2 is on the screen at 0.5; frame 6 stays until the end, and is shown again there.
    assert shown == [(0.0, 2), (0.5, 3), (1.0, 4), (1.04, 5), (1.08, 6), (1.96, 6)]
    check_browser_form(clip, 2.0, sound=False)


def test_a_source_whose_clock_does_not_begin_at_zero(tmp_path):
    source = write_source(tmp_path / "source.ts", CONSTANT, sound=True)
    with av.open(str(source)) as opened:
        assert opened.streams.video[0].start_time > 0
    clip = cut_clip(source, [(2.0, 2.6)], tmp_path / "clip.mp4")
    assert [number_in(image) for _, image in pictures_of(clip)] == list(range(50, 65))
    check_browser_form(clip, 0.6, sound=True)


def test_a_cut_off_source_gives_what_decodes(tmp_path):
    source = write_source(tmp_path / "source.mp4", CONSTANT, sound=True, muxer={"movflags": "faststart"})
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    clip = cut_clip(source, [(0.4, 1.0), (5.0, 5.5)], tmp_path / "clip.mp4")
    assert [number_in(image) for _, image in pictures_of(clip)] == list(range(10, 25))
    with pytest.raises(ClipError, match=r"source\.mp4: no frame could be decoded in the seconds 5\.00-5\.50"):
        cut_clip(source, [(5.0, 5.5)], tmp_path / "late.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "source.mp4"]


def test_nothing_is_left_where_no_clip_can_be_cut(tmp_path):
    assert cut_clip(tmp_path / "unread.mp4", [], tmp_path / "clip.mp4") is None
    (tmp_path / "noise.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(VideoError, match=r"noise\.mp4"):
        cut_clip(tmp_path / "noise.mp4", [(0.0, 1.0)], tmp_path / "clip.mp4")
    source = write_source(tmp_path / "source.mp4", CONSTANT[:10])
    with pytest.raises(ClipError, match=r"source\.mp4: the summary clip clip\.mp4 could not be cut"):
        cut_clip(source, [(0.0, 0.3)], tmp_path / "missing" / "clip.mp4")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.txt") as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise.mp4", "source.mp4"]


def test_the_clip_shows_the_segments():
    assert cited_spans(record_of("A [35, 30, 31]. B [80].")) == [(3.0, 3.2), (3.5, 3.6), (8.0, 8.1)]
    assert cited_spans(record_of("B [80]. A [30, 31, 32]. C [32, 33].")) == [(3.0, 3.4), (8.0, 8.1)]
    assert cited_spans(record_of("[00, 99].", task="video")) == [(0.0, 0.1), (9.9, 10.0)]
    assert cited_spans(record_of("Nothing is cited.", task="text")) == []
    long = record_of("A [10, 11, 12]. B [80].", seconds=100.0)
    assert clip_spans(long) == cited_spans(long) == [(10.0, 13.0), (80.0, 81.0)]


def test_a_clip_can_be_watched():
    """Of a moment the clip shows what is around it too."""
    assert clip_spans(record_of("A [30].")) == [(2.05, 4.05)]
    assert clip_spans(record_of("A [00].")) == [(0.0, 2.0)]
    assert clip_spans(record_of("A [10]. B [50].")) == [(0.55, 1.55), (4.55, 5.55)]
    assert clip_spans(record_of("A [10].", seconds=1.5)) == [(0.0, 1.5)]
    assert clip_spans(record_of("Nothing is cited.", task="text")) == []
    for answer in ("A [99].", "A [10]. B [12].", "A [00]. B [99].", "A [01]. B [02, 03, 50]."):
        spans = clip_spans(record_of(answer))
        assert sum(end - start for start, end in spans) == pytest.approx(LEAST_CLIP_SECONDS, abs=1e-4)
        for start, end in cited_spans(record_of(answer)):
            assert any(first <= start and end <= last for first, last in spans)
    for frame in range(100):
        for seconds in (0.3, 4.0, 600.0):
            ((start, end),) = cited_spans(record_of(f"A [{frame:02d}].", seconds=seconds))
            assert 0 <= start < end <= seconds


def test_the_record_is_what_the_file_holds():
    importance = np.linspace(0, 1, 100, dtype=np.float32)
    record = record_of("A man sits [12, 10]. He runs [99, 150]. The end.", importance=importance)
    assert list(record) == KEYS
    assert record["sentences"] == [
        {"text": "A man sits.", "frames": [12, 10], "start_seconds": 1.0, "end_seconds": 1.3},
        {"text": "He runs.", "frames": [99], "start_seconds": 9.9, "end_seconds": 10.0},
        {"text": "The end.", "frames": [], "start_seconds": None, "end_seconds": None},
    ]
    assert record["segments"] == [
        {"start_seconds": 1.0, "end_seconds": 1.1, "frames": [10], "sentence": 0},
        {"start_seconds": 1.2, "end_seconds": 1.3, "frames": [12], "sentence": 0},
        {"start_seconds": 9.9, "end_seconds": 10.0, "frames": [99], "sentence": 1},
    ]
    assert record["frames"] == [10, 12, 99]
    assert record["text"] == "A man sits. He runs. The end."
    assert record["problems"] == ["index 150 lies outside 0..99"]
    assert json.loads(to_json(record)) == record == json.loads(json.dumps(record))
    np.testing.assert_allclose(record["importance"], importance, atol=1e-7)


def test_a_record_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"clip\.mp4: expected 100 importance scores, one a frame, got 3"):
        record_of("A [01].", importance=[0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match=r"clip\.mp4: importance must be finite, got nan"):
        record_of("A [01].", importance=[float("nan")] * 100)
    with pytest.raises(ValueError, match=r"clip\.mp4: frames must lie in 0\.\.49, got \[60\]"):
        record_of("A [60].", frame_seconds=np.arange(50) / 10)


def test_of_an_answer_without_end_the_problem_is_told_in_place_of_the_noise():
    lines = format_for_people(record_of("A man spins " + "around and " * 40, task="text")).splitlines()[2:]
    assert lines == ["(no summary)", "problem: the answer repeats itself without end: 'around and'"]
    lines = format_for_people(record_of("A man sits [10]. A circle, 0, 0, 0, 0, 12 moves [40].")).splitlines()[2:]
    assert lines == [
        "0:01.0-0:01.1  A man sits.",
        "               key frame 10",
        "problem: numbers stand in the prose, outside of brackets: '0, 0, 0, 0, 12'",
    ]


def test_the_text_for_people():
    text = format_for_people(record_of("A man sits [10, 11, 12, 40]. He runs [105].", seconds=200.0))
    assert text.splitlines() == [
        "clip  (3:20, 25 fps, BOTH summary)",
        "----------------------------------",
        "0:20.0-0:26.0  A man sits.",
        "               key frames 10-12",
        "1:20.0-1:22.0  key frame 40",
        "               He runs.",
        "problem: index 105 lies outside 0..99",
    ]
    text = format_for_people(record_of("[10, 11, 40].", task="video"))
    assert text.splitlines()[2:] == ["0:01.0-0:01.2  key frames 10-11", "0:04.0-0:04.1  key frame 40"]
    assert format_for_people(record_of("", task="text")).splitlines()[2:] == [
        "(no summary)",
        "problem: the answer is empty",
    ]
    assert (time_label(59.99), moment_label(59.99), moment_label(3725)) == ("0:59", "0:59.9", "1:02:05.0")
    assert (moment_label(59.999999), moment_label(2.84)) == ("1:00.0", "0:02.8")  # rounded stamps
    assert frame_ranges((44, 3, 4, 3)) == "03-04, 44"
    assert evenly_chosen(range(25), 12) == [0, 2, 4, 7, 9, 11, 13, 15, 17, 20, 22, 24]


def coloured_frames(height: int, width: int) -> np.ndarray:
    """uint8 [100, height, width, 3]: frame i is all (2 i, 255 - 2 i, 7)."""
    frames = np.zeros((100, height, width, 3), np.uint8)
    frames[..., 0] = (np.arange(100) * 2)[:, None, None]
    frames[..., 1] = 255 - frames[..., 0]
    frames[..., 2] = 7
    return frames


def frames_on(sheet: Image.Image) -> list[int]:
    red, green, blue = np.moveaxis(np.asarray(sheet), -1, 0)
    return (np.unique(red[(blue == 7) & (green == 255 - red)]) // 2).tolist()


@pytest.mark.parametrize("size", [(90, 160), (160, 90), (120, 120), (20, 400), (400, 20)])
def test_the_sheet_shows_the_cited_frames(size):
    cited = list(range(20, 40))
    answer = f"A man sits [{', '.join(map(str, cited))}]. He runs [80]. " + "A long end " * 40
    sheet = draw_sheet(record_of(answer), coloured_frames(*size))
    assert sheet.width == 1280 and sheet.height < 3000
    rest = [frame for frame in cited if frame != 29]
    assert frames_on(sheet) == sorted([29, *evenly_chosen(rest, 12), 80])


def areas_on(sheet: Image.Image) -> dict[int, int]:
    """How many pixels each frame takes."""
    red, green, blue = np.moveaxis(np.asarray(sheet), -1, 0)
    frames, counts = np.unique(red[(blue == 7) & (green == 255 - red)] // 2, return_counts=True)
    return dict(zip(frames.tolist(), counts.tolist()))


def test_of_each_segment_one_frame_is_shown_large():
    importance = np.full(100, 1e-3)
    importance[[22, 80]] = 0.4
    record = record_of("A man sits [20, 21, 22, 23, 40]. He runs [80, 81].", importance=importance)
    areas = areas_on(draw_sheet(record, coloured_frames(90, 160)))
    large = {frame for frame, area in areas.items() if area == max(areas.values())}
    assert large == {22, 40, 80} and set(areas) == {20, 21, 22, 23, 40, 80, 81}
    assert all(area < max(areas.values()) / 6 for frame, area in areas.items() if frame not in large)


def test_the_sheet_of_other_answers():
    frames = coloured_frames(90, 160)
    assert frames_on(draw_sheet(record_of("[10, 11, 40].", task="video"), frames)) == [10, 11, 40]
    text = draw_sheet(record_of("A man sits. " + "x" * 500, task="text"), frames)
    assert frames_on(text) == evenly_chosen(range(100), 12)
    runaway = " ".join(f"A man sits [{frame:02d}]." for frame in range(100))
    assert len(frames_on(draw_sheet(record_of(runaway), frames))) == 30
    with pytest.raises(ValueError, match=r"clip\.mp4: expected 100 frames for the sheet, got 50"):
        draw_sheet(record_of("A [01]."), frames[:50])


def test_the_plot(tmp_path, monkeypatch):
    before = "matplotlib.pyplot" in sys.modules
    frames = coloured_frames(90, 160)
    cases = [
        (record_of("A man sits [10, 11, 90]."), [10]),  # of a sentence the first segment
        (record_of("[10, 11, 90].", task="video"), [10, 90]),
        (record_of("A [05].", seconds=5000.0), [5]),
        (record_of("A [05].", frame_seconds=np.repeat(np.arange(10), 10)), [5]),
        (record_of(" ".join(f"A $x {frame} [{frame}]." for frame in range(20, 60, 2))), list(range(20, 50, 2))),
        (record_of("A man sits [10].", importance=None), [10]),
    ]
    for number, (record, shown) in enumerate(cases):
        draw_importance(record, frames, tmp_path / f"{number}.png")
        image = np.asarray(Image.open(tmp_path / f"{number}.png").convert("RGB"))
        assert image.shape[1] == 1200 and frames_on(Image.fromarray(image)) == shown
        assert ((image == (26, 95, 180)).all(axis=2).sum() > 300) == (record["importance"] is not None)
    assert ("matplotlib.pyplot" in sys.modules) == before
    with pytest.raises(ValueError, match=r"clip\.mp4: expected 100 frames for the plot, got 50"):
        draw_importance(record, frames[:50], tmp_path / "none.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "llava_v2xum\[model\]"'):
        draw_importance(record, frames, tmp_path / "none.png")


def test_the_most_important_frame_reaches_the_top_of_the_plot(tmp_path):
    """Whatever the probabilities are: thirty frames cited alike have a thirtieth each."""
    heights = []
    for most in (1.0, 1 / 30):
        importance = np.zeros(100)
        importance[30:60] = most
        record = record_of(f"A [{', '.join(map(str, range(30, 60)))}].", importance=importance)
        draw_importance(record, coloured_frames(90, 160), tmp_path / "plot.png")
        image = np.asarray(Image.open(tmp_path / "plot.png").convert("RGB"))
        heights.append(np.ptp(np.nonzero((image == (26, 95, 180)).all(axis=2))[0]))
    assert heights[0] == heights[1] > 150


def test_the_files_of_a_video(tmp_path):
    source = write_source(tmp_path / "source.mp4", CONSTANT, sound=True)
    video = read_video(source)
    arguments = dict(
        video=source,
        duration_seconds=video.duration_seconds,
        fps=video.fps,
        frame_seconds=video.frame_seconds,
    )
    folder = tmp_path / "out" / "source"
    record = record_of("A man sits [10, 11, 90].", **arguments)
    paths = write_files(record, video.frames, folder)
    assert [path.name for path in paths] == [form.file_name for form in FORMATS.values() if form.by_default]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in paths)
    assert json.loads(paths[0].read_text(encoding="utf-8")) == record
    spans = clip_spans(record)
    check_browser_form(folder / "summary.mp4", sum(end - start for start, end in spans), sound=True)
    # A text summary has neither clip nor plot, and those of the run before must not stay beside it.
    record = record_of("A man sits.", task="text", **arguments)
    made = write_files(record, video.frames, folder, ("clip", "json", "plot"))
    assert [path.name for path in made] == ["summary.json"]
    assert not (folder / "summary.mp4").exists() and not (folder / "importance.png").exists()
    with pytest.raises(ValueError, match=f"formats must be of {', '.join(FORMATS)}, got gif"):
        write_files(record, video.frames, folder, ("gif",))


def test_a_further_form_is_written_where_it_is_asked_for(tmp_path, monkeypatch):
    """In its place among the others; the record, which says that all are there, comes last."""
    order = []

    def write(record: dict, frames: np.ndarray, path: Path) -> None:
        order.extend(other.name for other in tmp_path.iterdir())
        path.write_text(record["text"])

    monkeypatch.setitem(FORMATS, "words", FileFormat("words.txt", write, is_of=lambda record: bool(record["text"])))
    made = write_files(record_of("A man sits.", task="text"), np.empty((0, 1, 1, 3)), tmp_path, ["words", "json"])
    assert [path.name for path in made] == ["summary.json", "words.txt"] and order == []
    assert made[1].read_text() == "A man sits."
    write_files(record_of("", task="text"), np.empty((0, 1, 1, 3)), tmp_path, ["words"])
    assert not (tmp_path / "words.txt").exists()


@pytest.mark.skipif(not VIDEOS.exists(), reason="../shared is not here")
@pytest.mark.parametrize(
    "name",
    ["landscape_15fps_14s.mp4", "landscape_15fps_18s.mp4", "old_avi_30fps_7s.avi", "portrait_30fps_15s.mp4"],
)
def test_clips_of_real_videos(tmp_path, name):
    video = read_video(VIDEOS / name)
    record = record_of(
        "A [05, 06]. B [50, 51]. C [98, 99].",
        duration_seconds=video.duration_seconds,
        frame_seconds=video.frame_seconds,
    )
    spans = [(one["start_seconds"], one["end_seconds"]) for one in record["segments"]]
    clip = cut_clip(VIDEOS / name, spans, tmp_path / "clip.mp4")
    check_browser_form(clip, sum(end - start for start, end in spans), sound="portrait" in name)
    source = pictures_of(VIDEOS / name, spans)
    shown = pictures_of(clip)
    assert len(shown) == len(source)
    for (_, expected), (_, image) in zip(source, shown, strict=True):
        assert image.shape == expected.shape
        assert np.abs(image.astype(int) - expected).mean() < 6
