"""A disk that gets full: one line with the folder and the space, another exit status than 0, nothing half written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import llava_v2xum
from llava_v2xum.core.atomic import DiskFullError
from llava_v2xum.features.store import FeatureFolder
from llava_v2xum.media.cut import cut_clip

DEMO = Path(llava_v2xum.__file__).parent / "shapes" / "clips" / "demo.mp4"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("llava_v2xum.infer", [str(DEMO), "--output-dir"]),
        ("llava_v2xum.shapes", ["--videos", "1", "--out"]),
    ],
    ids=["infer", "shapes"],
)
def test_a_full_disk_is_told_in_a_line(small_disk, module, arguments):
    out = small_disk / "out"
    command = [sys.executable, "-m", module, *arguments, str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    (line,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert f"error: {small_disk}" in line and "the disk is full: more than " in line and " are free" in line
    assert not [path for path in out.rglob("*") if ".part" in path.name or path.name == "summaries.jsonl"]


def test_a_clip_that_does_not_fit_is_told_of_and_not_left_half_written(small_disk):
    with pytest.raises(DiskFullError, match=f"{small_disk}: the disk is full: more than "):
        cut_clip(DEMO, [(0.0, 30.0)], small_disk / "clip.mp4")
    assert not list(small_disk.iterdir())


def test_features_that_do_not_fit_are_told_of_and_none_is_left_half_written(small_disk):

    from llava_v2xum.core.atomic import DiskFullError

    store = FeatureFolder(small_disk / "features", {"tower": "t"})
    with pytest.raises(DiskFullError, match="the disk is full"):
        for number in range(9):
            store.save(f"v{number}", np.zeros((100, 64), dtype=np.float32), {"size": number})
    kept = store.ids()
    assert 0 < len(kept) < 9 and not [path for path in (small_disk / "features").iterdir() if ".part" in path.name]
    for name in kept:
        assert store.load(name, (100, 64)).shape == (100, 64)
