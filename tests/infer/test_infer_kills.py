"""The command killed at random moments, and while it writes, and started again: each record once, and the same files.

`V2XUM_KILLS=30 python -m pytest tests/infer/test_infer_kills.py -s` kills so often, on fifteen clips, and tells how.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path

import av
import numpy as np
import pytest
from records import assert_same_records

from llava_v2xum.shapes.__main__ import main as render

KILLS = int(os.environ.get("V2XUM_KILLS", "3"))
CLIPS = 3 if KILLS < 10 else 15
WHILE_WRITING = 2 / 3  # of the kills
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    assert render(["--videos", str(CLIPS), "--seed", "7", "--out", str(folder)]) == 0
    return folder / "videos"


def start(clips: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "llava_v2xum.infer", str(clips), "--output-dir", str(out), "--task", "video"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, **quiet, text=True, start_new_session=True)


def written(out: Path) -> set[tuple[str, int]]:
    """The files of an output folder with their sizes, those that are not finished too."""
    found = set()
    for folder, _, names in os.walk(out):
        for name in names:
            try:
                found.add((os.path.join(folder, name), os.path.getsize(os.path.join(folder, name))))
            except FileNotFoundError:  # put in place, or gone, in between
                pass
    return found


def kill_at_a_moment(process: subprocess.Popen, out: Path, draw: random.Random, longest: float) -> str:
    """Kill the command at a random moment, or at one of the next changes in its folder; "" if it ended before."""
    is_writing = draw.random() < WHILE_WRITING
    end, left, before = time.monotonic() + draw.uniform(0, longest), draw.randrange(1, 6), written(out)
    while process.poll() is None:
        if is_writing:
            now = written(out)
            left -= now != before
            before = now
        if left < 1 or (not is_writing and time.monotonic() > end):
            process.send_signal(signal.SIGKILL)
            process.communicate()
            half = any(".part" in Path(name).name for name, _ in written(out))
            return "with a file half written" if half else "while writing" if is_writing else "at a random moment"
        time.sleep(0.0005)
    return ""


def contents(out: Path) -> dict[str, str]:
    """The digests of all files but those of records, and the clips."""
    return {
        str(path.relative_to(out)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in ("summaries.jsonl", "summary.json") and path.suffix != ".mp4"
    }


def clips_of(out: Path) -> dict[str, tuple[list[int], np.ndarray]]:
    """The stamps and the pictures, float [F, H, W], of each clip.

    x264's code for AVX-512 reads memory that it has not set, and writes the same pictures with other bits now and then.
    """
    found = {}
    for path in sorted(out.rglob("*.mp4")):
        with av.open(str(path)) as container:
            frames = [(frame.pts, frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]
        stamps, pictures = zip(*frames, strict=True)
        found[str(path.relative_to(out))] = (list(stamps), np.stack(pictures).astype(float))
    return found


def in_folders(out: Path) -> list[dict]:
    """The videos' own records."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*/summary.json"))]


def records_so_far(out: Path) -> list[str]:
    file = out / "summaries.jsonl"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def records(out: Path) -> dict[str, dict]:
    lines = [json.loads(line) for line in records_so_far(out)]
    assert max(Counter(line["video_id"] for line in lines).values()) == 1
    return {line["video_id"]: line for line in lines}


def test_killed_again_and_again_it_ends_as_if_it_had_not_been(clips, tmp_path):
    whole_out = tmp_path / "whole" / "out"  # pages tell the folder's own name
    begun = time.monotonic()
    whole = start(clips, whole_out)
    _, errors = whole.communicate(timeout=600)
    longest = time.monotonic() - begun
    assert whole.returncode == 0, errors
    expected = records(whole_out)
    assert len(expected) == CLIPS and len(contents(whole_out)) >= 3 * CLIPS
    draw, killed, rounds = random.Random(7), Counter(), 0
    while True:
        rounds += 1
        out = tmp_path / "killed" / "out"
        while sum(killed.values()) < KILLS:
            process = start(clips, out)
            if not (how := kill_at_a_moment(process, out, draw, longest)):
                break
            killed[how] += 1
            print(f"killed {how}, {len(records_so_far(out))} of {CLIPS} done", flush=True)
        last = start(clips, out)
        _, errors = last.communicate(timeout=600)
        assert last.returncode == 0, errors
        found = records(out)
        assert_same_records([found[name] for name in sorted(found)], [expected[name] for name in sorted(expected)])
        assert_same_records(in_folders(out), in_folders(whole_out))
        assert contents(out) == contents(whole_out)
        ours, theirs = clips_of(out), clips_of(whole_out)
        assert ours.keys() == theirs.keys() and len(ours) == CLIPS
        for name, (stamps, pictures) in ours.items():
            assert stamps == theirs[name][0], name
            assert abs(pictures - theirs[name][1]).mean() < 0.5, name
        if sum(killed.values()) >= KILLS:
            break
        shutil.rmtree(out)
    print(f"\n{dict(killed)} in {rounds} rounds")
    assert sum(killed.values()) == KILLS and killed["at a random moment"] < KILLS
