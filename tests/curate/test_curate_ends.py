"""How a run of the data pipeline ends before its time: interrupted, without disk, with videos that fail or change."""

# ruff: noqa: F811 (fixtures of another file)

from __future__ import annotations

import errno
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from test_curate_rounds import Digest, Letters, go, sources, store  # noqa: F401 (fixtures)

from llava_v2xum.core.endpoint.budget import Budget
from llava_v2xum.core.endpoint.outcomes import Stop
from llava_v2xum.core.endpoint.store import FAILED, Cost, Store, StoreError
from llava_v2xum.curate import finish
from llava_v2xum.curate.__main__ import STOPPED
from llava_v2xum.curate.progress import Progress
from llava_v2xum.curate.rounds import MOST_FAILURES, Curated, Curation, LocalEngine
from llava_v2xum.curate.sources import find_sources
from llava_v2xum.curate.store.contents import digest_of
from llava_v2xum.curate.store.stage import Source
from llava_v2xum.shapes import make_clip
from llava_v2xum.shapes.render import write_clip

SUPPORT = str(Path(__file__).parents[1] / "support")


class Twins(Digest):
    """Keeps duplicates."""

    def settle(self, results):
        return {}


class Halting(Letters):
    """Ends the run while it is at work."""

    workers = 1

    def __init__(self, store):
        super().__init__()
        self.store = store

    def work(self, source, before, ledger):
        self.store.halted = True
        return super().work(source, before, ledger)


class Full(Letters):
    """Its results do not fit the disk."""

    def work(self, source, before, ledger):
        raise StoreError("work.sqlite: database or disk is full")


def test_copies_that_are_kept_are_paid_once(store, sources):
    for _ in range(2):  # nor are they by a run that finds them stored
        letters = Letters()
        curated = go(store, sources, Twins(), letters)
        assert list(curated.finished) == ["a", "c", "d"]
        assert curated.finished["a"]["caption"] == curated.finished["d"]["caption"] == {"captions": ["A", "B", "C"]}
        assert curated.costs["caption"].calls == 6
    assert letters.calls == []


def test_no_two_videos_of_one_content_are_at_work_together(store, tmp_path):
    worked = Counter()

    class Busy(Letters):
        workers = 4

        def work(self, source, before, ledger):
            worked[before["select"]["digest"]] += 1
            return super().work(source, before, ledger)

    for number in range(8):
        (tmp_path / f"{number}.mp4").write_text(f"x{number % 2}")
    curated = go(store, find_sources([tmp_path]), Twins(), Busy())
    assert len(curated.finished) == 8 and set(worked.values()) == {1}


def test_what_is_under_way_ends_after_what_it_stores_next(store, sources):
    halting = Halting(store)
    with pytest.raises(Stop, match="the run was interrupted"):
        go(store, sources, Digest(), halting)
    assert halting.calls == ["a"]
    store.halted = False
    after = Letters()
    go(store, sources, Digest(), after)
    assert sorted(after.calls) == list("bccde")  # not a


def test_nobody_is_asked_once_a_budget_is_ended():
    budget = Budget(max_requests=3)
    budget.take()
    budget.ended = "the run was interrupted"
    with pytest.raises(Stop, match="the run was interrupted"):
        budget.take()
    assert budget.requests == 1


def test_a_full_disk_ends_the_run_and_is_no_fault_of_the_videos(store, sources, caplog):
    with pytest.raises(Stop, match="database or disk is full"):
        go(store, sources, Digest(), Full())
    assert "nobody foresaw" not in caplog.text


