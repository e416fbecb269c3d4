"""The GPU proof, rehearsed on the CPU; and what it leaves when a step fails or the run is cut off."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts" / "bench"
sys.path.insert(0, str(SCRIPTS))

from gpu_proof import correctness, report, runner, wheels  # noqa: E402
from gpu_proof.results import Results  # noqa: E402
from gpu_proof.rows import measured  # noqa: E402
from gpu_proof.setting import REHEARSAL  # noqa: E402
from gpu_proof.steps import STEPS, Step  # noqa: E402

FAKES = """
import os, time
from gpu_proof.rows import measured

def fine(setting):
    yield {"what": "a check", "right": True}

def faulty(setting):
    yield {"what": "before the fault", "GB": 1.5}
    raise RuntimeError("on purpose\\nand more")

def dies(setting):
    yield {"what": "before the end"}
    os._exit(3)

def slow(setting):
    yield {"what": "before the wait", "pid": os.getpid()}
    time.sleep(300)

def one_measurement_fails(setting):
    yield measured("fails", lambda: 1 / 0)
    yield measured("goes on", dict)
"""
DRIVER = """
import sys
sys.path.insert(0, {scripts!r})
import gpu
from gpu_proof.steps import Step
gpu.SLOW = ()
gpu.STEPS = tuple(Step(name, name, "fake_steps." + name, 1, ()) for name in {names!r})
if __name__ == "__main__":
    sys.exit(gpu.main())
