"""The store, and stages run over videos: what is stored, resumed, rejected and told."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from llava_v2xum.core.endpoint.outcomes import Failed, Stop
from llava_v2xum.core.endpoint.store import Cost, Ledger, Store, StoreError
from llava_v2xum.curate.progress import Progress
from llava_v2xum.curate.rounds import MOST_FAILURES, Curation, LocalEngine
from llava_v2xum.curate.sources import find_sources
from llava_v2xum.curate.store.stage import GPU, Rejected, Source, Stage, fingerprints
from llava_v2xum.curate.store.work import DONE, END, OUT, Outcome


class Digest(Stage):
    """The file's text stands for its content."""

    name = "select"

    def __init__(self, **settings):
        self.own, self.seen = settings, []

    def settings(self):
        return self.own

    def work(self, source, before, ledger):
        self.seen.append(source.video_id)
        text = source.path.read_text()
        if text == "bad":
            raise Rejected("unreadable", "expected a video, got bad")
        return {"digest": text}

    def settle(self, results):
        kept, out = {}, {}
        for video_id, result in results.items():
            first = kept.setdefault(result["digest"], video_id)
            if first != video_id:
                out[video_id] = Rejected("duplicate", f"the same as {first}")
        return out


class Letters(Stage):
    """A paid call for each letter, stored as it comes."""

    name = "caption"
    needs = GPU
    workers = 3

    def __init__(self, fail_at=None, error=Failed, **settings):
        self.own, self.fail_at, self.error, self.calls = settings, fail_at, error, []

    def settings(self):
        return self.own

    def work(self, source, before, ledger):
        captions = []
        for number, letter in enumerate(before["select"]["digest"]):
            caption = ledger.get(str(number))
            if caption is None:
                if letter == self.fail_at:
                    raise self.error(f"no answer for {letter}")
                self.calls.append(letter)
                caption = letter.upper()
                ledger.put(str(number), caption, Cost(1, 10, 2, 0.5))
            captions.append(caption)
        return {"captions": captions}


@pytest.fixture
def store(tmp_path):
    with_store = Store(tmp_path / "work.sqlite")
    yield with_store
    with_store.close()


@pytest.fixture
def sources(tmp_path):
    for name, text in {"a": "abc", "b": "bad", "c": "cde", "d": "abc"}.items():
        (tmp_path / f"{name}.mp4").write_text(text)
    return [Source(name, tmp_path / f"{name}.mp4") for name in "abcd"]


def go(store, sources, *stages):
    return Curation(stages, store, LocalEngine(), Progress(quiet=True)).run(sources)


def test_videos_go_through_all_stages_once(store, sources):
    select, letters = Digest(), Letters()
    curated = go(store, sources, select, letters)
    assert list(curated.finished) == ["a", "c"]
    assert curated.finished["a"]["caption"] == {"captions": ["A", "B", "C"]}
    assert [(left.video_id, left.kind) for left in curated.rejected] == [("b", "unreadable"), ("d", "duplicate")]
    assert not curated.failed
    assert curated.costs["caption"].calls == 6 and curated.costs["caption"].prompt_tokens == 60
    assert curated.costs["caption"].seconds >= 3.0

    again = Digest(), Letters()
    repeated = go(store, sources, *again)
    assert again[0].seen == [] and again[1].calls == []
    assert {video: dict(found) for video, found in repeated.finished.items()} == {
        video: dict(found) for video, found in curated.finished.items()
    }
    assert repeated.rejected == curated.rejected


def test_what_was_stored_before_a_failure_is_not_paid_again(store, sources):
    failing = Letters(fail_at="d")
    curated = go(store, sources, Digest(), failing)
    left = curated.failed[0]
    assert (left.video_id, left.stage, left.reason) == ("c", "caption", "no answer for d")
    assert sorted(failing.calls) == list("abcc")
    after = Letters()
    assert list(go(store, sources, Digest(), after).finished) == ["a", "c"]
    assert after.calls == ["d", "e"]  # not c, which the failed try had paid for


def test_a_changed_setting_runs_again_from_there_on(store, sources, capsys):
    go(store, sources, Digest(), Letters(prompt="one"))
    select, letters = Digest(), Letters(prompt="two")
    curation = Curation((select, letters), store, LocalEngine(), Progress(quiet=True))
    curation.run(sources)
    assert select.seen == [] and len(letters.calls) == 6
    assert "caption prompt was 'one' and is 'two'" in capsys.readouterr().err
    back = Letters(prompt="one")
    go(store, sources, Digest(), back)
    assert back.calls == []  # the first answers are still there
    select, letters = Digest(minimum=3), Letters(prompt="one")
    go(store, sources, select, letters)
    assert len(select.seen) == 4 and len(letters.calls) == 6


