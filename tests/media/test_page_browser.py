"""The pages in a real browser, on a desk and on a phone: what a click leads to, what is seen, and that all is quiet."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import browser as browsers
import numpy as np
import pytest
from browser import is_too_wide, seconds_of, shown, wait_until
from films import Film, make, numbers_in
from html_page import EVIL
from PIL import Image
from test_page import frames_of, record_of

import llava_v2xum
from llava_v2xum.media.formats import write_files
from llava_v2xum.media.page.run_page import write_run_page
from llava_v2xum.media.page.video_page import Made, write_video_page
from llava_v2xum.media.video import read_video

DEMO = Path(llava_v2xum.__file__).parent / "shapes" / "clips" / "demo.mp4"
WORDS = {
    "video": "[10, 11].",
    "text": "A red circle moves. It rests.",
    "both": "A red circle moves [10, 11, 40]. It rests [80].",
}
CLEAN = Film(count=100, size=(192, 144), rate=Fraction(20))

browser = pytest.fixture(scope="module")(browsers.chromium)
both_sizes = pytest.mark.parametrize("size", browsers.SIZES)


def demo_page(folder: Path, *tasks: str) -> Path:
    """The page of the demo clip, with its summary clips."""
    seconds = np.linspace(0, 28, 100)
    made = []
    for task in tasks:
        fields = dict(video_id="demo", video=DEMO, duration_seconds=28.2, fps=25.0, frame_seconds=seconds, model="tiny")
        record = record_of(WORDS[task], task, **fields)
        made.append(Made(record, folder / task / "demo"))
        write_files(record, np.zeros((100, 9, 16, 3), np.uint8), made[-1].folder, ["json", "clip"])
    return write_video_page(made, frames_of(made), folder / "index.html")[0]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """Three tasks of the demo clip, in a run with another video and a failure."""
    folder = tmp_path_factory.mktemp("out #1?")
    page = demo_page(folder, "both", "video", "text")
    made = {file.parents[1].name: Made(json.loads(file.read_text()), file.parent) for file in folder.rglob("*.json")}
    evil = record_of(f"{EVIL} [10]. \u05e9\u05dc\u05d5\u05dd \U0001f600 [20]. {'x' * 10_000} [30].", video_id=EVIL)
    evil["problems"] = [EVIL]
    (folder / "evil").mkdir()
    write_run_page(folder, [made, {"both": Made(evil, folder / "evil")}], [f"{EVIL}: no video"])
    return page


@both_sizes
def test_a_sentence_leads_to_its_place_and_lights_up(browser, page, size):
    with shown(browser, page, size) as tab:
        assert not is_too_wide(tab)
        wait_until(tab, "document.getElementById('source').readyState >= 2")
        tab.get_by_role("button", name="It rests").click()
        record = json.loads((page.parent / "summary.json").read_text())
        start, end = record["sentences"][1]["start_seconds"], record["sentences"][1]["end_seconds"]
        assert start <= seconds_of(tab, "#source") < end + 1
        tab.evaluate("document.getElementById('source').pause()")
        tab.evaluate("(second) => { document.getElementById('source').currentTime = second }", start + 0.05)
        wait_until(tab, "document.querySelector('#both li.now')?.textContent.includes('It rests')")
        assert tab.locator("#both li.now").count() == 1
        assert float(tab.locator("#seek").input_value()) == pytest.approx(start + 0.05, abs=0.02)
        tab.evaluate("document.getElementById('source').currentTime = 0")
        wait_until(tab, "!document.querySelector('li.now')")


@both_sizes
def test_the_clip_plays_and_lights_up_what_it_shows(browser, page, size):
    with shown(browser, page, size) as tab:
        clip = tab.locator(".cut:not([hidden]) .clip")
        clip.evaluate("(one) => { one.muted = true; return one.play() }")
        wait_until(tab, "document.querySelector('.clip').currentTime > 0.2")
        wait_until(tab, "document.querySelector('#both li.now')?.textContent.includes('A red circle')")
        start, end = map(float, clip.get_attribute("data-spans").split()[-1].split("-"))  # and what is around it
        clip.evaluate("(one, back) => { one.pause(); one.currentTime = one.duration - back }", (end - start) / 2)
        wait_until(tab, "document.querySelector('#both li.now')?.textContent.includes('It rests')")


def test_all_is_done_with_keys(browser, page):
    with shown(browser, page) as tab:
        tab.get_by_role("tab", name="Text and key frames").focus()
        tab.keyboard.press("ArrowRight")
        assert tab.evaluate("document.activeElement.id") == "tab-video" and tab.locator("#video").is_visible()
        assert not tab.locator("#both").is_visible()
        tab.keyboard.press("End")
        assert tab.locator("#text").is_visible() and tab.get_by_text("It rests.").last.is_visible()
        tab.keyboard.press("Home")
        tab.get_by_role("slider").focus()
        tab.keyboard.press("End")
        assert seconds_of(tab, "#source") > 27
        tab.get_by_role("button", name="A red circle moves.").focus()
        tab.keyboard.press("Enter")
        assert seconds_of(tab, "#source") < 4


def test_the_tab_of_a_link_is_open(browser, page):
    with shown(browser, f"{page.resolve().as_uri()}#text") as tab:
        assert tab.locator("#text").is_visible() and not tab.locator("#both").is_visible()


def test_where_the_source_is_gone_sentences_lead_into_the_clip(browser, page, tmp_path):
    moved = tmp_path / "a" / "b" / "c" / "page"  # deeper than before
    (moved / "demo").mkdir(parents=True)
    for name in ("index.html", "summary.mp4"):
        (moved / "demo" / name).write_bytes((page.parent / name).read_bytes())
    with shown(browser, moved / "demo" / "index.html", elsewhere=True) as tab:
        tab.get_by_text("The player could not open its file from here.").wait_for()
        tab.get_by_role("button", name="It rests").click()
        spans = tab.locator(".clip").first.get_attribute("data-spans").split()
        last = float(spans[-1].split("-")[1]) - float(spans[-1].split("-")[0])
        length = tab.evaluate("document.querySelector('.clip').duration")
        assert seconds_of(tab, ".clip") == pytest.approx(length - last, abs=0.3)


@both_sizes
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_table_of_a_run_is_sorted_searched_and_leads_on(browser, page, size, scheme):
    with shown(browser, page.parents[2] / "index.html", size, scheme) as tab:
        assert not is_too_wide(tab)
        assert tab.get_by_text("1 could not be summarized").is_visible()
        names = tab.locator("tbody .name")
        tab.get_by_role("button", name="Length").click()
        assert names.all_inner_texts()[1] == "demo"
        tab.get_by_role("button", name="Length").click()
        assert names.all_inner_texts()[0] == "demo"
        tab.get_by_label("Search names and sentences").fill("\u05e9\u05dc\u05d5\u05dd \U0001f600")
        assert tab.locator("tbody tr:visible").count() == 1 and tab.get_by_text("1 of 2").is_visible()
        tab.get_by_label("Search names and sentences").fill("circle  RED")
        tab.get_by_role("link", name="demo").click()
        tab.wait_for_url("**/demo/index.html")
        tab.get_by_role("link", name="All videos of this run").click()
        tab.wait_for_url("**/index.html")
        paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


@pytest.mark.parametrize(
    "film",
    [
        CLEAN,
        replace(CLEAN, bframes=2, sound=5.0),
        replace(CLEAN, rate=Fraction(30_000, 1001), count=150),
        replace(CLEAN, stamps="late", sound=7.0),
        replace(CLEAN, stamps="early", sound=5.0),
        replace(CLEAN, stamps="varying"),
        replace(CLEAN, ending="webm", codec="libvpx-vp9", sound=5.0),
        replace(CLEAN, ending="mkv", sound=5.0),  # a copy
        replace(CLEAN, ending="avi", codec="mpeg4"),  # a copy
        replace(CLEAN, ending="ts", stamps="late", sound=7.0),  # a copy
    ],
    ids=str,
)
def test_what_is_seen_is_the_frame_that_is_cited(browser, tmp_path, film):
    """The picture in the player after a click is the very one whose number the picture itself shows."""
    path = make(film, tmp_path / f"film.{film.ending}")
    video = read_video(path)
    answer = "One [07]. Two [48, 49]. Three [90]."
    fields = dict(video=path, duration_seconds=video.duration_seconds, frame_seconds=video.frame_seconds)
    record = record_of(answer, **fields)
    (page,) = write_video_page([Made(record, tmp_path)], {}, copy_seconds=60)
    numbers, _ = numbers_in(video.frames[[7, 48, 90]], film.count)
    with shown(browser, page) as tab:
        wait_until(tab, "document.getElementById('source').readyState >= 2")
        seen = []
        for button in tab.locator(".sentence").all():
            tab.evaluate("document.getElementById('source').play = () => Promise.resolve()")
            button.click()
            seconds_of(tab, "#source")
            tab.evaluate("document.getElementById('source').controls = false")
            tab.wait_for_timeout(150)
            box = Image.open(io.BytesIO(tab.locator("#source").screenshot())).convert("RGB")
            seen.append(_picture_of(np.asarray(box), film.size))
        found, off = numbers_in(np.stack(seen), film.count)
    assert found.tolist() == numbers.tolist() and off.max() < 60


def _picture_of(shot: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The video in its black frame, uint8 [h, w, 3]."""
    height, width = shot.shape[:2]
    scale = min(height / size[1], width / size[0])
    h, w = round(size[1] * scale), round(size[0] * scale)
    top, left = (height - h) // 2, (width - w) // 2
    return shot[top : top + h, left : left + w]
