"""The Ray engine: who gets what of a cluster, rows through the stages, one engine for many threads, and a real local
cluster with a process killed in the middle of a run."""

from __future__ import annotations

import argparse
import importlib.util
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from llava_v2xum.core.errors import V2XumError
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.infer.engine import Job
from llava_v2xum.infer.options import add_ray_options, settings_of
from llava_v2xum.infer.ray.cluster import Layout, RaySettings, cluster
from llava_v2xum.infer.ray.rows import Broken, FailedVideo, Plan, RowStage, StageError
from llava_v2xum.infer.ray.summarizer import RaySummarizer
from llava_v2xum.infer.shared_engine import SharedEngine
from llava_v2xum.media.video import VideoError

needs_ray = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ray", "pyarrow")), reason="needs ray[data]"
)
PLAN = Plan({}, "m", None, None, None, 32, {}, (4, 8), None)


# ---------------------------------------------------------------------------------------------- the cluster's resources


def test_importing_it_loads_neither_ray_nor_torch():
    code = "import sys, llava_v2xum.infer.ray.summarizer; "
    code += "print([n for n in ('ray', 'torch', 'llava') if n in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).strip() == "[]"


def parsed(*arguments: str) -> RaySettings:
    parser = argparse.ArgumentParser()
    add_ray_options(parser)
    return settings_of(parser.parse_args(arguments))


def test_the_options_become_settings():
    assert parsed() == RaySettings()
    arguments = "--engine ray --ray-address auto --ray-actors 3 --ray-gpus 0.5 --ray-encoders 2 --ray-readers 9"
    assert parsed(*arguments.split()) == RaySettings("auto", 3, 0.5, 2, 9)


@pytest.mark.parametrize("arguments", ["--ray-actors 0", "--ray-encoders 0", "--ray-readers -1", "--ray-gpus 2"])
def test_options_out_of_range_are_named(arguments, capsys):
    with pytest.raises(SystemExit):
        parsed(*arguments.split())
    assert f"{arguments.split()[0]}: must be " in capsys.readouterr().err


def test_without_gpus_one_process_has_the_model_and_reading_has_the_cpus(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    layout = Layout.of(RaySettings(), {"CPU": 8.0}, "auto", videos=100)
    assert layout == Layout(actors=1, encoders=1, readers=8, gpus=0.0, threads=4)
    assert layout.device == "cpu"
    assert layout.resources_of_actors == layout.resources_of_encoders == {"num_cpus": 0}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert Layout.of(RaySettings(), {"CPU": 8.0}, "auto", videos=100).threads == 3


def test_each_gpu_has_a_model():
    layout = Layout.of(RaySettings(encoders=2), {"CPU": 64.0, "GPU": 8.0}, "auto", videos=1000)
    assert layout == Layout(actors=8, encoders=2, readers=64, gpus=1.0, threads=None)
    assert layout.device == "cuda"
    assert Layout.of(RaySettings(gpus=0.5), {"GPU": 2.0}, "cuda", videos=1000).actors == 4
    assert Layout.of(RaySettings(), {"GPU": 8.0}, "cpu", videos=1000).gpus == 0


@pytest.mark.parametrize("gpus", [1.0, 0.5, 0.34, 1 / 3, 0.25])
@pytest.mark.parametrize("encoders", [1, 3, 8])
def test_models_fit_wherever_the_towers_are(gpus, encoders):
    """The worst that Ray can do is to put all towers on one GPU."""
    layout = Layout.of(RaySettings(gpus=gpus, encoders=encoders), {"GPU": 1.0, "CPU": 4.0}, "auto", videos=100)
    models, towers = layout.resources_of_actors["num_gpus"], layout.resources_of_encoders["num_gpus"]
    assert layout.actors == int(1 / gpus + 1e-6)
    assert towers > 0 and layout.actors * models + encoders * towers <= 1 + 1e-3


def test_no_more_processes_than_videos():
    layout = Layout.of(RaySettings(actors=4, encoders=4), {"CPU": 8.0}, "cpu", videos=2)
    assert (layout.actors, layout.encoders) == (2, 2)


@pytest.mark.parametrize(
    "settings, resources, device, message",
    [
        (RaySettings(), {"CPU": 4.0}, "cuda", "do not fit the 0 GPUs"),
        (RaySettings(actors=3), {"GPU": 2.0}, "auto", "3 processes with 1 GPU each do not fit the 2 GPUs"),
        (RaySettings(gpus=0.5), {"GPU": 2.0}, "cpu", "--ray-gpus 0.5 needs a --device other than cpu"),
        (RaySettings(), {"GPU": 2.0}, "cuda:1", "got 'cuda:1'"),
    ],
)
def test_what_the_cluster_has_not_is_told(settings, resources, device, message):
    with pytest.raises(ValueError, match=message):
        Layout.of(settings, resources, device, videos=100)


def test_an_address_where_nobody_listens_is_refused_at_once():
    class NoRay:
        is_initialized = staticmethod(lambda: False)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ConnectionError, match=address), cluster(NoRay, RaySettings(address)):
            pass