def test_a_moved_file_is_not_captioned_again(store, sources, tmp_path):
    go(store, sources, Digest(), Letters())
    moved = sources[0].path.rename(tmp_path / "z.mp4")
    select, letters = Digest(), Letters()
    assert "z" in go(store, [Source("z", moved)], select, letters).finished
    assert select.seen == ["z"] and letters.calls == []


def test_a_stop_ends_the_run_and_keeps_what_was_found(store, sources):
    with pytest.raises(Stop, match="no answer for e"):
        go(store, sources, Digest(), Letters(fail_at="e", error=Stop))
    after = Letters()
    go(store, sources, Digest(), after)
    assert after.calls == ["e"]


def test_failures_in_a_row_end_the_run(store, tmp_path):
    for number in range(MOST_FAILURES + 3):
        (tmp_path / f"{number:02d}.mp4").write_text(f"x{number}")
    with pytest.raises(Stop, match=f"caption failed for {MOST_FAILURES} videos in a row; the last: no answer for x"):
        go(store, find_sources([tmp_path]), Digest(), Letters(fail_at="x"))


def test_an_error_nobody_foresaw_costs_one_video(store, sources, caplog):
    curated = go(store, sources, Digest(), Letters(fail_at="d", error=ZeroDivisionError))
    assert list(curated.finished) == ["a"]
    assert [left.kind for left in curated.failed] == ["ZeroDivisionError"]
    assert "an error that nobody foresaw" in caplog.text and "Traceback" in caplog.text


def test_missing_files_are_told_and_end_nothing(store, sources, tmp_path):
    missing = [Source(f"m{number:02d}", tmp_path / f"m{number:02d}.mp4") for number in range(MOST_FAILURES + 1)]
    curated = go(store, missing + sources, Digest(), Letters())
    assert list(curated.finished) == ["a", "c"]
    assert len(curated.failed) == len(missing) and "cannot be looked up" in curated.failed[0].reason


def test_fingerprints_follow_all_settings_before_them():
    base = fingerprints([Digest(), Letters()])
    assert base == fingerprints([Digest(), Letters()])
    assert base[0] != fingerprints([Digest(minimum=1), Letters()])[0]
    assert base[1] != fingerprints([Digest(minimum=1), Letters()])[1]
    changed = fingerprints([Digest(), Letters(prompt=1)])
    assert changed[0] == base[0] and changed[1] != base[1]


def test_which_videos_are_selected_changes_no_later_result(monkeypatch, store, sources):
    monkeypatch.setattr(Digest, "only_selects", True)
    go(store, sources, Digest(minimum=1), Letters())
    select, letters = Digest(minimum=2), Letters()
    assert len(go(store, sources, select, letters).finished) == 2
    assert len(select.seen) == 4 and letters.calls == []
    assert fingerprints([Digest(minimum=2), Letters(prompt=1)])[1] != fingerprints([Digest(), Letters()])[1]


def test_a_stage_that_only_selects_may_stand_between_others(monkeypatch):
    """What comes behind it depends on the stages before it, and not on it."""
    monkeypatch.setattr(Digest, "only_selects", True)

    def last(prompt, minimum):
        return fingerprints([Digest(), Letters(prompt=prompt), Digest(minimum=minimum), Letters()])[-1]

    assert last("one", 1) == last("one", 2) == fingerprints([Digest(), Letters(prompt="one"), Letters()])[-1]
    assert last("two", 1) != last("one", 1)


def test_store_keeps_values_costs_and_refuses_other_files(tmp_path):
    store = Store(tmp_path / "s.sqlite")
    ledger = Ledger(store, "refine", "f", "item")
    assert ledger.get() is None
    ledger.put("part", ["é\u2028", 1.5], Cost(2, 3, 4, 0.25))
    assert ledger.spent == Cost(2, 3, 4, 0.25)
    store.close()
    again = Store(tmp_path / "s.sqlite")
    assert again.get("refine", "f", "item", "part") == ["é\u2028", 1.5]
    assert again.cost("refine", "f") == Cost(2, 3, 4, 0.25)
    Ledger(again, "refine", "f", "item").put("", {"x": None}, Cost(seconds=1))
    assert again.get("refine", "f", "item", "part") is None  # the whole is there, and bears the part's cost
    assert again.items("refine", "f") == {"item"} and again.items("refine", "g") == set()
    assert again.cost("refine", "f") == Cost(2, 3, 4, 1.25)
    again.close()
    (tmp_path / "no.sqlite").write_text("this is no database" * 100)
    with pytest.raises(ValueError, match="no.sqlite: expected a store of curated results"):
        Store(tmp_path / "no.sqlite")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="folder: the store of results cannot be opened"):
        Store(tmp_path / "folder")
    newer = sqlite3.connect(tmp_path / "newer.sqlite")
    newer.execute("pragma user_version = 99")
    newer.close()
    with pytest.raises(ValueError, match=r"newer.sqlite: .*version 99 and not \d+: give another --out"):
        Store(tmp_path / "newer.sqlite")
    older = sqlite3.connect(tmp_path / "older.sqlite")
    older.execute("create table results (stage text)")
    older.close()
    with pytest.raises(ValueError, match=r"older.sqlite: .*version 0 and not"):
        Store(tmp_path / "older.sqlite")


