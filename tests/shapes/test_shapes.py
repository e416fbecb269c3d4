"""The rendered world: what its truth says is what its files show."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from itertools import pairwise

import av
import numpy as np
import pytest

from llava_v2xum.core.tasks import INSTRUCTIONS
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.shapes import (
    COLORS,
    PLACES,
    SHAPES,
    Painter,
    answer_of,
    draw_frame,
    draw_frames,
    event_visible,
    instruct_records,
    make_clip,
    sentence_of,
    truth_frames,
    truth_record,
    videoxum_record,
    write_clip,
)
from llava_v2xum.shapes.__main__ import main
from llava_v2xum.shapes.draw import shape_mask

CLIPS = [make_clip(7, index) for index in range(300)]


@pytest.fixture(scope="module")
def small_clip():
    """The clip with the fewest pixels in all among the first 300."""
    return min(CLIPS, key=lambda clip: clip.width * clip.height * clip.total_frames)


@pytest.fixture(scope="module")
def rendered(small_clip, tmp_path_factory):
    """The small clip's file."""
    return write_clip(small_clip, tmp_path_factory.mktemp("shapes") / f"{small_clip.video_id}.mp4")


def colored_pixels(frame: np.ndarray, rgb: tuple[int, int, int]) -> np.ndarray:
    """bool [H, W]: the pixels near a colour."""
    return np.linalg.norm(frame.astype(float) - rgb, axis=-1) < 70


def test_same_numbers_same_clip():
    assert make_clip(7, 3) == CLIPS[3]
    assert make_clip(8, 3) != CLIPS[3] != make_clip(7, 4)
    assert CLIPS[3].video_id == "shapes_7_0003"
    with pytest.raises(ValueError, match="-1"):
        make_clip(-1, 0)


def test_clips_keep_the_promised_limits():
    for clip in CLIPS:
        assert 19.9 < clip.duration_seconds < 120.1
        assert clip.width % 2 == clip.height % 2 == 0 and 96 <= clip.height <= 240
        assert 0.75 <= clip.width / clip.height <= 16 / 9 + 1e-9
        assert 1 <= len(clip.events) <= 5
        dull, before, cited = math.ceil(0.02 * clip.total_frames), 0, 0
        sampled = Timeline().sample(clip.total_frames)
        for event in clip.events:
            assert event.start_frame - before >= dull
            assert np.sum((sampled >= before) & (sampled < event.start_frame)) >= 2
            assert 3 <= len(truth_frames(clip, event)) <= 12
            before, cited = event.end_frame, cited + len(truth_frames(clip, event))
        assert clip.total_frames - before >= dull
        assert np.sum(sampled >= before) >= 2
        assert cited <= 40
        told = [event.sentence for event in clip.events]
        assert all(one != other for one, other in pairwise(told))


def test_the_world_is_varied():
    events = [event for clip in CLIPS for event in clip.events]
    sentences = {sentence_of(shape, color, place) for shape in SHAPES for color in COLORS for place in PLACES}
    assert len(sentences) == 72 and {event.sentence for event in events} == sentences
    assert {len(clip.events) for clip in CLIPS} == {1, 2, 3, 4, 5}
    assert len({(clip.width, clip.height) for clip in CLIPS}) == 10
    assert {clip.fps for clip in CLIPS} == {8, 10, 12, 15, 24, 25, 30}
    assert max(clip.duration_seconds for clip in CLIPS) > 100
    assert {event.start_x < event.end_x for event in events} == {True, False}


