"""Where transformers is newer than the newest that was tested, a run says so: in one line, once, and goes on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

from llava_v2xum.features import releases

pytestmark = pytest.mark.pinned

LOCK = Path(__file__).parents[2] / "scripts" / "current.lock"
LINE = (
    f"transformers {version('transformers')} is newer than 4.0, the newest that this release was tested with; should "
    "something fail: pip install 'transformers<=4.0'"
)


@pytest.fixture
def told(monkeypatch, caplog):
    """What was told, under a transformers newer than the newest tested."""
    monkeypatch.setattr(releases, "NEWEST_TESTED", "4.0")
    monkeypatch.setenv("LLAVA_V2XUM_TOLD_OF", "")
    monkeypatch.delenv("RANK", raising=False)
    return lambda: [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_it_is_told_once(told):
    releases.tell_of_untested_release()
    releases.tell_of_untested_release()
    assert told() == [LINE]


def test_of_the_processes_of_a_launcher_the_first_tells_it(told, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    releases.tell_of_untested_release()
    assert told() == []


@pytest.mark.parametrize(("newest", "is_told"), [("5.24.0", True), ("5.25.0.dev0", False), ("6.0", False)])
def test_what_is_newer(told, monkeypatch, newest, is_told):
    monkeypatch.setattr(releases, "NEWEST_TESTED", newest)
    monkeypatch.setattr(releases, "version", lambda name: "5.25.0.dev0")
    releases.tell_of_untested_release()
    assert len(told()) == is_told


def run(code: str) -> subprocess.CompletedProcess:
    """In a process of its own, under a transformers newer than the newest tested."""
    environment = {name: value for name, value in os.environ.items() if name not in ("LLAVA_V2XUM_TOLD_OF", "RANK")}
    code = f"import sys\nfrom llava_v2xum.features import releases\nreleases.NEWEST_TESTED = '4.0'\n{code}"
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_a_run_goes_on_and_its_other_processes_are_silent():
    child = "from llava_v2xum.features import releases; releases.NEWEST_TESTED = '4.0'"
    child += "; releases.tell_of_untested_release()"
    made = run(
        "from llava_v2xum import load_pretrained\nfrom llava_v2xum.model.plugin import register\nregister()\n"
        f"import subprocess\nsubprocess.run([sys.executable, '-c', {child!r}], check=True)\nprint('done')"
    )
    assert made.stdout == "done\n"
    assert [line for line in made.stderr.splitlines() if "newer than" in line] == [LINE]


@pytest.mark.parametrize("module", ["model.checkpoint", "train.arguments"])
def test_it_is_told_before_llava_is_imported(module):
    """To load and to train: the import may be what fails under a release that nobody has tried."""
    made = run(f"sys.modules['llava'] = None\nimport llava_v2xum.{module}")
    assert made.returncode and "no package 'llava' is installed" in made.stderr
    assert LINE in made.stderr.splitlines()


def test_the_newest_tested_is_what_the_lock_installs():
    if not LOCK.is_file():
        pytest.skip(f"{LOCK.name} is not there")
    locked = re.findall(r"^transformers==([\w.]+)", LOCK.read_text(), re.MULTILINE)
    assert releases.NEWEST_TESTED == max(locked, key=Version)