# ------------------------------------------------------------------------------------------------- rows through a stage


class Twice(RowStage):
    name = "double"

    def work(self, path, state):
        return {1: lambda: 2, 2: lambda: Timeline(num_frames=0), 3: lambda: {}[path]}[state]()


def through(stage: RowStage, state: object) -> object:
    row = stage({"path": "/v/a.mp4", "state": pickle.dumps(state)})
    assert row["path"] == "/v/a.mp4" and row[stage.name] >= 0
    return pickle.loads(row["state"])


def test_a_stage_turns_every_end_into_a_row():
    stage = Twice(PLAN)
    assert through(stage, 1) == 2
    assert isinstance(through(stage, 2).error, V2XumError)
    broken = through(stage, 3)
    assert isinstance(broken, Broken) and isinstance(broken.error, StageError)
    assert "KeyError" in str(broken.error) and "test_ray.py" in str(broken.error)
    failed = FailedVideo(VideoError("/v/a.mp4: empty"))
    assert through(stage, failed).error.args == failed.error.args
    assert isinstance(through(stage, Broken(OSError("disk"))).error, OSError)


def test_errors_that_cannot_be_sent_keep_their_words():
    class Odd(V2XumError):  # a local class has no name to be found by
        pass

    class Stumbles(RowStage):
        name = "stumble"

        def work(self, path, state):
            raise Odd(f"{path}: odd")

    failed = through(Stumbles(PLAN), 1)
    assert type(failed.error) is V2XumError and str(failed.error) == "/v/a.mp4: odd"


def test_the_stages_by_themselves_answer_as_a_summarizer(tmp_path):
    """Sampled answers to all three tasks, with pictures; no Ray."""
    from llava_v2xum import Summarizer
    from llava_v2xum.infer.answer_options import AnswerOptions
    from llava_v2xum.infer.films import Part
    from llava_v2xum.infer.ray.stages import STAGES
    from llava_v2xum.infer.ray.summarizer import _plan
    from llava_v2xum.shapes import make_clip, write_clip

    clip = min((make_clip(79, index) for index in range(12)), key=lambda clip: clip.total_frames)
    path = write_clip(clip, tmp_path / f"{clip.video_id}.mp4")
    sampling = {"temperature": 3.0, "seed": 5, "max_new_tokens": 20}
    plan = _plan({"model_path": None, "device": "cpu"}, None)
    read, encode, generate = STAGES
    row = {"path": str(path), "state": pickle.dumps(Part(path))}
    for stage in (read(plan), encode(plan), generate(plan, "all", AnswerOptions(**sampling))):
        row = stage(row)
    made = pickle.loads(row["state"]).summaries
    expected = Summarizer.from_pretrained(device="cpu").summarize(path, "all", **sampling)
    assert list(made) == list(expected) == ["video", "text", "both"]
    for task, one in expected.items():
        assert made[task].record == one.record
        np.testing.assert_array_equal(made[task].thumbnails, one.thumbnails)


@needs_ray
def test_a_video_that_keeps_ending_processes_is_given_up(monkeypatch):
    import ray

    from llava_v2xum.infer.ray.pipeline import MAX_ATTEMPTS
    from llava_v2xum.infer.ray.rows import Register

    register = Register()
    monkeypatch.setattr(ray, "get", lambda value: value)
    begin = SimpleNamespace(remote=register.begin)
    stage = Twice(replace(PLAN, register=SimpleNamespace(begin=begin)))
    assert [through(stage, 1) for _ in range(MAX_ATTEMPTS)] == [2] * MAX_ATTEMPTS
    failed = through(stage, 1)
    assert "/v/a.mp4: the process that was to double it was ended 3 times" in str(failed.error)
    assert register.begun_again() == MAX_ATTEMPTS
    assert [register.enlist(), register.enlist()] == [0, 1]


# ------------------------------------------------------------------------------------------ one engine for many threads


