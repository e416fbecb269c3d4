"""Files for other tools say what the summary says, and are read back."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from summaries import CONSTANT, record_of, write_source

from llava_v2xum import Summary, read_summary
from llava_v2xum.core.answers import parse_answer
from llava_v2xum.infer.options import parse_arguments
from llava_v2xum.media.cut import clip_spans
from llava_v2xum.media.formats import EXPORTS, FORMATS, write_files

ANSWER = (
    "A man <b>sits</b> & waits [10, 11, 12, 40]. He says \"-->\" = 5; # no, \\it {is} 10 [12, 13]. "
    "\u05e9\u05dc\u05d5\u05dd \U0001f600 he runs, he said, and ran [70, 71]. The end."
)
NO_FRAMES = np.empty((0, 1, 1, 3), np.uint8)


@pytest.fixture
def record(tmp_path) -> dict:
    return record_of(ANSWER, seconds=100.0, video=tmp_path / "a film.mp4")


def written(record: dict, folder: Path, *names: str) -> dict[str, Path]:
    write_files(record, NO_FRAMES, folder, names)
    return {name: folder / FORMATS[name].file_name for name in names}


def cited(summary: Summary) -> list[tuple[str, tuple[int, ...]]]:
    return [(sentence.text, sentence.frames) for sentence in summary.sentences if sentence.frames]


def test_all_of_them_are_offered(record, tmp_path):
    assert EXPORTS == ("vtt", "srt", "chapters", "ffmetadata", "edl", "otio", "csv", "json3")
    assert all(path.is_file() for path in written(record, tmp_path, *EXPORTS).values())
    args = parse_arguments(["a.mp4", "--format", "json", "--export", "srt, edl,srt"])
    assert args.formats == ["json", "srt", "edl"]
    for given in ("gif", "sheet"):
        with pytest.raises(SystemExit):
            parse_arguments(["a.mp4", "--export", given])


@pytest.mark.parametrize("name", ["vtt", "srt", "json3", "csv", "otio"])
def test_what_a_form_holds_is_read_back(record, tmp_path, name):
    path = written(record, tmp_path, name)[name]
    wanted = parse_answer(ANSWER, 100, "both")
    assert cited(read_summary(path, record["frame_seconds"])) == cited(wanted)
    without_clock = read_summary(path)
    if name == "otio":
        assert without_clock == wanted  # also the sentence that cites nothing
    elif name in ("srt", "json3"):
        assert [one.text for one in without_clock.sentences] == [text for text, _ in cited(wanted)]
        assert without_clock.frames == ()
    else:
        assert cited(without_clock) == cited(wanted)


def test_a_video_summary_is_read_back_from_tables_and_cuts(tmp_path):
    record = record_of("[10, 11, 12, 40].", task="video", seconds=100.0)
    for name, path in written(record, tmp_path, "csv", "otio", "json").items():
        assert read_summary(path) == parse_answer("[10, 11, 12, 40].", 100, "video"), name
    assert not any(path.exists() for path in written(record, tmp_path, "vtt", "srt", "chapters").values())


def test_what_cites_nothing_or_never_ends_has_no_cues(tmp_path):
    names = [name for name in EXPORTS if name != "csv"]
    text = record_of("A man sits.", task="text")
    assert not any(path.exists() for path in written(text, tmp_path, *names, "csv").values())
    loop = record_of("A man spins [10] " + "around and " * 40)
    assert not any(path.exists() for path in written(loop, tmp_path, "vtt", "srt", "json3", "chapters").values())
    noise = record_of("A man sits [10]. A circle, 0, 0, 0, 0, 12 moves [40].")
    assert [one.text for one in read_summary(written(noise, tmp_path, "vtt")["vtt"]).sentences] == ["A man sits."]


def test_subtitles_are_as_players_read_them(record, tmp_path):
    """FFmpeg's own readers of WebVTT and SubRip."""
    paths = written(record, tmp_path, "vtt", "srt")
    texts = [record["sentences"][segment["sentence"]]["text"] for segment in record["segments"]]
    times = [(one["start_seconds"], one["end_seconds"]) for one in record["segments"]]
    in_order = sorted(zip(times, texts), key=lambda pair: pair[0])
    for name, path in paths.items():
        with av.open(str(path)) as opened:
            packets = [packet for packet in opened.demux(subtitles=0) if packet.size]
            shown = [
                (float(one.pts * one.time_base), float((one.pts + one.duration) * one.time_base)) for one in packets
            ]
            said = [bytes(packet).decode().replace("&lt;", "<").replace("&gt;", ">") for packet in packets]
        np.testing.assert_allclose(shown, [times for times, _ in in_order], atol=1e-3)
        assert [text.replace("&amp;", "&") for text in said] == [text for _, text in in_order], name
    assert "<b>" not in paths["vtt"].read_text() and paths["vtt"].read_text().startswith("WEBVTT\n")