"""


def fake(name: str, needs: tuple[str, ...] = ()) -> Step:
    return Step(name, f"The step {name}", f"fake_steps.{name}", 1, needs)


@pytest.fixture
def fakes(tmp_path, monkeypatch) -> Path:
    """A folder whose steps are made up."""
    (tmp_path / "fake_steps.py").write_text(FAKES)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def run(folder: Path, *steps: Step, seconds: float = 300, missing: tuple[str, ...] = ()) -> Results:
    results = Results(folder / "out", steps, [])
    runner.run_steps(steps, REHEARSAL, seconds, results, missing)
    assert json.loads((folder / "out" / "gpu.json").read_text()) == results.found
    return results


def test_the_rehearsal_goes_through_every_step(tmp_path):
    command = [sys.executable, str(SCRIPTS / "gpu.py"), "--rehearse", "--minutes", "8", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    found = json.loads((tmp_path / "gpu.json").read_text())["steps"]
    states = {name: step["state"] for name, step in found.items()}
    assert done.returncode == 0 and states == dict.fromkeys([step.name for step in STEPS], "done"), done.stderr
    assert all(step["rows"] for step in found.values())
    table = (tmp_path / "gpu.md").read_text()
    assert all(f"| {row['what']} |" in table for step in found.values() for row in step["rows"])
    assert "A rehearsal on the CPU" in table and "not measured" in table  # 32 rows are none of its shapes
    checks = [row for step in found.values() for row in step["rows"] if "right" in row]
    assert len(checks) > 15


def test_a_step_that_fails_says_why_and_leaves_the_others(fakes):
    results = run(fakes, fake("fine"), fake("faulty"), fake("dies"), fake("one_measurement_fails"))
    steps = results.found["steps"]
    assert [step["state"] for step in steps.values()] == [
        "done",
        "failed: RuntimeError: on purpose",
        "failed: its process ended with status 3 (dies.log)",
        "done",
    ]
    assert [len(step["rows"]) for step in steps.values()] == [1, 1, 1, 2]
    assert "on purpose\nand more" in (fakes / "out" / "logs" / "faulty.log").read_text()
    assert results.wrong() == [
        "faulty: failed: RuntimeError: on purpose",
        "dies: failed: its process ended with status 3 (dies.log)",
        "one_measurement_fails, fails: ZeroDivisionError: division by zero",
    ]
    table = (fakes / "out" / "gpu.md").read_text()
    assert "| before the fault | 1.5 |" in table and "| fails | ZeroDivisionError: division by zero |" in table


def test_a_step_that_takes_too_long_is_cut_off_and_the_next_one_runs(fakes):
    results = run(fakes, fake("slow"), fake("fine"), seconds=8)
    slow, fine = results.found["steps"].values()
    assert slow["state"] == "cut off after its 4 s" and slow["rows"][0]["what"] == "before the wait"
    assert fine["state"] == "done" and gone(slow["rows"][0]["pid"])


def test_without_time_nothing_more_is_begun(fakes):
    results = run(fakes, fake("fine"), seconds=-1)
    assert results.found["steps"]["fine"]["state"] == "left out: no time was left"


def test_a_step_that_lacks_a_package_is_left_out_in_a_line(fakes):
    results = run(fakes, fake("fine", ("nowhere", "llava")), missing=("nowhere",))
    assert results.found["steps"]["fine"]["state"] == "left out: needs nowhere"
    assert "`fine`: left out: needs nowhere" in (fakes / "out" / "gpu.md").read_text() and not results.wrong()


@pytest.mark.parametrize("number, state", [(signal.SIGKILL, "runs"), (signal.SIGTERM, "cut off")])
def test_a_run_that_is_cut_off_leaves_a_readable_table(fakes, number, state):
    driver = fakes / "driver.py"
    driver.write_text(DRIVER.format(scripts=str(SCRIPTS), names=["fine", "slow", "faulty"]))
    process = subprocess.Popen([sys.executable, str(driver), "--rehearse", "--out", str(fakes / "out")])
    rows: list[dict] = []
    while not rows and process.poll() is None:
        time.sleep(0.1)
        with contextlib.suppress(OSError):
            rows = json.loads((fakes / "out" / "gpu.json").read_text())["steps"]["slow"]["rows"]
    process.send_signal(number)
    process.wait()
    steps = json.loads((fakes / "out" / "gpu.json").read_text())["steps"]
    assert [step["state"] for step in steps.values()] == ["done", state, "waits"]
    table = (fakes / "out" / "gpu.md").read_text()
    assert "| a check | yes |" in table and "| before the wait |" in table and "`faulty`: waits" in table
    ends = time.monotonic() + 30
    while not gone(rows[0]["pid"]) and time.monotonic() < ends:
        time.sleep(0.1)
    assert gone(rows[0]["pid"])  # it holds the card no longer


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    status = Path(f"/proc/{pid}/status")
    try:
        return "State:\tZ" in status.read_text()
    except OSError:
        return True


def test_the_table_and_the_aims_by_hand():
    rows = {
        "decoding": [
            {"what": "released loop", "rows": 1, "videos a minute": 20.0, "share of copy bandwidth": 0.9},
            {"what": "1 row", "rows": 1, "drafts": False, "share of copy bandwidth": 0.6},
            {"what": "32 rows", "rows": 32, "drafts": True, "videos a minute": 400.0, "right": False},
            {"what": "8 rows", "fault": "OutOfMemoryError: a | b"},
        ],
        "compiled": [{"what": "1 row", "rows": 1, "drafts": False, "share of copy bandwidth": 0.71}],
        "lora": [{"what": "ours", "packed": False, "MFU": 0.5}, {"what": "packed", "packed": True, "MFU": 0.4}],
    }
    steps = {name: {"title": name, "state": "done", "rows": of_step, "seconds": 1.5} for name, of_step in rows.items()}
    lines = report.markdown({"notes": ["A note."], "steps": steps}).splitlines()
    verdicts = [line.rsplit("|", 3)[1:3] for line in lines[6:10]]
    assert verdicts == [[" 0.71 ", " yes "], [" 20 ", " yes "], [" 0.4 ", " no "], ["  ", " not measured "]]
    assert "| 32 rows | 32 | 400 |  | yes | NO |  |" in lines
    assert "| 8 rows |  |  |  |  |  | OutOfMemoryError: a / b |" in lines
    columns = lines[lines.index("## decoding (`decoding`: done, 1.5 s)") + 2]
    assert columns == "| what | rows | videos a minute | share of copy bandwidth | drafts | right | fault |"


def test_a_measurement_without_a_word_of_why():
    def silent():
        raise MemoryError

    assert measured("it", silent) == {"what": "it", "fault": "MemoryError: no more is said"}


@pytest.mark.parametrize("pip", [True, False], ids=["by pip", "without pip"])
def test_wheels_of_missing_packages_are_installed_and_the_others_named(pip, tmp_path, monkeypatch):
    if not pip:
        monkeypatch.setitem(sys.modules, "pip", None)
    elif importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not here")
    monkeypatch.setattr(wheels, "MODULES", {"not-there": "not_there_at_all", "still-not": "still_not"})
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    assert wheels.missing_packages() == ["not-there", "still-not"]
    with zipfile.ZipFile(tmp_path / "not_there-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("not_there_at_all.py", "")
        facts = "not_there-1.0.dist-info"
        wheel.writestr(f"{facts}/METADATA", "Metadata-Version: 2.1\nName: not-there\nVersion: 1.0\n")
        wheel.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{facts}/RECORD", "")
    assert wheels.install(tmp_path, tmp_path / "site") is None
    assert wheels.missing_packages() == ["still-not"]
    assert os.environ["PYTHONPATH"] == str(tmp_path / "site")


def test_a_layout_whose_tower_cannot_be_had_is_left_out(monkeypatch):
    monkeypatch.setattr(correctness, "_against_the_cpu", lambda make, folder, device: {"right": True})
    monkeypatch.setattr(correctness, "NEEDED", {"released": ("json", "not_there_at_all")})
    rows = {row["what"]: row for row in correctness.layouts(REHEARSAL)}
    assert rows["released"] == {"what": "released", "left out": "needs not_there_at_all"}
    assert rows["full"]["right"] and "left out" not in rows["full"]


def test_the_script_makes_wheels_of_all_that_is_asked_for_in_locked_versions():
    script = (SCRIPTS / "gpu_wheels.sh").read_text()
    names = re.search(r"for name in (.+); do", script).group(1).split()
    assert names == list(wheels.MODULES)
    locked = (ROOT / "scripts" / "current.lock").read_text()
    assert all(re.search(rf"^{name}==", locked, re.MULTILINE) for name in names)
