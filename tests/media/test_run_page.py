"""The page of a run: a row a video, its problems, what failed, and that nothing of other people's gets through."""

from __future__ import annotations

from pathlib import Path

import pytest
from html_page import EVIL, Page, assert_closed
from test_page import frames_of, record_of

from llava_v2xum.media.cut import cited_spans
from llava_v2xum.media.page.run_page import write_run_page
from llava_v2xum.media.page.video_page import Made, write_video_page

pytestmark = pytest.mark.every_python


def made_of(folder: Path, name: str, *records: dict, with_page: bool = True) -> dict[str, Made]:
    made = {record["task"]: Made({**record, "video_id": name}, folder / record["task"] / name) for record in records}
    for one in made.values():
        one.folder.mkdir(parents=True)
    if with_page:
        write_video_page(list(made.values()), frames_of(list(made.values())))
    return made


def page_of(folder: Path, videos: list[dict[str, Made]], failures: tuple[str, ...] = (), old: int = 0) -> Page:
    page = Page(write_run_page(folder, videos, failures, old))
    assert_closed(page)
    return page


def test_a_row_has_the_figures_of_its_video(tmp_path):
    both, text = record_of(), record_of("A circle moves. It rests. It goes.", "text")
    video = made_of(tmp_path, "a #1", both, text)
    page = page_of(tmp_path, [video])
    keys = [one["data-key"] for one in page.of("td") if "data-key" in one]
    share = sum(end - start for start, end in cited_spans(both)) / 5
    assert keys == ["a #1", "5.0", "3", str(round(share, 4)), "0"]
    (name,) = page.of("a", class_="name")
    assert name["href"] == "both/a%20%231/index.html"
    assert page.of("img")[0]["src"] == "both/a%20%231/thumbnail.jpg"
    assert "A circle moves. A star rests." in page.text and "A circle moves. It rests. It goes." in page.text
    assert "1 video summarized" in page.text and "could not" not in page.text


def test_problems_and_failures_are_told(tmp_path):
    cited = record_of("A circle moves [10].", "text")
    page = page_of(tmp_path, [made_of(tmp_path, "a", cited)], ("b.mp4: is empty", "c.mp4: sound only"))
    assert "a TEXT answer cites frames" in page.text and "1 with problems" in page.text
    assert "2 could not be summarized" in page.text
    assert [text.strip() for tag, text in page.texts if tag == "li"] == ["b.mp4: is empty", "c.mp4: sound only"]


def test_other_peoples_text_is_text(tmp_path):
    record = record_of(f"{EVIL} [10]. {'x' * 10_000} [20].")
    record["problems"] = [EVIL]
    page = page_of(tmp_path, [{"both": Made({**record, "video_id": EVIL}, tmp_path / "none")}], (EVIL,))
    assert page.text.count("<script>alert('x')</script>") >= 4 and len(page.html) < 30_000
    assert "(no page)" in page.text and not page.of("a", class_="name")


def test_a_run_without_any_summary_and_what_is_not_shown_are_told(tmp_path):
    page = page_of(tmp_path, [], old=2)
    assert "0 videos summarized, 2 of an older release not shown" in page.text
