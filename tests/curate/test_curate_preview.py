"""The page of samples: what it shows, that it escapes everything, and that it asks for nothing."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from curate_world import clips, results_of
from PIL import Image

from llava_v2xum.curate.data_set import preview
from llava_v2xum.curate.data_set.preview import Sample, choose, write_preview
from llava_v2xum.curate.store.stage import Source
from llava_v2xum.media.page.html import shown
from llava_v2xum.media.page.static import PICTURE_PIXELS

VIDEOS = Path(__file__).resolve().parents[3] / "shared" / "videos"
EVIL = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>&amp; ]]> \u202e\x00"


class Page(HTMLParser):
    """Tags with their attributes, and the text in each item of a list."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict]] = []
        self.items: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag == "li":
            self.items.append("")

    def handle_data(self, data) -> None:
        self.text += data
        if self.items:
            self.items[-1] += data

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[Sample]:
    return [Sample(*one) for one in clips(tmp_path_factory.mktemp("clips"), 2)]


def page_of(path: Path, samples: list[Sample], **settings) -> Page:
    return Page(write_preview(path, samples, len(samples), **settings).read_text("utf-8"))


def pictures(page: Page) -> list[np.ndarray]:
    data = [one["src"].removeprefix("data:image/jpeg;base64,") for one in page.of("img")]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one, validate=True)))) for one in data]


def test_each_frame_stands_beside_its_sentence(samples, tmp_path):
    page = page_of(tmp_path / "preview.html", samples)
    expected = []
    for sample in samples:
        kept, dropped = (sample.results["filter"][name] for name in ("frames", "dropped"))
        told = dict(zip(kept, sample.results["refine"]["sentences"]))
        for frame in sorted([*kept, *(one["frame"] for one in dropped)]):
            expected.append((frame, told.get(frame, sample.results["caption"]["captions"][frame]), frame in told))
    assert len(page.items) == len(expected) == len(page.of("img"))
    for item, listed, (frame, text, kept) in zip(page.items, page.of("li"), expected):
        assert f"{frame // 60}:{frame % 60:02d}" in item and text in item
        assert (listed.get("class") == "dropped") == (not kept) == ("score 0.990" in item)
    assert len(page.of("s")) == sum(not kept for *_, kept in expected) > 0  # struck through
    assert [sample.source.video_id in page.text for sample in samples] == [True, True]


def test_pictures_are_the_frames_of_those_seconds(samples, tmp_path):
    from llava_v2xum.evaluate.models.frames import Second, read_moments

    source = samples[0].source
    page = page_of(tmp_path / "preview.html", samples[:1])
    chosen = samples[0].results["filter"]
    frames = sorted([*chosen["frames"], *(one["frame"] for one in chosen["dropped"])])
    read = {}
    for places, batch in read_moments(source.path, [Second(frame) for frame in frames]):
        read.update(zip(places.tolist(), batch))
    assert len(frames) > 2
    for place, picture in enumerate(pictures(page)):
        assert picture.shape == read[place].shape  # a clip is smaller than a picture may be
        apart = [np.abs(picture.astype(float) - other).mean() for other in read.values()]
        assert apart[place] == min(apart) < 8