def test_threads_share_a_store(store):
    def fill(thread):
        for number in range(40):
            store.put("s", "f", f"{thread}.{number}", "", [thread, number], Cost(calls=1))

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.items("s", "f")) == 200 and store.cost("s", "f").calls == 200


def test_what_was_put_outlives_a_kill(tmp_path):
    code = textwrap.dedent(f"""
        import os, signal
        from llava_v2xum.core.endpoint.store import Cost, Store
        store = Store({str(tmp_path / "s.sqlite")!r})
        for number in range(100):
            store.put("s", "f", str(number), "", number + 1, Cost(calls=1))
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    ended = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    assert ended.returncode == -signal.SIGKILL
    store = Store(tmp_path / "s.sqlite")
    assert len(store.items("s", "f")) == 100 and store.get("s", "f", "99") == 100
    store.close()


def test_rates_are_of_what_is_done_now(monkeypatch, capsys, tmp_path):
    """30 stored videos, then one a minute: the rate is one a minute, however many were stored before."""
    seconds = 0.0
    monkeypatch.setattr("llava_v2xum.curate.progress.time.monotonic", lambda: seconds)
    with Progress().stages(["caption", "extract"], 40) as tell:
        source = Source("v", tmp_path)
        for _ in range(30):
            tell(0, source, Outcome(DONE, known=True))
        for _ in range(5):
            seconds += 60
            tell(0, source, Outcome(DONE))
        seconds += 60
        tell(0, source, Outcome(OUT, "short", "it is short"))
        tell(0, source, Outcome(END, "Stop", "told elsewhere"))
        tell(1, source, Outcome(DONE))
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "caption: 31 of 40 videos, 1 a minute, about 9 min left"
    assert told[4] == "caption: 35 of 40 videos, 1 a minute, about 5 min left"
    assert "caption: v falls out: it is short" in told
    assert told[-2:] == [
        "caption: 36 of 40 videos, 30 of them stored before, in 6 min",
        "extract: 1 of 39 videos, in 0 s",
    ]


def test_a_terminal_gets_bars(monkeypatch, tmp_path):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress().stages(["select"], 3) as tell:
        tell(0, Source("a", tmp_path), Outcome(DONE, known=True))
        tell(0, Source("b", tmp_path), Outcome(OUT, "short", "it is short"))
        tell(0, Source("c", tmp_path), Outcome(DONE))
    shown = terminal.getvalue()
    assert "select: b falls out: it is short\n" in shown
    assert "3 of 3, 1 of them stored before, in 0 s" in shown and "of ?" not in shown


def test_sources_of_folders_files_and_lists(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for name in ("b.mp4", "a.webm", "notes.txt"):
        (tmp_path / "in" / name).write_text("x")
    (tmp_path / "c.mp4").write_text("x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("# mine\nin\n\nc.mp4\ngone.mp4\n")
    found = find_sources(["in/b.mp4"], ["list.txt"])
    assert [source.video_id for source in found] == ["a", "b", "c", "gone"]
    assert all(source.path.is_absolute() for source in found)
    (tmp_path / "b.mp4").write_text("x")
    with pytest.raises(ValueError, match="has the same id 'b'"):
        find_sources(["in", "b.mp4"])
    with pytest.raises(ValueError, match="no such file"):
        find_sources(["gone.mp4"])
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(ValueError, match=r"empty.txt: expected one path a line, got none"):
        find_sources([], ["empty.txt"])
    (tmp_path / "latin.txt").write_bytes("ä.mp4".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.txt: expected a list of paths in UTF-8"):
        find_sources([], ["latin.txt"])


def test_importing_curate_loads_no_heavy_package():
    code = (
        "import sys, llava_v2xum.curate.rounds, llava_v2xum.curate.sources; "
        "print([name for name in ('torch', 'transformers', 'llava', 'openai', 'sklearn') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert ended.stdout.strip() == "[]", ended.stderr


def test_json_is_what_is_stored(store):
    with pytest.raises(TypeError):
        store.put("s", "f", "i", "", {1, 2}, Cost())
    assert json.dumps(store.get("s", "f", "i")) == "null"
    assert os.path.exists(store.path)
