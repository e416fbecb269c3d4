"""What runs the code of Markdown files, in a folder that has what they speak of, and judges what it printed.

    python readme_runs.py PROGRAMS.json     reads the arguments of commands that are not run, and no more
"""

from __future__ import annotations

import argparse
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from readme_blocks import Block

BAR = re.compile(r"\d%\|")
DECIMAL = re.compile(r"\d+\.\d+(?:e-?\d+)?")
WARNING = re.compile(
    r"Warning\b|WARNING\b|\bW\d{4}\b|deprecated|UNEXPECTED|resource_tracker|TOKENIZERS_PARALLELISM|NVML|Traceback"
)
PARSING = {
    name: getattr(argparse.ArgumentParser, name) for name in ("parse_args", "parse_known_args", "parse_intermixed_args")
}
OF_LAUNCHERS = re.compile(  # DeepSpeed's and torch's own, of a machine without a GPU, before any code of ours runs
    r"\[WARNING\] \[\w+\.py:\d+:(get_accelerator|fetch_hostfile)\]|No CUDA runtime is found, using CUDA_HOME"
)


def environment(world: Path) -> dict[str, str]:
    """A user's, with this Python's programs first, one thread, and neither network nor hub."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONWARNINGS", "TOKENIZERS_PARALLELISM")}
    nowhere = "http://127.0.0.1:9"  # nobody listens there
    return {
        **kept,
        **{name: nowhere for way in ("http", "https", "all") for name in (f"{way}_proxy", f"{way}_proxy".upper())},
        "no_proxy": "localhost,127.0.0.1",
        "PIP_NO_INDEX": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(world / ".hub"),
        "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONUNBUFFERED": "1",  # what is printed comes in order
        "LLAVA_V2XUM_TOLD_OF": version("transformers"),  # test_releases.py shows what is told of an untested one
    }


def run(block: Block, world: Path, timeout_seconds: float = 1800) -> None:
    """Run a block in a folder.

    Raises:
        AssertionError: with file, line and what was printed, if it fails, warns, or prints other than is shown.
    """
    if block.language == "python":
        file = world / ".code" / block.file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n" * (block.line - 1) + block.code + "\n")  # so that tracebacks name the line
        command = [sys.executable, str(file)]
    else:
        lines = ["set -euo pipefail", f"trap 'test $? = 0 || echo {block.file}:$line >&2' EXIT"]
        for each in block.commands:
            lines += [] if each.not_run else [f"line={each.line}", each.text]
        command = ["bash", "-c", "\n".join(lines)]
    done = subprocess.run(
        command, cwd=world, env=environment(world), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout_seconds,
    )  # fmt: skip
    assert done.returncode == 0, f"{block.place}: exit status {done.returncode}\n{done.stdout[-5000:]}"
    lines = printed(done.stdout)
    warnings = [line for line in lines if WARNING.search(line) and not OF_LAUNCHERS.search(line)]
    assert not warnings, f"{block.place}: not meant for the user: {warnings}"
    if block.compared:
        missing = first_missing(block.output, lines)
        assert missing is None, f"{block.place}: shown and not printed: {missing!r}\n{done.stdout[-5000:]}"


def printed(text: str) -> list[str]:
    """The lines of a command's output, without those that are blank and without progress bars."""
    lines = (line.rstrip() for line in re.split(r"[\r\n]+", text))
    return [line for line in lines if line and not BAR.search(line)]


def first_missing(shown: Sequence[str], lines: Sequence[str]) -> str | None:
    """The first shown line that was not printed where it stands, or None: runs of lines between `...`, in order.

    Decimals may differ by 2 % (a loss does, from machine to machine).
    """
    start = 0
    for is_gap, group in groupby(filter(None, (line.rstrip() for line in shown)), lambda line: line == "..."):
        wanted = list(group)
        if is_gap:
            continue
        places = range(start, len(lines) - len(wanted) + 1)
        counts = [_leading(wanted, lines[place:]) for place in places]
        if len(wanted) not in counts:
            return wanted[max(counts, default=0)]
        start = places[counts.index(len(wanted))] + len(wanted)
    return None


def _leading(wanted: Sequence[str], lines: Sequence[str]) -> int:
    """How many of the wanted lines begin the others."""
    return next((count for count, pair in enumerate(zip(wanted, lines)) if not _alike(*pair)), len(wanted))


def _alike(one: str, other: str) -> bool:
    if DECIMAL.sub("#", one) != DECIMAL.sub("#", other):
        return False
    pairs = zip(map(float, DECIMAL.findall(one)), map(float, DECIMAL.findall(other)))
    return all(abs(a - b) <= 0.02 * max(a, b) for a, b in pairs)


# --- commands that are not run ---------------------------------------------------------------------------------


def program_of(command: str) -> list[str] | None:
    """The program of this project that a command starts, itself or by a launcher, and its arguments; None if none."""
    words = shlex.split(command.replace("\\\n", " "), comments=True)
    for place, word in enumerate(words):
        if word in ("-m", "--module") and words[place + 1].startswith("llava_v2xum"):
            return words[place + 1 :]
        if word == "scripts/demo.sh":
            return ["llava_v2xum.infer", *(words[place + 1 :] or ["clip.mp4"])]
        if re.fullmatch(r"scripts/finetune_\w+\.sh", word):
            return ["llava_v2xum.train", *words[place + 1 :]]
        if re.fullmatch(r"scripts/[\w/]+\.py", word):
            return words[place:]
    return None


def ending(name: str, parse: Callable) -> Callable:
    """A parser's method, after which the program ends: with an error where `parse_known_args` leaves arguments over."""

    def parse_and_end(parser: argparse.ArgumentParser, *args, **kwargs):
        if not parser.add_help:  # not the program's own: it looks at some arguments beforehand
            return parse(parser, *args, **kwargs)
        set_parsing(PARSING)  # it calls its subparsers', and the others of its own
        parsed = parse(parser, *args, **kwargs)
        unknown = parsed[1] if name == "parse_known_args" else []
        raise SystemExit(f"unknown: {unknown}" if unknown else 0)

    return parse_and_end


def set_parsing(methods: Mapping[str, Callable]) -> None:
    for name, method in methods.items():
        setattr(argparse.ArgumentParser, name, method)


def read_arguments(program: str, arguments: Sequence[str]) -> int:
    """Run a program as far as its arguments are read; the exit status is 0 if they can be."""
    set_parsing({name: ending(name, parse) for name, parse in PARSING.items()})
    sys.argv = [program, *arguments]
    try:
        if program.endswith(".py"):
            sys.path.insert(0, str(Path(program).resolve().parent))
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(program, end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else 2
    finally:
        set_parsing(PARSING)
    raise RuntimeError(f"{program} read no arguments")


if __name__ == "__main__":
    import llava_v2xum.train.flags

    llava_v2xum.train.flags.check_arguments = lambda arguments: None  # it asks for files
    for given in json.loads(Path(sys.argv[1]).read_text()):
        print(json.dumps([given, read_arguments(given[0], given[1:])]), flush=True)
