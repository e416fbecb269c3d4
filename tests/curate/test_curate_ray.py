"""`--engine ray`: the same results as one process, also when a worker is killed in the middle."""

from __future__ import annotations

import os
import signal
import threading
from itertools import count
from pathlib import Path

import pytest

pytest.importorskip("ray")

from openai_server import OpenAIServer
from test_curate_main import clips, content, described, over_http  # noqa: F401 (a fixture)
from test_curate_rounds import Digest, Letters

from llava_v2xum.core.endpoint.budget import Budget
from llava_v2xum.core.endpoint.outcomes import Stop
from llava_v2xum.core.endpoint.store import Cost, Store
from llava_v2xum.curate.__main__ import DONE, main
from llava_v2xum.curate.progress import Progress
from llava_v2xum.curate.ray_run import RayEngine
from llava_v2xum.curate.rounds import Curation, LocalEngine
from llava_v2xum.curate.sources import find_sources
from llava_v2xum.curate.store.stage import GPU, GPU_SHARE, Stage
from llava_v2xum.infer.ray.cluster import RaySettings, cluster, require_ray

HERE = Path(__file__).parent
TESTS = (str(HERE), str(HERE.parent / "support"))  # where the workers find the modules of these tests


class Killed(Letters):
    """Ends its own process the first time that it comes to a letter, after others were stored."""

    def __init__(self, letter, mark):
        super().__init__()
        self.letter, self.mark = letter, mark

    def work(self, source, before, ledger):
        if self.letter in before["select"]["digest"] and not os.path.exists(self.mark):
            ledger.put("0", before["select"]["digest"][0].upper(), Cost(1, 10, 2, 0.5))
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().work(source, before, ledger)


class Lengths(Stage):
    """A second stage after the settled one."""

    name = "filter"
    needs = GPU_SHARE

    def settings(self):
        return {}

    def work(self, source, before, ledger):
        return {"length": len(before["caption"]["captions"])}


class Always(Stage):
    """No video lives through it."""

    name = "caption"
    needs = GPU

    def settings(self):
        return {}

    def work(self, source, before, ledger):
        if before["select"]["digest"] == "text 3":
            os.kill(os.getpid(), signal.SIGKILL)
        return {}


class Asking(Letters):
    """Takes from a budget before every call."""

    workers = 1

    def __init__(self, budget):
        super().__init__()
        self.budget = budget

    def work(self, source, before, ledger):
        self.budget.take()
        self.budget.spend(7)
        return super().work(source, before, ledger)


@pytest.fixture(scope="module")
def local_cluster():
    """One small cluster for the file, whose workers find the stages of the tests."""
    ray = require_ray()
    if ray.is_initialized():
        ray.shutdown()
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*TESTS, before]))
    with cluster(ray, RaySettings(object_store_bytes=100 * 2**20)):
        yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def test_the_command_gives_the_same_files_though_a_captioner_is_killed(local_cluster, clips, tmp_path):  # noqa: F811
    psutil = pytest.importorskip("psutil")
    killed, counted, lock = [], count(1), threading.Lock()

    def describe_and_kill(pictures, prompt):
        with lock:
            if next(counted) > 8 and not killed:  # the process that asks is one of these
                for process in psutil.process_iter():
                    if "MapWorker" in " ".join(_cmdline(process)):
                        process.kill()
                        killed.append(process.pid)
        return described(pictures, prompt)

    with OpenAIServer(described) as server:
        assert main([str(clips), "--out", str(tmp_path / "one"), *over_http(server)]) == DONE
    with OpenAIServer(describe_and_kill) as server:
        assert main([str(clips), "--out", str(tmp_path / "ray"), *over_http(server), "--engine", "ray"]) == DONE
    assert killed
    assert content(tmp_path / "ray") == content(tmp_path / "one")


def _cmdline(process) -> list[str]:
    try:
        return process.cmdline()
    except Exception:  # it has ended meanwhile
        return []


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(7):
        (tmp_path / "in" / f"{number}.mp4").write_text("bad" if number == 2 else f"text {number % 6}")
    return find_sources([tmp_path / "in"])


def go(path, engine, sources, *stages):
    store = Store(path)
    try:
        curated = Curation(stages, store, engine, Progress(quiet=True)).run(sources)
        found = {video: dict(results) for video, results in curated.finished.items()}
        calls = {stage: (cost.calls, cost.prompt_tokens) for stage, cost in curated.costs.items()}
        return found, curated.rejected, curated.failed, calls
    finally:
        store.close()


def test_the_same_as_in_one_process_though_a_worker_is_killed(local_cluster, sources, tmp_path):
    expected = go(tmp_path / "a.sqlite", LocalEngine(), sources, Digest(), Letters(), Lengths())
    assert len(expected[0]) == 5 and len(expected[1]) == 2  # one is bad, one the same as another
    mark = tmp_path / "killed"
    ray = go(tmp_path / "b.sqlite", RayEngine(), sources, Digest(), Killed("4", str(mark)), Lengths())
    assert mark.exists()
    assert ray == expected
    assert go(tmp_path / "b.sqlite", LocalEngine(), sources, Digest(), Letters(), Lengths()) == expected  # resumed


def test_a_video_that_ends_every_process_is_told(local_cluster, sources, tmp_path):
    found, rejected, failed, _ = go(tmp_path / "c.sqlite", RayEngine(), sources, Digest(), Always())
    assert len(found) == 4 and len(rejected) == 2
    assert [(left.video_id, left.reason) for left in failed] == [
        ("3", "the process that was to caption it was ended 3 times")
    ]


def test_a_stop_ends_the_run(local_cluster, sources, tmp_path):
    with pytest.raises(Stop, match="no answer for x"):
        go(tmp_path / "d.sqlite", RayEngine(), sources, Digest(), Letters(fail_at="x", error=Stop))


def test_processes_share_a_budget(local_cluster, sources, tmp_path):
    budget = Budget(max_requests=8)
    stages = [Digest(), Asking(budget), Lengths()]
    assert len(go(tmp_path / "e.sqlite", RayEngine(RaySettings(actors=2), budget=budget), sources, *stages)[0]) == 5
    assert (budget.requests, budget.tokens) == (5, 35)
    with pytest.raises(Stop, match="the budget of 8 requests is spent"):
        go(tmp_path / "f.sqlite", RayEngine(RaySettings(actors=2), budget=budget), sources, *stages)
    assert budget.requests == 8
