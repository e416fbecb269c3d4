"""The pages that the command writes: which, when, and that they tell what the folder holds, however the run went."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from films import Film, make
from html_page import Page, assert_closed

from llava_v2xum import Summarizer
from llava_v2xum.infer import run as run_module
from llava_v2xum.infer.failures import FAILURES, Failures
from llava_v2xum.infer.run import InferRun, main
from llava_v2xum.infer.summarizer import Summarizer as Real
from llava_v2xum.media.helper import Helper, HelperError
from llava_v2xum.shapes import make_clip, write_clip


@pytest.fixture(scope="module")
def loaded() -> Summarizer:
    return Summarizer.from_pretrained(device="cpu")


@pytest.fixture
def command(loaded, monkeypatch):
    """The command in this process, with the demo loaded once."""
    monkeypatch.setattr(Real, "from_pretrained", lambda *arguments, **settings: loaded)
    return lambda *arguments: main([str(argument) for argument in (*arguments, "--device", "cpu")])


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    chosen = sorted((make_clip(77, index) for index in range(20)), key=lambda clip: clip.total_frames)[:2]
    return [write_clip(clip, folder / f"{clip.video_id}.mp4") for clip in chosen]


def rows_of(folder: Path) -> list[str]:
    """The names in the table of a run, whose links all lead to a page and a picture."""
    page = Page(folder / "index.html")
    assert_closed(page)
    names = page.of("a", class_="name")
    assert all((folder / one["href"]).is_file() for one in names)
    assert all((folder / one["src"]).is_file() for one in page.of("img")) and len(page.of("img")) == len(names)
    return [one["data-key"] for one in page.of("td") if one.get("class") == "wide"]


@pytest.mark.parametrize("workers", [0, 2])
def test_every_video_has_a_page_and_the_run_has_one(command, clips, tmp_path, workers, capsys):
    out = tmp_path / "out"
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    given = (*clips, tmp_path / "broken.mp4", tmp_path / "gone.mp4")
    assert command(*given, "--task", "all", "--output-dir", out, "--workers", workers) == 1
    assert f"page: {out / 'index.html'}" in capsys.readouterr().err
    assert rows_of(out) == [path.stem for path in clips]
    told = Page(out / "index.html").text
    assert "2 could not be summarized" in told and "broken.mp4: is not a video" in told and "gone.mp4: no such" in told
    for path in clips:
        for task in ("video", "text", "both"):
            page = Page(out / task / path.stem / "index.html")
            record = json.loads((out / task / path.stem / "summary.json").read_text())
            assert len(page.of("button", role="tab")) == 3
            assert all(sentence["text"] in page.text for sentence in record["sentences"])
            assert len(page.of("video", class_="clip")) == 2
            assert all((out / task / path.stem / one["src"]).is_file() for one in page.of("video"))


def test_no_page_leaves_none_and_a_later_run_writes_them_without_the_model(command, clips, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert command(*clips, "--output-dir", out, "--no-page") == 0
    assert not list(out.rglob("index.html")) and not list(out.rglob("thumbnail.jpg"))
    monkeypatch.setattr(InferRun, "load", lambda run: pytest.fail("the model is not needed"))
    assert command(*clips, "--output-dir", out) == 0
    assert rows_of(out) == [path.stem for path in clips]
    assert Page(out / clips[0].stem / "index.html").of("button", class_="still")


def test_a_run_that_goes_on_has_the_page_of_all(command, clips, tmp_path):
    out, late = tmp_path / "out", tmp_path / "late.mp4"
    assert command(clips[0], late, "--output-dir", out) == 1
    assert rows_of(out) == [clips[0].stem] and "1 could not" in Page(out / "index.html").text
    assert command(clips[1], "--output-dir", out) == 0
    assert rows_of(out) == [path.stem for path in clips]
    assert "late.mp4: no such" in Page(out / "index.html").text  # which that run did not try
    shutil.copy(clips[0], late)
    assert command(late, "--output-dir", out) == 0
    assert rows_of(out) == [*(path.stem for path in clips), "late"]
    assert "could not" not in Page(out / "index.html").text and not (out / FAILURES).exists()


def test_an_interrupted_run_has_the_page_of_what_it_did(command, clips, tmp_path, monkeypatch):
    def interrupted(run, *arguments):
        progress(run, *arguments)
        raise KeyboardInterrupt

    progress = run_module.Progress.advance
    monkeypatch.setattr(run_module.Progress, "advance", interrupted)
    assert command(*clips, "--output-dir", tmp_path / "out", "--workers", 0) == 130
    assert rows_of(tmp_path / "out") == [clips[0].stem]
    monkeypatch.setattr(run_module.Progress, "advance", progress)
    assert command(*clips, "--output-dir", tmp_path / "out", "--workers", 0) == 0
    assert rows_of(tmp_path / "out") == [path.stem for path in clips]


def test_a_page_that_would_be_of_another_answer_goes(command, clips, tmp_path):
    out = tmp_path / "out"
    assert command(clips[0], "--output-dir", out) == 0
    assert command(clips[0], "--output-dir", out, "--overwrite", "--task", "video", "--no-page") == 0
    assert not list(out.rglob("index.html"))


def test_a_source_that_browsers_do_not_play_is_copied_unless_that_is_not_wanted(command, tmp_path):
    film = make(Film(ending="avi", codec="mpeg4", count=40), tmp_path / "film.avi")
    for options, there in (((), True), (("--page-copy", 0), False), (("--page-copy", 1), False)):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        assert command(film, "--output-dir", out, *options) == 0
        assert (out / "film" / "source.mp4").is_file() == there
        assert bool(Page(out / "film" / "index.html").of("video", id="source")) == there


def test_a_copy_that_its_process_dies_of_is_left_out(command, clips, tmp_path, monkeypatch, capsys):
    call = Helper.call

    def crashing(helper, function, *arguments):
        if getattr(function, "__func__", None) is not None and getattr(function.__self__, "copy_seconds", 0):
            raise HelperError("the process was ended (signal SIGSEGV)")
        return call(helper, function, *arguments)

    monkeypatch.setattr(Helper, "call", crashing)
    assert command(*clips, "--output-dir", tmp_path / "out", "--workers", 2) == 0
    assert "its page has no copy of the source: the process was ended (signal SIGSEGV)" in capsys.readouterr().err
    assert rows_of(tmp_path / "out") == [path.stem for path in clips]


@pytest.mark.parametrize("name", ["index.html", "failures.jsonl"])
def test_names_that_are_not_free_are_refused(command, clips, tmp_path, name, capsys):
    video = shutil.copy(clips[0], tmp_path / f"{name}.mp4")
    assert command(video, "--output-dir", tmp_path / "out") == 2
    assert f"its id {name!r} is not free for a folder" in capsys.readouterr().err


def test_failures_of_all_ranks_come_together(tmp_path):
    before = Failures(tmp_path)
    before.add("a.mp4", "a.mp4: empty")
    before.add("other.mp4", "other.mp4: empty")
    assert before.merge(["a.mp4", "other.mp4"]) == ["a.mp4: empty", "other.mp4: empty"]
    killed = [Failures(tmp_path, rank, 3) for rank in range(3)]
    killed[2].add("killed.mp4", "killed.mp4: empty")
    killed[1].add("a.mp4", "a.mp4: as an earlier run had it")
    ranks = [Failures(tmp_path, rank, 2) for rank in range(2)]
    ranks[1].add("c.mp4", "c.mp4: sound only")
    told = ranks[0].merge(["a.mp4", "b.mp4", "c.mp4"])
    assert told == ["other.mp4: empty", "killed.mp4: empty", "c.mp4: sound only"]
    assert [path.name for path in tmp_path.iterdir()] == [FAILURES]
    (tmp_path / FAILURES).write_text("{}\nno JSON\n" + (tmp_path / FAILURES).read_text())
    assert Failures(tmp_path).merge([]) == told


def test_what_an_older_release_wrote_is_shown_as_far_as_it_goes(command, clips, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(*clips, "--output-dir", out, "--no-page") == 0
    records = [json.loads(line) for line in (out / "summaries.jsonl").read_text().splitlines()]
    for record, lost in zip(records, (("segments",), ("segments", "frame_seconds"))):
        for key in lost:
            del record[key]
    (out / "summaries.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert command(*clips, "--output-dir", out) == 0
    assert rows_of(out) == [clips[0].stem]
    assert "1 of an older release not shown" in Page(out / "index.html").text
    assert f"{clips[1].stem}: there is no page of it" in capsys.readouterr().err
