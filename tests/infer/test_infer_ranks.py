"""`infer` in several processes that share a folder: each video once, whoever is killed, and one file in the end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from html_page import Page
from records import assert_same_records, records_in

from llava_v2xum import Summarizer
from llava_v2xum.infer.run import main
from llava_v2xum.shapes import make_clip, write_clip

ROOT = Path(__file__).parents[2]
COUNT = 5


@pytest.fixture(scope="module")
def summarizer() -> Summarizer:
    return Summarizer.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    chosen = sorted((make_clip(78, index) for index in range(40)), key=lambda clip: clip.total_frames)[:COUNT]
    return sorted(Path(write_clip(clip, folder / f"{clip.video_id}.mp4")) for clip in chosen)


@pytest.fixture(scope="module")
def alone(summarizer, clips) -> list[dict]:
    """The records that one process writes."""
    return [made.record for made in summarizer.summarize_many(clips, workers=0, thumbnails=False)]


def arguments(clips: list[Path], out: Path) -> list[str]:
    return [str(clips[0].parent), "--output-dir", str(out), "--format", "json", "--device", "cpu", "--workers", "0"]


def run_as(rank: int, world_size: int, monkeypatch, *words: str) -> int:
    """The command as that rank, in this process and without a launcher."""
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size}.items():
        monkeypatch.setenv(name, str(value))
    return main(words)


def test_ranks_without_a_launcher_share_the_videos(summarizer, clips, alone, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Summarizer, "from_pretrained", lambda *_, **__: summarizer)
    words, out = arguments(clips, tmp_path), tmp_path
    assert run_as(1, 2, monkeypatch, *words) == 0
    assert "rank 1: 2 videos summarized" in capsys.readouterr().err
    assert [path.name for path in out.glob("*.jsonl")] == ["summaries.rank01.jsonl"]
    assert run_as(2, 3, monkeypatch, *words) == 0  # another number of ranks: its share is done already
    assert run_as(0, 3, monkeypatch, *words) == 0
    assert "1 of 2 videos are done already" in capsys.readouterr().err
    assert run_as(0, 1, monkeypatch, *words) == 0  # one process does the rest and puts all together
    assert "of 5 videos are done already" in capsys.readouterr().err
    assert [path.name for path in out.glob("*.jsonl")] == ["summaries.jsonl"]
    assert_page_of_all(out, clips)
    assert_same_records(sorted(records_in(out), key=lambda record: record["video_id"]), alone)


def assert_page_of_all(out: Path, clips: list[Path]) -> str:
    """The page of the run has every video; its text."""
    page = Page(out / "index.html")
    assert sorted(one["href"] for one in page.of("a", class_="name")) == [f"{clip.stem}/index.html" for clip in clips]
    return page.text


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_a_rank_killed_and_all_started_again_equal_one_process(clips, alone, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = ["-m", "llava_v2xum.infer", *arguments(clips, tmp_path), "--batch-size", "1"]
    ranked = {**environment, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    written = tmp_path / "summaries.rank00.jsonl"
    process = subprocess.Popen([sys.executable, *words], env=ranked, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    while not written.exists() or not written.stat().st_size:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 1 <= written.read_bytes().count(b"\n") < 3
    (clips[0].parent / "broken.mp4").write_bytes(b"no video")
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port()]
    done = subprocess.run(
        [sys.executable, *launch, *words], env=environment, capture_output=True, text=True, timeout=400
    )
    (clips[0].parent / "broken.mp4").unlink()
    assert done.returncode != 0, done.stderr[-3000:]  # of the rank that was given what is no video
    assert "of 3 videos are done already" in done.stderr and "1 of 3 videos could not be summarized" in done.stderr
    assert_same_records(records_in(tmp_path), alone)
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["failures.jsonl", "summaries.jsonl"]
    assert "broken.mp4: is not a video" in assert_page_of_all(tmp_path, clips)
