"""The app in a real browser: a file is dropped in, and its summary is watched; it skips without gradio or a browser."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import browser as browsers
import pytest
from browser import seconds_of, shown

from llava_v2xum import Summarizer
from llava_v2xum.infer.web.visits import Visits
from llava_v2xum.shapes import DEMO_CLIP

pytest.importorskip("gradio", reason='no gradio: pip install -e ".[web]"')
uvicorn = pytest.importorskip("uvicorn")

SECONDS = 60  # for a summary, on a busy machine
browser = pytest.fixture(scope="module")(browsers.chromium)
both_sizes = pytest.mark.parametrize("size", browsers.SIZES)


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[tuple[str, Visits]]:
    """The app's URL, and its visits: files of at most 2 MB, videos of at most 30 seconds."""
    from llava_v2xum.infer.web.app import Limits, build_app

    folder = tmp_path_factory.mktemp("app")
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "gradio")
    limits = Limits(upload_megabytes=2, video_seconds=30)
    visits = Visits(folder / "visits", limits.keep_seconds)
    app = build_app(Summarizer.from_pretrained(device="cpu"), visits, limits)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        end = time.monotonic() + 30
        while not server.started and time.monotonic() < end:
            time.sleep(0.1)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", visits
        server.should_exit = True
        thread.join(20)
    del os.environ["GRADIO_TEMP_DIR"]


def drop(tab, path: Path) -> None:
    tab.locator("#video input[type=file]").first.set_input_files(path)
    tab.locator("#video video").wait_for()


def send(tab):
    """The page that comes."""
    tab.get_by_role("button", name="Send").click()
    tab.locator("#page iframe").wait_for(timeout=1000 * SECONDS)
    return tab.frame_locator("#page iframe")


@both_sizes
def test_a_dropped_video_is_summarized_and_watched(browser, served, tmp_path, size):
    film = shutil.copy(DEMO_CLIP, tmp_path / "my film.mp4")
    with shown(browser, served[0], size, elsewhere=True) as tab:  # gradio itself warns of what it does not have
        drop(tab, film)
        tab.get_by_label("All", exact=True).check()
        page = send(tab)
        assert page.locator("h1").inner_text() == "my film" and page.get_by_role("tab").count() == 3
        page.get_by_role("button", name="A green star").click()
        tab.wait_for_timeout(500)
        assert 7 < page.locator("#source").evaluate("(one) => one.currentTime") < 9
        address = tab.locator("#page iframe").get_attribute("src")
        with tab.expect_download() as download:
            page.get_by_role("link", name="summary.json").first.click()
        assert '"video": "my film.mp4"' in Path(download.value.path()).read_text("utf-8")
    with shown(browser, served[0] + address, size) as tab:  # by itself
        tab.get_by_role("button", name="A green star").click()
        assert 7 < seconds_of(tab, "#source") < 9
    told = "".join(path.read_text("utf-8") for path in served[1].root.rglob("*.html"))
    assert str(served[1].root) not in told and str(tmp_path) not in told


def test_the_demo_clip_is_as_long_as_asked(browser, served):
    with shown(browser, served[0], elsewhere=True) as tab:
        tab.get_by_role("button", name="Demo", exact=True).click()
        tab.locator("#video video").wait_for()
        tab.get_by_label("Length").fill("2 sentences")
        page = send(tab)
        assert page.locator("h1").inner_text() == "demo" and page.locator(".sentence:visible").count() == 2


@pytest.mark.parametrize(
    "what, told",
    [
        ("nothing", "Drop a video first"),
        ("length", "The length must be such as 30s"),
        ("no video", "is not a video"),
        ("long", "at most 0:30"),
    ],
)
def test_what_cannot_be_done_is_told(browser, served, tmp_path, what, told):
    with shown(browser, served[0], elsewhere=True) as tab:
        if what == "length":
            tab.get_by_label("Length").fill("half of it")
        if what == "no video":
            (tmp_path / "bad.mp4").write_bytes(b"no video")
            tab.locator("#video input[type=file]").first.set_input_files(tmp_path / "bad.mp4")
            tab.wait_for_timeout(1500)
        elif what == "long":
            from films import Film, make

            drop(tab, make(Film(count=800), tmp_path / "long.mp4"))
        elif what != "nothing":
            drop(tab, DEMO_CLIP)
        tab.get_by_role("button", name="Send").click()
        tab.get_by_text(told).first.wait_for(timeout=1000 * SECONDS)


@pytest.mark.parametrize("path", ["/gradio_api/file=/etc/passwd", f"/gradio_api/file={DEMO_CLIP}x", "/summary/x/../y"])
def test_no_other_file_can_be_read(served, path):
    with pytest.raises(urllib.error.HTTPError) as told:
        urllib.request.urlopen(served[0] + path)
    assert told.value.code in (403, 404)


def test_what_is_too_large_is_refused(served):
    data = b"--x\r\nContent-Disposition: form-data; name=\"files\"; filename=\"a.mp4\"\r\n\r\n" + bytes(3_000_000)
    request = urllib.request.Request(
        served[0] + "/gradio_api/upload", data + b"\r\n--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}
    )
    with pytest.raises(urllib.error.HTTPError) as told:
        urllib.request.urlopen(request)
    assert told.value.code == 413