def test_shapes_stay_wholly_inside_their_third():
    areas = {"circle": math.pi / 4, "square": 0.84**2, "triangle": 0.54 * 0.96}
    for clip in CLIPS[:100]:
        for event in clip.events:
            for frame in {event.start_frame, (event.start_frame + event.end_frame) // 2, event.end_frame - 1}:
                mask, left, top = shape_mask(event, frame)
                assert left >= 0 and left + mask.shape[1] <= clip.width, event
                assert top >= 0 and top + mask.shape[0] <= clip.height, event
                center = (mask.sum(axis=1) @ (np.arange(len(mask)) + 0.5 + top)) / mask.sum() / clip.height
                band = min(int(center * 3), 2)
                assert list(PLACES)[band] == event.place, event
                if event.shape in areas:  # the supersampled mask covers what geometry says
                    assert mask.sum() == pytest.approx(areas[event.shape] * event.diameter**2, rel=0.05)


def test_a_frame_does_not_depend_on_others(small_clip):
    together = draw_frames(small_clip, [100, 5, 100])
    assert together.dtype == np.uint8 and together.shape == (3, small_clip.height, small_clip.width, 3)
    assert np.array_equal(together[0], Painter(small_clip).draw(100))
    assert np.array_equal(together[0], together[2])
    assert np.array_equal(together[1], draw_frame(small_clip, 5))
    assert not np.array_equal(together[0], together[1])
    assert draw_frames(small_clip, []).shape == (0, small_clip.height, small_clip.width, 3)
    with pytest.raises(IndexError, match=small_clip.video_id):
        draw_frame(small_clip, small_clip.total_frames)


def test_the_file_shows_each_event_in_its_frames_and_no_other(small_clip, rendered):
    with av.open(str(rendered)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == small_clip.fps and stream.frames == small_clip.total_frames
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.duration * stream.time_base == small_clip.total_frames / stream.average_rate
    assert len(frames) == small_clip.total_frames
    for index, frame in enumerate(frames):
        shown = event_visible(small_clip, index)
        for event in small_clip.events:
            count = colored_pixels(frame, event.rgb).sum()
            if event is shown:
                assert count > 0.7 * shape_mask(event, index)[0].sum(), (index, event)
            elif shown is None:
                assert count == 0, (index, event)


def test_the_index_of_an_mp4_comes_first(rendered):
    content = rendered.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")
    assert [path.name for path in rendered.parent.iterdir()] == [rendered.name]


def test_an_interrupted_render_leaves_nothing(small_clip, tmp_path, monkeypatch):
    def stop(self, frame_index):
        raise KeyboardInterrupt

    monkeypatch.setattr(Painter, "draw", stop)
    with pytest.raises(KeyboardInterrupt):
        write_clip(small_clip, tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []


def test_truth_frames_are_the_sampled_frames_that_show_the_event():
    for clip in CLIPS[:20]:
        sampled = Timeline().sample(clip.total_frames).tolist()
        for event, told in zip(clip.events, truth_record(clip)["events"], strict=True):
            shown = [i for i, frame in enumerate(sampled) if event_visible(clip, frame) == event]
            assert told["frames"] == shown == list(truth_frames(clip, event))
            seconds = [sampled[i] / clip.fps for i in shown]
            assert all(told["start_seconds"] <= second < told["end_seconds"] for second in seconds)


def test_videoxum_form():
    for clip in CLIPS[:20]:
        record = videoxum_record(clip)
        seconds, count = record["sampled_frames"], len(clip.events)
        assert seconds == round(clip.duration_seconds)
        assert np.shape(record["timestamps"]) == (count, 2) and len(record["tsum"]) == count
        spans = np.array(record["vsum"])
        assert spans.shape == (count, 10, 2) and np.shape(record["vsum_onehot"]) == (10, seconds)
        assert len({tuple(map(tuple, spans[:, annotator])) for annotator in range(10)}) == 10
        for span, (start, end) in zip(spans, record["timestamps"], strict=True):
            assert np.abs(span - [start, end]).max() <= 0.1 * (end - start) + 0.005
        assert (spans[1:, :, 0].min(axis=1, initial=np.inf) > spans[:-1, :, 1].max(axis=1, initial=0)).all()
        for annotator in range(10):
            for second, marked in enumerate(record["vsum_onehot"][annotator]):
                touched = any(start < second + 1 and end > second for start, end in spans[:, annotator])
                assert marked == touched
        assert videoxum_record(clip) == record


def test_instruct_tokens_give_back_the_exact_indexes():
    for clip in CLIPS[:50]:
        truth = [index for event in clip.events for index in truth_frames(clip, event)]
        records = instruct_records(clip)
        assert [record["conversations"][0]["value"] for record in records] == [
            f"<video>\n{INSTRUCTIONS[task]}" for task in ("video", "text", "both")
        ]
        for record, cites in zip(records, (True, False, True), strict=True):
            tokens = record["meta"]["token"]
            labels = [Timeline().index_at(second, record["meta"]["duration"]) for second in tokens.values()]
            assert labels == (truth if cites else [])
            answer = record["conversations"][1]["value"]
            assert all(answer.count(name) == 1 for name in tokens) and answer.count("<f") == len(tokens)
            assert record["id"] == clip.video_id
            assert len(record["vsum_onehot"]) == record["meta"]["sampled_frames"]


def test_every_index_survives_the_label_formula():
    for clip in CLIPS:
        for index in range(100):
            second = index / 100 * clip.duration_seconds
            assert min(round(second / clip.duration_seconds * 100), 99) == index


def test_answers():
    events = [
        ("A red circle moves across the top.", (3, 4, 5)),
        ("A white star moves across the bottom.", ()),
        ("A blue star moves across the middle.", (41, 42)),
    ]
    assert answer_of(events, "both") == (
        "A red circle moves across the top [03, 04, 05]. A blue star moves across the middle [41, 42]."
    )
    text = "A red circle moves across the top. A blue star moves across the middle."
    assert answer_of(events, "text") == text
    assert answer_of(events, "video") == "[03, 04, 05, 41, 42]."
    assert answer_of(events[2:], "video", cite=lambda index: f"<{index}>") == "[<41>, <42>]."
    event = CLIPS[0].events[0]
    assert answer_of([(event, np.array([7]))], "both") == f"{event.sentence[:-1]} [07]."
    with pytest.raises(ValueError, match="at least one event"):
        answer_of(events[1:2], "both")
    with pytest.raises(ValueError, match="'audio'"):
        answer_of(events, "audio")


def test_command_line_writes_all_and_goes_on_where_it_was_stopped(tmp_path, capsys):
    out = tmp_path / "new" / "set"
    assert main(["--videos", "2", "--seed", "7", "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith("[1/2] shapes_7_0000.mp4 ")
    first, second = (out / "videos" / f"shapes_7_000{index}.mp4" for index in range(2))
    content, stamp = second.read_bytes(), first.stat().st_mtime_ns
    names = {path.name for path in out.iterdir()}
    assert names == {"videos", "truth.json", "videoxum.json", "instruct.json"}
    truth = json.loads((out / "truth.json").read_text())
    assert [record["video_id"] for record in truth] == [first.stem, second.stem]
    assert len(json.loads((out / "instruct.json").read_text())) == 6
    assert len(json.loads((out / "videoxum.json").read_text())) == 2

    second.unlink()
    assert main(["--videos", "2", "--seed", "7", "--out", str(out)]) == 0
    assert first.stat().st_mtime_ns == stamp and second.read_bytes() == content
    assert "is there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--videos", "0"], "--videos"), (["--videos", "-3"], "--videos"), (["--seed", "-1"], "--seed")],
)
def test_command_line_refuses_bad_numbers(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--out", str(tmp_path / "set")])
    assert stop.value.code == 2 and message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_command_line_refuses_a_file_as_folder(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("kept")
    with pytest.raises(SystemExit) as stop:
        main(["--videos", "1", "--out", str(file)])
    assert stop.value.code == 2 and str(file) in capsys.readouterr().err
    assert main(["--videos", "1", "--out", str(file / "below")]) == 2
    assert str(file) in capsys.readouterr().err
    assert file.read_text() == "kept"


def test_the_world_needs_neither_torch_nor_llava():
    code = """import sys, llava_v2xum.shapes
sys.exit(any(name in sys.modules for name in ("torch", "llava")))"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
