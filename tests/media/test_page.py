"""The page of a video: what it shows, what it plays, and that nothing of other people's gets through."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote

import av
import numpy as np
import pytest
from films import Film, make, truth_of
from html_page import EVIL, Page, assert_closed

from llava_v2xum.core.answers import parse_answer
from llava_v2xum.core.spans import frame_spans, relative_importance
from llava_v2xum.media.cut import cited_spans
from llava_v2xum.media.page.again import read_shown
from llava_v2xum.media.page.curve import HEIGHT, WIDTH
from llava_v2xum.media.page.html import link
from llava_v2xum.media.page.source import source_for
from llava_v2xum.media.page.video_page import THUMBNAIL, Made, frames_shown, in_order, write_video_page
from llava_v2xum.media.render import make_record

pytestmark = pytest.mark.every_python

ANSWER = "A circle moves [10, 11, 12, 40]. A star rests [80]."
FILM = Film(count=50, rate=Fraction(10))  # 5 seconds


def record_of(answer: str = ANSWER, task: str = "both", video: Path = Path("none.mp4"), **changes) -> dict:
    summary = parse_answer(answer, 100, task)
    importance = np.linspace(0.001, 0.02, 100) if summary.frames else None
    fields = dict(
        video_id="clip", video=video, duration_seconds=5.0, fps=10.0, frame_seconds=np.arange(100) // 2 / 10, task=task,
        answer=answer, importance=importance, model="tiny", versions={},
    )  # fmt: skip
    return make_record(summary, **{**fields, **changes})


def frames_of(made: list[Made]) -> dict[int, np.ndarray]:
    return {number: np.full((54, 96, 3), number, np.uint8) for number in frames_shown(made)}


def page_of(folder: Path, *records: dict, **settings) -> Page:
    """The page of the first of these summaries, each in a folder of its own."""
    made = [Made(record, folder / record["task"]) for record in records]
    for one in made:
        one.folder.mkdir(parents=True, exist_ok=True)
    pages = write_video_page(made, frames_of(made), **settings)
    assert pages == [one.folder / "index.html" for one in made]
    for page in pages:
        assert_closed(Page(page))
    return Page(pages[0])


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return make(FILM, tmp_path_factory.mktemp("films") / "a film.mp4")


def test_sentences_lead_to_their_segments(tmp_path):
    record = record_of()
    page = page_of(tmp_path, record)
    assert "A circle moves" in page.text and "A star rests" in page.text
    first, second, third = record["segments"]
    seeks = [float(one["data-seek"]) for one in page.of("button", class_="sentence")]
    assert seeks == [first["start_seconds"], second["start_seconds"], third["start_seconds"]]
    spans = [[tuple(map(float, span.split("-"))) for span in one["data-spans"].split()] for one in page.of("li")]
    assert spans == [
        [(one["start_seconds"], one["end_seconds"]) for one in record["segments"] if one["sentence"] == number]
        for number in range(2)
    ]
    assert f"{sum(end - start for start, end in cited_spans(record)):.1f} seconds" in page.text


def test_key_frames_are_pictures_at_their_times(tmp_path):
    record = record_of()
    page = page_of(tmp_path, record)
    stills = [(float(button["data-seek"]), image["alt"]) for button, image in
              zip(page.of("button", class_="still"), page.of("img"))]  # fmt: skip
    # of each segment the most important one, large, and then the others
    wanted = [(number, record["frame_seconds"][number]) for number in (12, 10, 11, 40, 80)]
    assert [second for second, _ in stills] == [second for _, second in wanted]
    assert [re.match(r"Frame (\d+)", alt)[1] for _, alt in stills] == [str(number) for number, _ in wanted]
    assert "2 more key frames" in page.text
    assert (tmp_path / "both" / THUMBNAIL).is_file()


def test_the_curve_is_the_importance_in_the_time_of_the_video(tmp_path):
    record = record_of()
    steps = relative_importance(record["importance"], record["frame_seconds"], 5.0)
    assert max(height for _, height in steps) == 1
    scores, spans = record["importance"], frame_spans(record["frame_seconds"], 5.0)
    for span, height in steps:  # of the two indexes of each frame
        both = sum(score for score, one in zip(scores, spans) if one == span)
        assert height == pytest.approx(both / (scores[98] + scores[99]), abs=1e-6)
    page = page_of(tmp_path, record)
    (path,) = page.of("path")
    places = [float(place) for place in re.findall(r"H([\d.]+)", path["d"])]
    assert places[0::2] == [pytest.approx(WIDTH * start / 5) for (start, _), _ in steps]
    assert f"V{HEIGHT}Z" in path["d"]
    bands = [(float(one["x"]), float(one["width"])) for one in page.of("rect")]
    assert bands == [pytest.approx((WIDTH * a / 5, WIDTH * (b - a) / 5)) for a, b in cited_spans(record)]
    (slider,) = page.of("input")
    assert (slider["min"], float(slider["max"])) == ("0", 5.0)


def test_the_tasks_are_tabs_of_one_page(tmp_path):
    answers = {"video": "[10, 11].", "text": "A circle moves. It rests.", "both": ANSWER}
    made = {task: Made(record_of(answer, task), tmp_path / task) for task, answer in answers.items()}
    records = [one.record for one in in_order(made)]
    page = page_of(tmp_path, *records)
    assert [(tab["data-task"], tab["aria-selected"]) for tab in page.of("button", role="tab")] == [
        ("both", "true"), ("video", "false"), ("text", "false"),
    ]  # fmt: skip
    other = Page(tmp_path / "text" / "index.html")
    assert [tab["aria-selected"] for tab in other.of("button", role="tab")] == ["false", "false", "true"]
    assert [one["id"] for one in page.of("section", role="tabpanel")] == ["both", "video", "text"]
    alone = page_of(tmp_path / "alone", records[0])
    assert not alone.of("button", role="tab")


def test_the_clip_and_files_of_every_task_are_found_from_every_folder(tmp_path):
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "summary.mp4").write_bytes(b"clip")
    (tmp_path / "both" / "summary.json").write_text("{}")
    page_of(tmp_path, record_of(), record_of("[10, 11].", "video"))
    for task, where in (("both", "summary.mp4"), ("video", "../both/summary.mp4")):
        page = Page(tmp_path / task / "index.html")
        (clip,) = page.of("video", class_="clip")
        assert clip["src"] == where and (tmp_path / task / where).exists()
        assert {one["href"] for one in page.of("a")} == {where, where.replace("mp4", "json")}
        assert "There is no summary clip beside this page." in page.text  # of the other task


def test_a_text_answer_has_frames_of_the_whole_video_and_nothing_to_seek(tmp_path):
    page = page_of(tmp_path, record_of("A circle moves. It rests.", "text"))
    assert len(page.of("img")) == 12 and not page.of("button", class_="sentence") and not page.of("rect")
    assert "No frame is cited" in page.text and "A circle moves." in page.text


def test_a_loop_is_told_and_folded_away(tmp_path):
    answer = "A circle moves [10]. " + "and a star and a star and a star " * 20
    record = record_of(answer)
    assert any("repeats itself" in problem for problem in record["problems"])
    page = page_of(tmp_path, record)
    assert "This summary has problems: the answer repeats itself without end" in page.text
    assert len(page.of("details")) == 1 and not page.of("button", class_="sentence")
    assert "The answer as the model wrote it" in page.text


def test_other_peoples_text_is_text(tmp_path):
    words = "\u05e9\u05dc\u05d5\u05dd \U0001f600 "
    long = "x" * 10_000
    video = tmp_path / 'q"u<b>.mp4'
    record = record_of(f"{EVIL} [10]. {long} [20, 22]. {words} [30].", video_id=EVIL, model=EVIL, video=video)
    record["problems"] = [EVIL]
    page = page_of(tmp_path, record, warnings=[EVIL])  # assert_closed looks at its tags
    assert page.text.count("<script>alert('x')</script>") >= 5 and "{{ 7 * 7 }}" in page.text
    assert "\x00" not in page.html and "\u202e" not in page.html and "\U0001f600" in page.text
    assert "All of it: 10,0" in page.text and len(page.html) < 60_000
    assert not page.of("b") or all(not attributes for attributes in page.of("b"))


@pytest.mark.parametrize("name", ["a #1?50%.mp4", "c:d.mp4", "e&f;=+ g.mp4", "\u05d0\U0001f600.mp4", "'\"<h>.mp4"])
def test_any_file_name_is_linked(tmp_path, name):
    (tmp_path / "out").mkdir()
    url = link(tmp_path / name, tmp_path / "out")
    assert re.fullmatch(r"[\w./%~-]+", url, re.ASCII) and unquote(url) == f"../{name}"
    assert link(tmp_path / name, tmp_path) == url.removeprefix("../")  # and is no scheme


@pytest.mark.parametrize(
    "film",
    [
        FILM,
        replace(FILM, ending="webm", codec="libvpx", sound=5.0),
        replace(FILM, ending="webm", codec="libvpx-vp9"),
        replace(FILM, codec="libsvtav1"),
        replace(FILM, ending="m4v", sound=5.0, bframes=2),
    ],
    ids=str,
)
def test_what_browsers_play_is_played_as_it_is(tmp_path, film):
    path = make(film, tmp_path / f"film.{film.ending}")
    (tmp_path / "out").mkdir()
    source = source_for(record_of(video=path), tmp_path / "out")
    assert (source.path, source.offset_seconds) == (path, 0) and "itself" in source.note
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "film, why",
    [
        (replace(FILM, ending="avi", codec="mpeg4"), "container"),
        (replace(FILM, ending="mkv"), "container"),
        (replace(FILM, codec="libx265"), "hevc"),
        (replace(FILM, codec="mjpeg"), "mjpeg"),
        (replace(FILM, thumbnail=True), "several video tracks"),
        (replace(FILM, size=(960, 72), ending="mkv", sound=5.0), "container"),
    ],
    ids=str,
)
def test_of_the_rest_a_small_copy_is_made_and_told(tmp_path, film, why):
    path = make(film, tmp_path / f"film.{film.ending}")
    record = record_of(video=path)
    page = page_of(tmp_path / "out", record, copy_seconds=600)
    copy = tmp_path / "out" / "both" / "source.mp4"
    assert why in page.text and "a small copy" in page.text and page.of("video", id="source")[0]["src"] == "source.mp4"
    with av.open(str(copy)) as made:
        video = made.streams.video[0]
        assert video.codec_context.name == "h264" and max(video.width, video.height) <= 640
        assert float(made.duration / av.time_base) == pytest.approx(truth_of(film).duration, abs=0.06)
    before = copy.stat().st_mtime_ns
    assert source_for(record, copy.parent).path == copy and copy.stat().st_mtime_ns == before  # not made again


def test_no_copy_is_made_of_what_is_long_or_where_none_is_wanted(tmp_path):
    path = make(replace(FILM, ending="avi", codec="mpeg4"), tmp_path / "film.avi")
    record = record_of(video=path)
    for limit, told in ((4, "longer than 0:04"), (0, "none was asked for")):
        page = page_of(tmp_path / "out", record, copy_seconds=limit)
        assert told in page.text and not page.of("video", id="source")
    assert not (tmp_path / "out" / "both" / "source.mp4").exists()


def test_a_source_that_is_gone_is_told(tmp_path):
    page = page_of(tmp_path, record_of(video=tmp_path / "gone.mp4"))
    assert "The source cannot be played" in page.text and "gone.mp4" in page.text
    assert page.of("p", id="unplayable") and "hidden" not in page.of("p", id="unplayable")[0]


def test_the_player_starts_where_the_pictures_start(tmp_path):
    path = make(replace(FILM, stamps="late", sound=5.0), tmp_path / "late.mp4")
    source = source_for(record_of(video=path), tmp_path)
    assert source.offset_seconds == pytest.approx(2.0, abs=0.05)


def test_pictures_of_a_page_after_the_fact_are_those_of_the_run(tmp_path, film):
    made = [Made(record_of(video=film), tmp_path)]
    frames, warnings = read_shown(made)
    assert sorted(frames) == frames_shown(made) == [10, 11, 12, 40, 80] and warnings == ()
    from films import numbers_in

    found, off = numbers_in(np.stack([frames[number] for number in sorted(frames)]), 50)
    assert found.tolist() == [number // 2 for number in sorted(frames)] and off.max() < 40
    film_gone = [Made(record_of(video=tmp_path / "gone.mp4"), tmp_path)]
    frames, (warning,) = read_shown(film_gone)
    assert frames == {} and "cannot be read any more" in warning
    write_video_page(film_gone, frames, warnings=[warning])
    assert "could not be had" in Page(tmp_path / "index.html").text
