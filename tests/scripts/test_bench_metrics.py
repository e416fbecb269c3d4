"""The benchmark of the metrics: it compares two things that agree, and says so when they do not."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "bench" / "bench_metrics.py"


def load():
    spec = importlib.util.spec_from_file_location("bench_metrics", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*arguments, before=""):
    """The script in a process of its own, after some lines of Python."""
    code = f"{before}\nimport runpy, sys\nsys.argv = {['bench_metrics.py', *arguments]!r}\n"
    code += f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, env=env)


def test_it_prints_the_ratio_last():
    pytest.importorskip("sklearn")
    done = run("--videos", "4", "--compared", "2", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("4 videos,") and "all metrics agree" in lines[-2]
    assert "both agree" in lines[-4] and lines[-3].startswith("ratio of F_CLIP ")
    word, ratio = lines[-1].split()
    assert word == "ratio" and float(ratio) > 0


def test_without_scikit_learn_the_pip_command_is_told():
    done = run(before="import sys; sys.modules['sklearn'] = None")
    assert done.returncode != 0 and "pip install scipy scikit-learn" in done.stderr


def test_numbers_below_1_are_refused():
    done = run("--videos", "0")
    assert done.returncode == 2 and "must be at least 1, got 0" in done.stderr


def test_a_difference_ends_the_run():
    bench = load()
    figures = {"f1": np.array([0.5, 0.25])}
    bench.check_agreement(figures, {"f1": [0.5, 0.25]})
    with pytest.raises(SystemExit, match="f1 differs by up to 0.05, in 1 videos"):
        bench.check_agreement(figures, {"f1": [0.5, 0.3]})
    with pytest.raises(SystemExit, match="f1 differs by up to nan"):
        bench.check_agreement({"f1": np.array([0.5, np.nan])}, {"f1": [0.5, 0.25]})
    with pytest.raises(SystemExit, match="do not have the same metrics: .*kendall"):
        bench.check_agreement(figures, {"f1": [0.5, 0.25], "kendall": [0.0, 0.0]})


def test_drawn_videos_are_like_videoxums():
    bench = load()
    rng = np.random.default_rng(0)
    videos = [bench.draw_annotation(rng, number) for number in range(300)]
    seconds = np.array([one.duration_seconds for one in videos])
    assert seconds.min() >= 10 and seconds.max() <= 755 and 105 < seconds.mean() < 145
    assert {len(one.selections) for one in videos} == {10}
    shares = [np.mean(one.selections) for one in videos]
    assert 0.05 < np.mean(shares) < 0.3