def test_the_page_asks_for_nothing(samples, tmp_path):
    page = page_of(tmp_path / "preview.html", samples)
    assert {tag for tag, _ in page.tags} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "section", "bdi", "ol", "li", "img", "span",
        "small", "s", "details", "summary",
    }  # fmt: skip
    for tag, attributes in page.tags:
        assert not any(name in ("href", "srcset", "style") or name.startswith("on") for name in attributes), tag
        assert attributes.get("src", "data:").startswith("data:")
    text = (tmp_path / "preview.html").read_text("utf-8")
    assert not re.search(r"https?:|//|url\(|@import", re.sub(r"base64,[\w+/=]+", "", text))
    policy = page.of("meta")[2]["content"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert "prefers-color-scheme: dark" in text and page.of("meta")[1]["content"].startswith("width=device-width")


def test_all_text_is_escaped(samples, tmp_path):
    """In the id, the captions, the sentences, the reason and the title."""
    dropped = ({"frame": 6, "like": 5, "score": 0.95},)
    results = results_of([5], [EVIL], 30.0, dropped, refined=False)
    results["caption"]["captions"][5] = "caption " + EVIL
    results["caption"]["captions"][6] = "dropped " + EVIL
    results["refine"]["why"] = "why " + EVIL
    page = page_of(tmp_path / "p.html", [Sample(Source(EVIL, samples[0].source.path), results)], title="title " + EVIL)
    assert not page.of("script") and len(page.of("img")) == 2 and all("onerror" not in one for one in page.of("img"))
    told = EVIL.replace(" \u202e\x00", " \ufffd\ufffd")
    for before in ("caption ", "dropped ", "why ", "title "):
        assert before + told in page.text
    assert "(script)alert('x')(/script)" in page.text  # the sentence as it is written in the set
    raw = (tmp_path / "p.html").read_text("utf-8")
    assert "<script" not in raw and "\u202e" not in raw and "\x00" not in raw


def test_an_id_that_is_no_unicode_is_shown(samples, tmp_path):
    page = page_of(tmp_path / "p.html", [Sample(Source("a\udc80b", samples[0].source.path), results_of([5], ["A."]))])
    assert "a\ufffdb" in page.text and shown("a\nb\u200d") == "a b\u200d"


def test_a_file_that_is_gone_or_broken_is_told_and_not_where_it_was(samples, tmp_path, caplog):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(samples[0].source.path.read_bytes()[:300])
    gone = Sample(Source("gone", tmp_path / "gone.mp4"), samples[0].results)
    page = page_of(tmp_path / "p.html", [gone, Sample(Source("broken", broken), samples[0].results), samples[1]])
    assert "file is not there any more" in page.text and "cannot be read any more" in page.text
    assert len(page.of("img")) == len(page_of(tmp_path / "q.html", samples[1:]).of("img")) > 0
    assert len(page.items) > len(page.of("img"))  # the text is there all the same
    assert str(tmp_path) not in (tmp_path / "p.html").read_text("utf-8") and "gone.mp4" in caplog.text


def test_a_long_summary_shows_some_of_its_pictures_and_all_of_its_text(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(preview, "MOST_PICTURES", 3)
    frames = list(range(10))
    sample = Sample(samples[0].source, results_of(frames, [f"It is {frame}." for frame in frames]))
    page = page_of(tmp_path / "p.html", [sample])
    assert len(page.items) == 10 and len(page.of("img")) == 3 and "with the pictures of 3" in page.text


def test_a_refined_sentence_keeps_its_caption_at_hand_and_an_unrefined_one_says_why(samples, tmp_path):
    refined = page_of(tmp_path / "p.html", [Sample(samples[0].source, results_of([5], ["A hand."]))])
    assert len(refined.of("details")) == 1 and "The picture of second 5." in refined.items[0]
    same = results_of([5], ["The picture of second 5."], refined=False)
    page = page_of(tmp_path / "p.html", [Sample(samples[0].source, same)])
    assert not page.of("details") and "not refined: no endpoint" in page.text


def test_the_same_samples_give_the_same_page_and_a_failure_leaves_the_former_one(samples, tmp_path, monkeypatch):
    path = write_preview(tmp_path / "p.html", samples, 2)
    first = path.read_bytes()
    assert write_preview(path, samples, 2).read_bytes() == first
    monkeypatch.setattr(preview, "_video", lambda sample: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_preview(path, samples, 2)
    assert path.read_bytes() == first and [one.name for one in tmp_path.iterdir()] == ["p.html"]


def test_samples_are_random_and_do_not_depend_on_order():
    names = [f"v{number:03d}" for number in range(200)]
    chosen = choose(names, 12)
    assert chosen == choose(reversed(names), 12) == sorted(chosen) and len(set(chosen)) == 12
    assert choose(names, 12, seed=1) != chosen != names[:12]
    assert choose(names[:5], 12) == names[:5] and choose([], 3) == []
    assert set(choose([*names, "new"], 12)) - {"new"} <= set(chosen)


@pytest.mark.parametrize("file", sorted(VIDEOS.glob("*.*")) or [None], ids=lambda file: file.name if file else "none")
def test_real_files_have_their_frames(file, tmp_path):
    if file is None:
        pytest.skip("no real videos here")
    results = results_of([0, 2, 6], ["A.", "B.", "C."], 7.0)
    shown = pictures(page_of(tmp_path / "p.html", [Sample(Source(file.stem, file), results)]))
    assert len(shown) == 3
    assert all(200 < max(one.shape) <= PICTURE_PIXELS and one.std() > 5 for one in shown)
