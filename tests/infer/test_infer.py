"""The Summarizer and its command, with the demo checkpoint on rendered clips: real files, real answers."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from records import assert_same_records, records_in

from llava_v2xum import Summarizer, read_summary
from llava_v2xum.core.errors import V2XumError
from llava_v2xum.core.tasks import TASKS
from llava_v2xum.infer.drafting import DRAFTERS, DrafterKind, UndraftableTokenizer
from llava_v2xum.infer.options import loading_of, parse_arguments
from llava_v2xum.infer.protocols import VideoSummarizer
from llava_v2xum.infer.ray.summarizer import RaySummarizer
from llava_v2xum.infer.run import main
from llava_v2xum.media.formats import DEFAULT_FORMATS, FORMATS
from llava_v2xum.media.helper import Helper, HelperError
from llava_v2xum.media.reading import thumbnails
from llava_v2xum.media.video import VideoError
from llava_v2xum.shapes import DEMO_CHECKPOINT, make_clip, truth_record, write_clip

RECORD_KEYS = (
    "video_id video duration_seconds fps num_frames task answer text sentences segments frames "
    "frame_seconds importance problems model versions"
).split()
SEED, COUNT = 77, 5


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, dict]:
    """Truth by path of some short clips, of a series that training has not seen."""
    folder = tmp_path_factory.mktemp("videos")
    chosen = sorted((make_clip(SEED, index) for index in range(40)), key=lambda clip: clip.total_frames)[:COUNT]
    return {str(write_clip(clip, folder / f"{clip.video_id}.mp4")): truth_record(clip) for clip in chosen}


@pytest.fixture(scope="module")
def summarizer() -> Summarizer:
    return Summarizer.from_pretrained(device="cpu")


def run(*arguments) -> int:
    return main([str(argument) for argument in (*arguments, "--device", "cpu")])


@pytest.mark.every_python
def test_the_demo_sees_what_is_there(summarizer, clips):
    """A thin check of the shipped weights; scripts/shapes/measure_demo.py measures them."""
    scores = []
    for made, truth in zip(summarizer.summarize_many(clips, "both"), clips.values()):
        true = {frame for event in truth["events"] for frame in event["frames"]}
        cited = set(made.summary.frames)
        scores.append(2 * len(true & cited) / (len(true) + len(cited)))
        assert made.summary.problems == ()
    assert np.mean(scores) > 0.85


def test_the_three_tasks_answer_in_their_kind(summarizer, clips):
    path = next(iter(clips))
    video, text, both = (summarizer.summarize(path, task).summary for task in ("video", "text", "both"))
    assert video.frames and not video.text
    assert text.text and not text.frames
    assert both.text and both.frames


def test_an_answer_does_not_depend_on_its_batch(summarizer, clips):
    alone = [summarizer.summarize(path) for path in clips]
    together = list(summarizer.summarize_many(clips, batch_size=len(clips)))
    assert_same_records([made.record for made in together], [made.record for made in alone])


def test_a_sampled_answer_depends_on_its_video_and_the_seed_alone(summarizer, clips):
    paths, sampling = list(clips)[:2], {"temperature": 4.0, "max_new_tokens": 30}
    together = [made.record["answer"] for made in summarizer.summarize_many(paths, seed=3, batch_size=2, **sampling)]
    assert summarizer.summarize(paths[1], seed=3, **sampling).record["answer"] == together[1]
    assert summarizer.summarize(paths[1], seed=4, **sampling).record["answer"] != together[1]


def test_importance_is_high_where_frames_are_cited(summarizer, clips):
    made = summarizer.summarize(next(iter(clips)))
    importance = np.array(made.record["importance"])
    cited = np.isin(np.arange(100), made.summary.frames)
    assert importance.shape == (100,)
    assert importance.sum() == pytest.approx(1, abs=1e-4)
    assert importance[cited].mean() > 10 * importance[~cited].mean()


def test_an_unreadable_video_is_raised_or_handed_over(summarizer, clips, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"")
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        summarizer.summarize(bad)
    failed = []
    path = next(iter(clips))
    made = list(summarizer.summarize_many([bad, path], on_error=lambda path, error: failed.append(path)))
    assert failed == [bad] and [one.record["video"] for one in made] == [path]


def test_a_cut_off_answer_is_a_problem(summarizer, clips):
    made = summarizer.summarize(next(iter(clips)), max_new_tokens=6)
    assert any("cut off after 6 tokens" in problem for problem in made.record["problems"])


@pytest.mark.every_python
def test_the_command_writes_prints_and_goes_on(clips, tmp_path, capsys):
    out = tmp_path / "out"
    videos = list(clips)[:2]
    assert run(*videos, "--output-dir", out) == 0
    printed = capsys.readouterr()
    assert "knows only rendered moving shapes" in printed.err
    assert Path(videos[0]).stem in printed.out and "moves across" in printed.out
    records = records_in(out)
    assert [record["video"] for record in records] == videos
    for record in records:
        assert list(record) == RECORD_KEYS
        folder = out / record["video_id"]
        names = {FORMATS[name].file_name for name in DEFAULT_FORMATS}
        assert {path.name for path in folder.iterdir()} == {*names, "index.html", "thumbnail.jpg"}
        assert json.loads((folder / "summary.json").read_text()) == record
    written = (out / "summaries.jsonl").read_bytes()
    assert run(*videos, "--output-dir", out) == 0
    assert "2 of 2 videos are done already" in capsys.readouterr().err
    assert (out / "summaries.jsonl").read_bytes() == written


def test_stored_features_give_the_same_answers(clips, tmp_path, monkeypatch):
    path = next(iter(clips))
    arguments = [path, "--features", tmp_path / "features", "--format", "json"]
    assert run(*arguments, "--output-dir", tmp_path / "first") == 0
    stored = np.load(tmp_path / "features" / f"{Path(path).stem}.npy")
    assert stored.dtype == np.float16 and stored.shape[0] == 100

    def no_encoding(*_):
        raise AssertionError("the tower ran although features are stored")

    monkeypatch.setattr("llava_v2xum.features.FrameEncoder.encode", no_encoding)
    assert run(*arguments, "--output-dir", tmp_path / "second") == 0
    assert records_in(tmp_path / "first") == records_in(tmp_path / "second")


def test_features_of_another_model_are_refused(clips, tmp_path, capsys):
    (tmp_path / "features.json").write_text('{"tower": "another"}')
    assert run(next(iter(clips)), "--features", tmp_path, "--output-dir", tmp_path / "out") == 2
    assert "features.json" in capsys.readouterr().err


def test_bad_videos_are_named_and_the_others_done(clips, tmp_path, capsys):
    good = next(iter(clips))
    whole = Path(good).read_bytes()
    damaged = {"empty.mp4": b"", "text.mp4": b"no video" * 100, "cut.mp4": whole[:40]}
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
    bad = [tmp_path / name for name in (*damaged, "missing.mp4")]
    arguments = ["--output-dir", tmp_path / "out", "--format", "json"]
    assert run(*bad[:2], good, *bad[2:], *arguments) == 1
    messages = capsys.readouterr().err
    for path in bad:
        assert str(path) in messages
    assert [record["video"] for record in records_in(tmp_path / "out")] == [good]
    names = {path.name for path in (tmp_path / "out").glob("[!.]*")}
    assert names == {Path(good).stem, "failures.jsonl", "index.html", "summaries.jsonl"}
    assert run(*bad, *arguments) == 2


def test_two_files_of_one_name_are_told_apart(clips, tmp_path, capsys):
    path = Path(next(iter(clips)))
    shutil.copy(path, tmp_path / path.name)
    assert run(path, tmp_path / path.name, "--output-dir", tmp_path / "out", "--format", "json") == 1
    assert "has the same id" in capsys.readouterr().err
    shutil.copy(path, tmp_path / f"{path.stem}.mkv")
    (tmp_path / "apart").mkdir()
    assert run(tmp_path, "--output-dir", tmp_path / "apart", "--format", "json", "--workers", "0") == 0
    for record, name in zip(records_in(tmp_path / "apart"), (f"{path.stem}.mkv", path.name), strict=True):
        assert record["video_id"] == name and record["video"] == str(tmp_path / name)
        assert json.loads((tmp_path / "apart" / name / "summary.json").read_text()) == record


def test_odd_file_names(clips, tmp_path, capsys):
    source = next(iter(clips))
    names = ["a$b_$c ä [05].mp4", "summaries.jsonl.mp4", os.fsdecode(b"caf\xe9.mp4")]
    for name in names:
        shutil.copy(source, tmp_path / name)
    paths = [tmp_path / name for name in names] + [tmp_path / ("x" * 300 + ".mp4")]
    assert run(*paths, "--output-dir", tmp_path / "out", "--format", "json,plot") == 1
    assert [record["video_id"] for record in records_in(tmp_path / "out")] == ["a$b_$c ä [05]"]
    messages = capsys.readouterr().err
    assert all(part in messages for part in ("summaries.jsonl.mp4", "caf\\udce9", "x" * 300))


def test_another_video_of_the_same_name_in_a_later_run(clips, tmp_path, capsys):
    first, second = list(clips)[:2]
    (tmp_path / "other").mkdir()
    shutil.copy(second, tmp_path / "other" / Path(first).name)
    arguments = ["--output-dir", tmp_path / "out", "--format", "json", "--features", tmp_path / "features"]
    assert run(first, *arguments) == 0
    assert run(tmp_path / "other" / Path(first).name, *arguments) == 2
    assert "holds the summary of" in capsys.readouterr().err
    arguments[1] = tmp_path / "out2"
    assert run(tmp_path / "other" / Path(first).name, *arguments) == 2
    assert "made of another video" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--format", "gif"], f"--format takes {', '.join(FORMATS)}, got gif"),
        (["--task", "none"], "invalid choice: 'none'"),
        (["--workers", "-1"], "--workers must be at least 0"),
        (["--load-8bit", "--load-4bit"], "give one of them"),
        (["--draft-table", "none/table.json"], "--draft-table: no such folder: none"),
        (["--batch-size", "0"], "--batch-size must be at least 1"),
        (["--temperature", "-1"], "--temperature must not be negative"),
        (["--compile", "--temperature", "0.5"], "--compile makes greedy passes"),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("clip.mp4", *arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_missing_checkpoint_is_named(clips, tmp_path, capsys):
    assert run(next(iter(clips)), "--model-path", tmp_path / "none", "--output-dir", tmp_path / "out") == 2
    assert str(tmp_path / "none") in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cuda:99", "cuda:x", "none"])
def test_a_device_that_is_not_there_is_named(clips, tmp_path, capsys, device):
    assert main([str(next(iter(clips))), "--device", device, "--output-dir", str(tmp_path / "out")]) == 2
    assert f"error: device must be 'auto' or one that torch has here, got '{device}'" in capsys.readouterr().err


def test_killed_and_started_again_every_video_is_done_once(clips, tmp_path):
    out = tmp_path / "out"
    arguments = [*clips, "--output-dir", str(out), "--format", "json,sheet", "--batch-size", "1", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-m", "llava_v2xum.infer", *arguments],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not (out / "summaries.jsonl").exists() or not (out / "summaries.jsonl").stat().st_size:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed_after = (out / "summaries.jsonl").read_bytes().count(b"\n")
    assert 1 <= killed_after < COUNT
    assert main(arguments) == 0
    assert [record["video"] for record in records_in(out)] == list(clips)
    for record in records_in(out):
        names = {path.name for path in (out / record["video_id"]).iterdir()}
        assert names == {"index.html", "keyframes.png", "summary.json", "thumbnail.jpg"}


@pytest.fixture
def loaded(summarizer, monkeypatch) -> Summarizer:
    """The command takes the model that is loaded already."""
    monkeypatch.setattr(Summarizer, "from_pretrained", lambda *_, **__: summarizer)
    return summarizer


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_all_three_tasks_write_what_three_runs_write(loaded, clips, tmp_path, capsys):
    arguments = [*list(clips)[:3], "--format", "json", "--batch-size", "4", "--workers", "0", "--no-page"]
    assert run(*arguments, "--task", "all", "--output-dir", tmp_path / "all") == 0
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["both", "text", "video"]
    for task in TASKS:
        assert run(*arguments, "--task", task, "--output-dir", tmp_path / task) == 0
        assert list(files_in(tmp_path / "all" / task)) == list(files_in(tmp_path / task))
        assert_same_records(records_in(tmp_path / "all" / task), records_in(tmp_path / task))
        for record in records_in(tmp_path / "all" / task):
            assert json.loads((tmp_path / "all" / task / record["video_id"] / "summary.json").read_text()) == record
    before = files_in(tmp_path / "all")
    capsys.readouterr()
    assert run(*arguments, "--task", "all", "--output-dir", tmp_path / "all") == 0
    assert "3 of 3 videos are done already" in capsys.readouterr().err
    (tmp_path / "all" / "text" / Path(arguments[1]).stem / "summary.json").unlink()
    assert run(*arguments, "--task", "all", "--output-dir", tmp_path / "all") == 0
    after = files_in(tmp_path / "all")
    added = {name: data for name, data in after.items() if data != before[name]}
    assert list(added) == ["text/summaries.jsonl"]  # only what was missing is written again
    (line,) = added["text/summaries.jsonl"].removeprefix(before["text/summaries.jsonl"]).splitlines()
    assert json.loads(line)["video"] == arguments[1]


def test_summaries_are_as_long_as_asked(loaded, clips, tmp_path, capsys):
    arguments = [next(iter(clips)), "--output-dir", tmp_path, "--format", "json,clip", "--workers", "0"]
    assert run(*arguments, "--length", "2s", "--export", "srt") == 0
    (record,) = records_in(tmp_path)
    folder = tmp_path / record["video_id"]
    assert record["edit"] == {"length": "2s", "snap": None} and record["text"]
    with av.open(str(folder / "summary.mp4")) as clip:
        assert float(clip.streams.video[0].duration * clip.streams.video[0].time_base) == pytest.approx(2, abs=0.05)
    assert read_summary(folder / "summary.srt", record["frame_seconds"]).text == record["text"]
    capsys.readouterr()
    assert run(*arguments, "--length", "2s", "--export", "srt") == 0
    assert "1 of 1 videos are done already" in capsys.readouterr().err
    assert run(*arguments, "--length", "3s") == 2
    assert "(length 2s), and not the BOTH summary" in capsys.readouterr().err


def test_all_three_tasks_of_one_video(summarizer, clips):
    path = next(iter(clips))
    made = summarizer.summarize(path, "all")
    assert tuple(made) == TASKS
    for task, one in made.items():
        assert_same_records([one.record], [summarizer.summarize(path, task).record])
    sampled = summarizer.summarize(path, "all", temperature=4.0, max_new_tokens=9, seed=2)
    alone = summarizer.summarize(path, "text", temperature=4.0, max_new_tokens=9, seed=2)
    assert sampled["text"].record == alone.record


def test_neither_drafts_nor_processes_change_a_record(summarizer, clips):
    plain = list(summarizer.summarize_many(clips, batch_size=2, workers=0, drafts=False, thumbnails=False))
    drafted = list(summarizer.summarize_many(clips, batch_size=3, workers=2, max_draft=7))
    assert_same_records([made.record for made in drafted], [made.record for made in plain])
    assert {len(made.thumbnails) for made in plain} == {0} and {len(made.thumbnails) for made in drafted} == {100}


def test_a_decoder_that_crashes_costs_one_video(summarizer, clips, monkeypatch):
    victim, call = list(clips)[1], Helper.call

    def crashing(helper, function, request):
        if str(request.path) == victim:
            raise HelperError("the process was ended (signal SIGSEGV)")
        yield from call(helper, function, request)

    monkeypatch.setattr(Helper, "call", crashing)
    failed = []
    made = summarizer.summarize_many(clips, workers=1, on_error=lambda path, error: failed.append((path, str(error))))
    assert [one.record["video"] for one in made] == [path for path in clips if path != victim]
    assert [str(path) for path, _ in failed] == [victim] and "SIGSEGV" in failed[0][1]


def test_an_error_that_is_no_videos_ends_the_run_and_its_threads(summarizer, clips, monkeypatch):
    before = threading.active_count()

    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("llava_v2xum.features.FrameEncoder.encode", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(summarizer.summarize_many(clips, workers=2, on_error=lambda *_: None))
    deadline = time.monotonic() + 60
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_what_answers_teach_is_kept_and_told(clips, tmp_path, capsys):
    arguments = [*list(clips)[:2], "--format", "json", "--workers", "0", "--stats", "--batch-size", "1"]
    table = ["--draft-table", tmp_path / "table.json"]
    passes = []
    for folder, more in (("plain", ["--no-drafts"]), ("first", table), ("second", table)):
        assert run(*arguments, *more, "--output-dir", tmp_path / folder) == 0
        told = capsys.readouterr().err
        assert "stats: 2 answers" in told and "seconds: " in told and "decode " in told
        passes.append(float(re.search(r"([\d.]+) passes for each", told)[1]))
    assert passes[0] > passes[1] > passes[2]
    answers = [[record["answer"] for record in records_in(tmp_path / name)] for name in ("plain", "first", "second")]
    assert answers[0] == answers[1] == answers[2]


def test_thumbnails_keep_the_aspect():
    small = thumbnails(np.zeros((3, 1080, 1920, 3), np.uint8))
    assert small.shape == (3, 270, 480, 3)
    frames = np.zeros((3, 100, 200, 3), np.uint8)
    assert thumbnails(frames) is frames


def test_the_shipped_checkpoint_is_small_and_whole():
    files = [path for path in DEMO_CHECKPOINT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12e6
    assert {"config.json", "model.safetensors", "tokenizer.model"} <= {path.name for path in files}
    assert json.loads((DEMO_CHECKPOINT / "config.json").read_text())["mm_vision_tower"] == "vision_tower"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_writes_the_same_answers_in_float32(summarizer, clips):
    on_gpu = Summarizer.from_pretrained(device="cuda", dtype="float32")
    for path in clips:
        assert on_gpu.summarize(path).record["answer"] == summarizer.summarize(path).record["answer"]


def test_a_tokenizer_that_cannot_be_drafted_for_answers_without_drafts(monkeypatch, caplog, tmp_path):
    def refuse(*_):
        raise UndraftableTokenizer("expected one token a digit in lists")

    monkeypatch.setitem(DRAFTERS, "answers", DrafterKind("none", refuse))
    summarizer = Summarizer.from_pretrained()
    assert summarizer.drafter is None
    assert "answers are not drafted: expected one token a digit" in caplog.text
    with pytest.raises(ValueError, match="no draft table to save"):
        summarizer.save_draft_table(tmp_path / "table.json")


@pytest.mark.parametrize("kind", [Summarizer, RaySummarizer])
@pytest.mark.parametrize("name", ["summarize_many", "save_draft_table"])
def test_what_the_command_asks_of_a_summarizer_each_has(kind, name):
    def asked(owner) -> list[tuple]:
        parameters = inspect.signature(getattr(owner, name)).parameters.values()
        return [(one.name, one.kind, one.default) for one in parameters]

    assert asked(kind) == asked(VideoSummarizer)


def test_the_command_names_the_drafter():
    for name in ("answers", "indexes"):
        loading = loading_of(parse_arguments(["a.mp4", "--drafter", name]))
        assert (Summarizer.from_pretrained(device="cpu", **loading).drafter.table is None) == (name == "indexes")
    with pytest.raises(V2XumError, match="drafter must be one of"):
        Summarizer.from_pretrained(device="cpu", drafter="words")


def test_options_of_an_answer_are_looked_at_before_anything_is_read(summarizer, clips):
    with pytest.raises(V2XumError, match="batch_size must be at least 1, got 0"):
        summarizer.summarize(next(iter(clips)), batch_size=0)
