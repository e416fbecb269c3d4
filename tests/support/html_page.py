"""A page of HTML as tests look at it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

EVIL = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>&amp; ]]> {{ 7 * 7 }} \u202e\x00"
SCHEMES = re.compile(r"^([a-z][a-z0-9+.-]*):", re.IGNORECASE)


class Page(HTMLParser):
    """Tags with their attributes, and their text."""

    def __init__(self, html: str | Path) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html.read_text("utf-8") if isinstance(html, Path) else html
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[tuple[str, str]] = []  # the tag that was opened last, where it is open still, and the text
        self.open = ""
        self.feed(self.html)

    def handle_starttag(self, tag, attributes) -> None:
        self.tags.append((tag, dict(attributes)))
        self.open = tag

    def handle_endtag(self, tag) -> None:
        self.open = ""

    def handle_data(self, data) -> None:
        self.texts.append((self.open, data))

    def of(self, tag: str, **wanted: str) -> list[dict]:
        """The attributes of the tags of a name, and with these values (`class_` for class, data_x for data-x)."""
        keys = {name.rstrip("_").replace("_", "-"): value for name, value in wanted.items()}
        return [found for name, found in self.tags if name == tag and keys.items() <= found.items()]

    @property
    def text(self) -> str:
        return " ".join(" ".join(text for tag, text in self.texts if tag not in ("script", "style")).split())


def assert_closed(page: Page) -> None:
    """Nothing of other people's runs, and nothing is asked of another machine."""
    (script,) = [text for tag, text in page.texts if tag == "script"]
    (policy,) = page.of("meta", http_equiv="Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy["content"] and "default-src 'none'" in policy["content"]
    assert len(page.of("script")) == len(page.of("style")) == 1
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert "style" not in attributes or tag == "link"
        for name in ("src", "href", "poster"):
            scheme = SCHEMES.match(attributes.get(name) or "")
            assert scheme is None or scheme[1] == "data", (tag, attributes)
    assert not re.search(r"https?://", re.sub(r"data:[^\"]+", "", page.html))
