"""Every command tells its help, and what is wrong with its arguments, before it loads anything that takes seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_lines import HEAVY

from llava_v2xum.__main__ import COMMANDS, HOMES
from llava_v2xum.data.convert.command import build_parser as convert_parser
from llava_v2xum.evaluate.__main__ import build_parser as evaluate_parser

pytestmark = [pytest.mark.pinned, pytest.mark.every_python]

ROOT = Path(__file__).resolve().parents[1]
GUARD = 'if __name__ == "__main__":'
SUB_COMMANDS = [
    *(("llava_v2xum.convert", name) for name in convert_parser().commands.choices),
    *(("llava_v2xum.evaluate", name) for name in evaluate_parser().commands.choices),
]
SCRIPTS = [
    str(path)
    for path in sorted((ROOT / "scripts").rglob("*.py"))
    if "Parser(" in path.read_text(encoding="utf-8")  # the others have no flags of their own
]
TRAINING = [str(path) for path in sorted((ROOT / "scripts").glob("finetune*.sh"))]  # to Python these are Python
LINES = [
    ("llava_v2xum",), *((f"llava_v2xum.{HOMES.get(name, name)}",) for name in COMMANDS), *SUB_COMMANDS,
    *((script,) for script in (*SCRIPTS, *TRAINING)),
]  # fmt: skip
NAMES = [" ".join(line).replace(f"{ROOT}{os.sep}", "") for line in LINES]


def run_all(*lines: tuple[str, ...]) -> list[dict]:
    """What `command_lines` tells of them, all run in one process."""
    environment = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "RANK")}
    command = [sys.executable, str(Path(__file__).parent / "support" / "command_lines.py"), json.dumps(lines)]
    done = subprocess.run(
        command, cwd=ROOT, env={**environment, "COLUMNS": "80"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def helped() -> dict[str, dict]:
    return dict(zip(NAMES, run_all(*((*line, "--help") for line in LINES))))


@pytest.fixture(scope="module")
def slipped() -> dict[str, dict]:
    return dict(zip(NAMES, run_all(*((*line, "--no-such-flag") for line in LINES))))


def test_every_command_is_in_the_list():
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for path in (ROOT / "llava_v2xum").rglob("*.py")
        if GUARD in path.read_text(encoding="utf-8") and path != ROOT / "llava_v2xum" / "__main__.py"
    }
    started_by_others = {"llava_v2xum.media.helper"}
    assert modules - started_by_others == {f"llava_v2xum.{HOMES.get(name, name)}" for name in COMMANDS}
    assert len(SCRIPTS) > 10 and len(TRAINING) == 2


@pytest.mark.parametrize("name", NAMES)
def test_help_is_told_before_anything_is_loaded(helped, name):
    told = helped[name]
    assert (told["status"], told["err"], told["loaded"]) == (0, "", [])
    assert told["out"].startswith("usage: ") and len(told["out"].splitlines()) > 5


@pytest.mark.parametrize("name", NAMES)
def test_a_slip_is_told_in_one_line_before_anything_is_loaded(slipped, name):
    told = slipped[name]
    assert (told["status"], told["out"], told["loaded"]) == (2, "", [])
    reason, *more = told["err"].splitlines()
    assert reason.startswith("error: ") and len(reason) > len("error: ")
    assert len(more) < 2 and all(line.endswith("--help lists the flags") for line in more)


def test_what_takes_seconds_is_noticed():
    """The two tests above would fail if a command loaded one of them."""
    (told,) = run_all(("pydoc", "torch.version"))
    assert "torch" in told["loaded"] and "torch" in HEAVY


def test_without_a_command_those_that_there_are_are_listed():
    told = run_all(("llava_v2xum",), ("llava_v2xum.convert",), ("llava_v2xum.evaluate",))
    wanted = COMMANDS, convert_parser().commands.choices, evaluate_parser().commands.choices
    for one, names in zip(told, wanted):
        assert (one["status"], one["out"]) == (2, "") and one["err"].startswith("error: one of these is needed:\n")
        listed = [line.split()[0] for line in one["err"].splitlines() if line.startswith("  ")]
        assert set(names) <= set(listed)


def test_the_list_runs_its_commands():
    there, gone, wrong = run_all(
        ("llava_v2xum", "merge", "--help"),
        ("llava_v2xum", "none"),
        ("llava_v2xum", "evaluate", "tables", "--none", "a"),
    )
    assert there["status"] == 0 and there["out"].startswith("usage: python -m llava_v2xum.merge ")
    assert gone["status"] == 2 and "invalid choice: 'none'" in gone["err"]
    assert wrong["err"] == (
        "error: unrecognized arguments: --none\npython -m llava_v2xum.evaluate tables --help lists the flags\n"
    )