def test_a_disk_that_fills_up_is_told_as_one(tmp_path, sources):
    code = (
        "import resource, sys; from llava_v2xum.core.endpoint.store import Cost, Store, StoreError\n"
        f"store = Store({str(tmp_path / 's.sqlite')!r})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "try:\n"
        "    for number in range(1000):\n"
        "        store.put('s', 'f', str(number), '', 'x' * 5000, Cost())\n"
        "except StoreError as error:\n"
        "    print(number, error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(SUPPORT).parents[1])
    number, _, told = ended.stdout.partition(" ")
    assert "s.sqlite: the store of results cannot be used" in told, ended.stderr
    store = Store(tmp_path / "s.sqlite")
    assert store.items("s", "f") == {str(stored) for stored in range(int(number))}
    store.close()


def test_a_store_that_another_program_holds_is_told(tmp_path):
    Store(tmp_path / "s.sqlite").close()
    held = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
    held.execute("begin exclusive")
    with pytest.raises(StoreError, match="s.sqlite: the store of results cannot be used .*locked"):
        Store(tmp_path / "s.sqlite", wait_seconds=0.1)
    held.execute("rollback")
    held.close()
    Store(tmp_path / "s.sqlite").close()


def test_videos_that_always_fail_do_not_end_every_run(store, tmp_path):
    for number in range(MOST_FAILURES):
        (tmp_path / f"{number:02d}.mp4").write_text(f"x{number}")
    (tmp_path / "z.mp4").write_text("abc")
    found, failing = find_sources([tmp_path]), Letters(fail_at="x")
    failing.workers = 1  # in the order of their ids
    with pytest.raises(Stop, match="in a row"):
        go(store, found, Digest(), failing)
    for _ in range(2):
        curated = go(store, found, Digest(), failing)  # all of them have failed before
        assert len(curated.failed) == MOST_FAILURES and list(curated.finished) == ["z"]
    assert len(go(store, found, Digest(), Letters()).finished) == MOST_FAILURES + 1
    step = Curation((Digest(), Letters()), store, LocalEngine(), Progress(quiet=True)).steps[1]
    assert not store.items("caption", step.fingerprint, FAILED)


class Reading(Letters):
    """Letters of the file, which somebody replaces while it is read."""

    reads_video = True
    workers = 1

    def __init__(self, replaced, **settings):
        super().__init__(**settings)
        self.replaced = replaced

    def work(self, source, before, ledger):
        if source.video_id == self.replaced:
            ledger.put("0", "A", Cost(1, 10, 2, 0.5))
            source.path.write_text("another")
        return super().work(source, before, ledger)


def test_a_file_that_changes_gets_no_other_ones_results(store, sources):
    class Bytes(Digest):
        def work(self, source, before, ledger):
            return {"digest": digest_of(source.path)}

    class Waiting(Bytes):
        def settle(self, results):
            sources[2].path.write_text("something else")  # between two stages
            return {}

    curated = go(store, sources, Waiting(), Reading(replaced="a"))
    assert list(curated.finished) == ["b", "d"]
    assert [(left.video_id, left.reason) for left in curated.failed] == [
        ("a", "the file changed, or went, while it was read"),
        ("c", "the file changed since it was selected: the next run takes it as it is then"),
    ]
    after = Reading(replaced=None)
    assert list(go(store, sources, Bytes(), after).finished) == ["a", "b", "c", "d"]


def test_a_file_that_changes_while_it_is_selected_is_not_taken(store, sources):
    class Copied(Digest):
        reads_video = True

        def work(self, source, before, ledger):
            found = super().work(source, before, ledger)
            if source.video_id == "c":
                source.path.write_text("cd")
            return found

    curated = go(store, sources, Copied())
    assert [(left.video_id, left.reason) for left in curated.failed] == [
        ("c", "the file changed, or went, while it was read")
    ]


def results_of(number: int) -> dict:
    """What the stages may find of a video of 40 s."""
    return {
        "select": {"digest": f"{number:064x}", "duration": 40.0, "sampled_frames": 40, "signature": [""] * 8},
        "caption": {"captions": [f"Caption {frame}." for frame in range(40)]},
        "extract": {"frames": [3, 9]},
        "filter": {"frames": [3, 9], "dropped": []},
        "refine": {"sentences": ["A box is opened.", "It is empty."], "refined": False, "why": "no endpoint"},
    }


@pytest.mark.parametrize("broken", ["write_rejected", "write_card", "write_preview"])
def test_an_error_at_the_end_leaves_the_set_of_the_run_before(tmp_path, monkeypatch, broken):
    def make(count: int):
        found = [Source(f"v{number}", tmp_path / f"v{number}.mp4") for number in range(count)]
        curated = Curated({source.video_id: results_of(number) for number, source in enumerate(found)})
        return finish.write_data_set(tmp_path / "out", found, curated, finish.Making(("both",), (2, 1, 1)))

    assert make(4).splits() == {"train": 2, "val": 1, "test": 1}
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {"train.json", "val.json", "test.json", "rejected.jsonl", "card.md", "preview.html"} <= set(before)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(finish, broken, full)
        with pytest.raises(OSError, match="No space left"):
            make(9)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert make(1).splits() == {"train": 1, "val": 0, "test": 0}
    assert not (tmp_path / "out" / "val.json").exists() and not (tmp_path / "out" / "test.json").exists()


INTERRUPTED = """
import os, signal, sys, threading
sys.path.insert(0, sys.argv[1])
from openai_server import OpenAIServer
from llava_v2xum.curate.__main__ import main

def described(pictures, prompt):
    if len(server.asked) >= 4 and once.acquire(blocking=False):  # two are asked at once; a second ends at once
        os.kill(os.getpid(), signal.SIGINT)
    return "A frame."

once = threading.Lock()
with OpenAIServer(described) as server:
    at = ["--caption-endpoint", server.base_url, "--captioner", "eyes", "--concurrency", "2"]
    ended = main([*sys.argv[2:], *at])
    print(ended, len(server.asked))
"""


def test_ctrl_c_ends_the_command_and_asks_no_more(tmp_path):
    pytest.importorskip("openai")
    pytest.importorskip("imagehash")
    write_clip(make_clip(3, 11), tmp_path / "clip.mp4")
    out = tmp_path / "out"
    command = [sys.executable, "-c", INTERRUPTED, SUPPORT, str(tmp_path / "clip.mp4"), "--out", str(out)]
    more = ["--min-duration", "1", "--bertscore-threshold", "none", "--until", "caption"]
    ended = subprocess.run([*command, *more], capture_output=True, text=True, cwd=Path(SUPPORT).parents[1])
    status, asked = map(int, ended.stdout.split())
    assert status == STOPPED and 4 <= asked <= 6, ended.stderr  # two places
    assert "Traceback" not in ended.stderr and "the same command goes on from here" in ended.stderr
    stored = sqlite3.connect(out / "work.sqlite")
    (count,) = stored.execute("select count(*) from results where stage = 'caption'").fetchone()
    stored.close()
    assert count == asked  # every answer that was paid for
    assert not (out / "caption.jsonl").exists()