def test_foreign_subtitles_are_read(tmp_path):
    (tmp_path / "a.vtt").write_text(
        "\ufeffWEBVTT - a title\n\nNOTE\nby hand\n\n00:01.000 --> 00:03.000 align:start\nA man\nsits.\n\n"
        "second\n00:00:05.500 --> 00:00:06.000\nHe runs.\n"
    )
    clock = np.arange(10).tolist()
    assert cited(read_summary(tmp_path / "a.vtt", clock)) == [("A man sits.", (1, 2)), ("He runs.", ())][:1]
    assert [one.text for one in read_summary(tmp_path / "a.vtt").sentences] == ["A man sits.", "He runs."]
    (tmp_path / "b.srt").write_text("1\n00:00:01,000 --> soon\nA man sits.\n")
    with pytest.raises(ValueError, match=r"b\.srt:2: expected the times of a subtitle, got '00:00:01,000 --> soon'"):
        read_summary(tmp_path / "b.srt")
    for name in ("c.json3", "c.json"):
        (tmp_path / name).write_text('{"events": 3}')
        with pytest.raises(ValueError, match=re.escape(name)):
            read_summary(tmp_path / name)
    (tmp_path / "d.csv").write_text("frame,sentence,text\nx,0,A man sits\n")
    with pytest.raises(ValueError, match=r"d\.csv: expected a table with the columns frame, second"):
        read_summary(tmp_path / "d.csv")
    (tmp_path / "e.otio").write_text("{}")
    with pytest.raises(ValueError, match=r"e\.otio: expected a timeline that this package wrote"):
        read_summary(tmp_path / "e.otio")
    with pytest.raises(ValueError, match=r"f\.edl: expected a file that ends in one of \.json, \.vtt"):
        read_summary(tmp_path / "f.edl")


def test_chapters_of_youtube_keep_its_rules(tmp_path):
    def lines(answer: str) -> list[str]:
        return written(record_of(answer, seconds=100.0), tmp_path, "chapters")["chapters"].read_text().splitlines()

    assert lines("One [12]. Two [30, 31, 80]. Three [50].") == ["0:00 Start", "0:12 One.", "0:30 Two.", "0:50 Three."]
    assert lines("One [03]. Two [30]. Three [38]. Four [95].") == ["0:00 One.", "0:30 Two. / Three. / Four."]
    words = " ".join(f"{chr(97 + place)}word" for place in range(25))
    (line,) = lines(f"A {words} [01].")
    assert len(line) == len("0:00 ") + 100 and line.endswith("...")


def test_sentences_that_begin_together_are_one_chapter_for_ffmpeg(tmp_path):
    record = record_of("One [10]. Two [10, 11]. Three [40].", seconds=100.0)
    path = written(record, tmp_path, "ffmetadata")["ffmetadata"]
    with av.open(str(path), format="ffmetadata") as opened:
        found = [(one["start"], one["end"], one["metadata"]["title"]) for one in opened.chapters()]
    assert found == [(10_000, 40_000, "One. / Two."), (40_000, 100_000, "Three.")]


def test_chapters_are_as_ffmpeg_reads_them(record, tmp_path):
    path = written(record, tmp_path, "ffmetadata")["ffmetadata"]
    with av.open(str(path), format="ffmetadata") as opened:
        chapters = opened.chapters()
    sentences = [one for one in record["sentences"] if one["frames"]]
    assert [one["metadata"]["title"] for one in chapters] == [one["text"] for one in sentences]
    starts = [round(one["start_seconds"] * 1000) for one in sentences]
    assert [(one["start"], one["end"]) for one in chapters] == list(zip(starts, [*starts[1:], 100_000]))


@pytest.mark.parametrize("sound", [False, True])
def test_the_cut_of_editors_is_the_clip(tmp_path, sound):
    otio = pytest.importorskip("opentimelineio")
    source = write_source(tmp_path / "a film.mp4", CONSTANT, sound=sound)
    record = record_of("A man sits [10, 11]. He runs [70, 72].", seconds=6.0, video=source, fps=25.0)
    paths = written(record, tmp_path, "edl", "otio")
    spans = [(round(start * 25), round(end * 25)) for start, end in clip_spans(record)]
    timeline = otio.adapters.read_from_file(str(paths["otio"]))
    assert [track.kind for track in timeline.tracks] == ["Video", "Audio"][: 1 + sound]
    for track in timeline.tracks:
        ranges = [clip.source_range for clip in track]
        assert [(one.start_time.value, one.end_time_exclusive().value) for one in ranges] == spans
        assert {one.start_time.rate for one in ranges} == {25.0}
        for clip in track:
            media = clip.media_reference
            assert media.target_url == source.as_uri() and media.available_range.duration.value == 150
    assert timeline.duration().value == sum(end - start for start, end in spans)
    events = re.findall(r"^(\d{3})  AX +(\w) +C +(\S+) (\S+) (\S+) (\S+)$", paths["edl"].read_text(), re.MULTILINE)
    assert [int(number) for number, *_ in events] == list(range(1, len(spans) + 1))
    assert {channels for _, channels, *_ in events} == {"B" if sound else "V"}

    def frame(code: str) -> int:
        hours, minutes, seconds, rest = map(int, code.split(":"))
        return ((hours * 60 + minutes) * 60 + seconds) * 25 + rest

    at = 0
    for (first, end), (_, _, *codes) in zip(spans, events, strict=True):
        assert list(map(frame, codes)) == [first, end, at, at + end - first]
        at += end - first
    assert "* FROM CLIP NAME: a film.mp4" in paths["edl"].read_text()


def test_the_table_has_all_frames_with_their_scores(record, tmp_path):
    with open(written(record, tmp_path, "csv")["csv"], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == sorted([*range(100), 12])  # which two sentences cite
    for row in rows:
        frame = int(row["frame"])
        assert float(row["second"]) == record["frame_seconds"][frame]
        assert float(row["importance"]) == record["importance"][frame]
        assert row["cited"] == str(int(frame in record["frames"]))


def test_captions_of_youtube(record, tmp_path):
    content = json.loads(written(record, tmp_path, "json3")["json3"].read_text(encoding="utf-8"))
    first = content["events"][0]
    assert first == {"tStartMs": 10000, "dDurationMs": 3000, "segs": [{"utf8": "A man <b>sits</b> & waits."}]}


def test_a_missing_package_is_told_before_anything_is_read(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    with pytest.raises(SystemExit) as stopped:
        parse_arguments(["a.mp4", "--export", "otio"])
    assert stopped.value.code == 2 and 'pip install "llava_v2xum[edit]"' in capsys.readouterr().err
