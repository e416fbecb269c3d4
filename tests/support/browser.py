"""A real browser for pages: the system's Chromium, driven by Playwright; tests skip where either is missing.

    apt-get install chromium; pip install playwright
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZES = {"desk": (1280, 900), "phone": (390, 844)}


def chromium() -> Iterator:
    """The browser, as a fixture has it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium on the PATH: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def shown(browser, page: Path | str, size: str = "desk", scheme: str = "light", elsewhere: bool = False) -> Iterator:
    """A page in a window of its own. At the end it has said nothing to the console and asked no other machine.

    Args:
        page: a file, or a URL of this machine.
        size: of `SIZES`.
        elsewhere: whether files may be missing, of which the console tells.
    """
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    tab = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    url = page if isinstance(page, str) else page.resolve().as_uri()
    tab.goto(url)
    try:
        yield tab
    finally:
        context.close()
    here = ("file:", "data:", "blob:", "http://127.0.0.1:", "ws://127.0.0.1:")
    assert [url for url in asked if not url.startswith(here)] == []
    assert elsewhere or said == []


def wait_until(tab, expression: str, seconds: float = 15) -> None:
    """Return when JavaScript finds it so; Playwright's own waiting is what the policy of the pages forbids."""
    end = time.monotonic() + seconds
    while not tab.evaluate(expression):
        assert time.monotonic() < end, f"not within {seconds} seconds: {expression}"
        tab.wait_for_timeout(50)


def seconds_of(tab, selector: str) -> float:
    """Where a player is, once it is there."""
    wait_until(tab, f"!document.querySelector('{selector}').seeking")
    return tab.evaluate("(one) => document.querySelector(one).currentTime", selector)


def is_too_wide(tab) -> bool:
    """Whether a reader would have to scroll sideways."""
    return tab.evaluate("document.documentElement.scrollWidth > window.innerWidth")