class FakeEngine:
    """As `Engine.run`, with rows but without a model: a job's answers are its video's numbers, after so many passes."""

    def __init__(self, rows: int) -> None:
        self.rows, self.most, self.runs = rows, 0, 0

    def run(self, jobs):
        self.runs += 1
        work: dict = {}
        for _ in range(10_000):
            while len(work) < self.rows and (job := next(jobs, None)) is not None:
                if (job.video < 0).any():
                    raise V2XumError(f"{job.key}: negative")
                work[job.key] = [int(job.video[0]), job.video.tolist()]
            if not work:
                return
            self.most = max(self.most, len(work))
            for key in list(work):
                work[key][0] -= 1
                if work[key][0] <= 0:
                    yield key, work.pop(key)[1]
        raise AssertionError("the engine never came to rest")


def job(*numbers: int) -> Job:
    return Job("same key for all", (), torch.tensor(numbers))


def test_threads_share_the_rows_of_one_engine():
    engine = FakeEngine(rows=4)
    shared = SharedEngine(engine.run)
    jobs = [job(number % 7 + 1, number) for number in range(60)]
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(shared.answers, jobs))
    assert answers == [made.video.tolist() for made in jobs]
    assert 1 < engine.most <= 4


def test_the_last_answer_does_not_wait_for_another_video():
    shared = SharedEngine(FakeEngine(rows=8).run)
    assert shared.answers(job(3)) == [3]
    assert shared.answers(job(2)) == [2]


def test_only_the_guilty_job_fails():
    shared = SharedEngine(FakeEngine(rows=8).run)
    gate = threading.Barrier(8)

    def ask(number):
        gate.wait()
        try:
            return shared.answers(job(200 if number else -1, number))
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(ask, range(8)))
    assert outcomes == ["same key for all: negative", *([200, number] for number in range(1, 8))]
    assert shared.answers(job(5)) == [5]


# ------------------------------------------------------------------------------------------------------ a local cluster


@needs_ray
def test_a_process_killed_in_the_middle_loses_no_video_and_repeats_none(tmp_path, monkeypatch, caplog):
    """One run with all that can go wrong: the process with the model dies, a file is no video, another is missing."""
    from llava_v2xum import Summarizer
    from llava_v2xum.infer.ray import stages
    from llava_v2xum.shapes import make_clip, write_clip

    chosen = sorted((make_clip(78, index) for index in range(24)), key=lambda clip: clip.total_frames)[:5]
    paths = [Path(write_clip(clip, tmp_path / f"{clip.video_id}.mp4")) for clip in chosen]
    window = round(chosen[-1].duration_seconds) - 1  # the longest comes in two
    bad = [tmp_path / "empty.mp4", tmp_path / "missing.mp4"]
    bad[0].touch()

    def die_once() -> None:
        try:
            (tmp_path / "died").touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    class Generate(stages.Generate):
        def work(self, path, state):
            if state.video.path == paths[3]:
                die_once()
            return super().work(path, state)

    monkeypatch.setattr(stages, "STAGES", (stages.Read, stages.Encode, Generate))
    settings = RaySettings(readers=1, object_store_bytes=160 * 2**20)
    summarizer = RaySummarizer(settings, device="cpu", feature_folder=tmp_path / "features")
    assert "knows only rendered moving shapes" in summarizer.note
    failed: dict[Path, ValueError] = {}
    made = list(
        summarizer.summarize_many(
            [bad[0], *paths, bad[1]], on_error=failed.__setitem__, batch_size=3, thumbnails=False, window=window
        )
    )
    assert (tmp_path / "died").exists()
    assert any("was begun again" in message for message in caplog.messages)
    assert sorted(failed) == sorted(bad)
    assert all(isinstance(error, VideoError) and str(path) in str(error) for path, error in failed.items())
    assert sorted(one.record["video"] for one in made) == sorted(map(str, paths))

    alone = Summarizer.from_pretrained(device="cpu", feature_folder=tmp_path / "features2")
    others = alone.summarize_many(sorted(paths), workers=0, thumbnails=False, window=window)
    for one, other in zip(sorted(made, key=lambda one: one.record["video"]), others):
        record, expected = dict(one.record), dict(other.record)
        np.testing.assert_allclose(record.pop("importance"), expected.pop("importance"), atol=1e-5)
        assert record == expected
    stored = sorted(path.name for path in (tmp_path / "features2").glob("*.npy"))
    assert len(stored) > len(paths)
    for name in stored:
        np.testing.assert_array_equal(np.load(tmp_path / "features" / name), np.load(tmp_path / "features2" / name))
    assert summarizer.stats.answers >= len(paths) - 1
    assert summarizer.seconds["read"] > 0 and summarizer.seconds["encode"] > 0
