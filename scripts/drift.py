"""The suite with the newest releases of everything, and which of them breaks what: `bash scripts/test.sh --newest`.

It runs in .venv-test, which has the locked versions. Tests that fail with the newest releases are run again with the
locked ones, then with each release that has moved on top of the locked ones (uv moves others along only where it must),
so that one table names the package to look at.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

LOCK = Path("scripts/current.lock")
LOCKED = Path(sys.prefix)  # the environment with the locked versions
NEWEST, ALONE = Path(".venv-newest"), Path(".venv-alone")
STYLE, WHOLE = "ruff check .", "(the whole suite)"  # reported beside the tests; pytest ended without naming a test
ANYWAY, TOGETHER = "(with the locked versions too)", "(with none of them alone)"
NAMED = 5  # tests that a row of the table names


def bash(function: str, *arguments: object, stdin: str = "") -> None:
    """Call a function of environment.sh, which knows how environments are made."""
    call = ["bash", "-euc", '. scripts/environment.sh && "$@"', "bash", function, *map(str, arguments)]
    if subprocess.run(call, input=stdin, text=True).returncode:
        raise SystemExit(1)


def make(folder: Path, *arguments: str, requirement: str = "", start: Path | None = None) -> None:
    """Make an environment of the versions that uv resolves, from those of the lock file `start` where it may."""
    lock = LOCKED / f"{folder.name}.lock"
    lock.unlink(missing_ok=True)
    if start:
        shutil.copyfile(start, lock)
    bash("compile_lock", LOCKED, lock, "--all-extras", *arguments, stdin=requirement)
    bash("make_environment", folder, sys.executable, lock)


def versions(folder: Path) -> dict[str, str]:
    """Version by normalized name of all that an environment has."""
    call = [LOCKED / "bin" / "uv", "pip", "list", "--quiet", "--format", "json", "--python", folder / "bin" / "python"]
    listed = json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
    return {package["name"]: package["version"] for package in listed}


def direct_dependencies() -> set[str]:
    """Normalized names of what setup.py asks for, extras included, and of llava."""
    names = (re.match(r"[\w.-]+", line).group() for line in importlib.metadata.requires("llava_v2xum"))
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names} | {"llava-torch"}


def failing_tests(folder: Path, arguments: list[str], among: set[str] | None = None) -> set[str]:
    """Run the suite in an environment: all that pytest's arguments select and the style check, or what is in `among`.

    Returns:
        Ids of tests that failed and of files that could not be collected, STYLE, and WHOLE if pytest failed and named
        none; with `among`, those of it that these tell of.
    """
    failed = set()
    if among is None or STYLE in among:
        failed |= {STYLE} if subprocess.run([folder / "bin" / "ruff", "check", "."]).returncode else set()
    if among is not None and WHOLE not in among:
        arguments = sorted(among - {STYLE})  # ids of tests
    if among != {STYLE}:
        with tempfile.TemporaryDirectory() as cache:
            call = [folder / "bin" / "python", "-m", "pytest", "-o", f"cache_dir={cache}"]
            status = subprocess.run([*call, "--continue-on-collection-errors", *arguments]).returncode
            last = Path(cache, "v", "cache", "lastfailed")
            named = json.loads(last.read_text()) if last.is_file() else {}
        failed |= set(named or ([WHOLE] if status else []))
    if among is None:
        return failed
    return {test for test in among if any(tells_of(one, test) for one in failed)}


def tells_of(failed: str, test: str) -> bool:
    """Whether a failure here is that of another run: a file that cannot be collected stands for its tests."""
    whole = failed == WHOLE and test != STYLE
    return whole or failed == test or test.startswith(f"{failed}::") or failed.startswith(f"{test}::")


def attribute(
    failing: set[str], moved: list[str], direct: set[str], run: Callable[[str | None, set[str]], set[str]]
) -> dict[str, set[str]]:
    """Failing tests by the package that breaks them.

    Args:
        failing: what fails with the newest of everything.
        moved: packages whose newest version is not the locked one.
        direct: direct dependencies; the others are tried only for what none of these explains.
        run: which of these tests fail with this package alone at its newest, or with the locked versions (None).

    Returns:
        Tests by package that has moved, and by ANYWAY and TOGETHER for those that have not to do with one package.
    """
    causes = {ANYWAY: run(None, failing) if failing else set()}
    left, blamed = failing - causes[ANYWAY], set()
    for package in sorted(moved, key=lambda name: name not in direct):
        tests = left if package in direct else left - blamed
        causes[package] = run(package, tests) if tests else set()
        blamed |= causes[package]
    return {**causes, TOGETHER: left - blamed}


def table(locked: dict[str, str], newest: dict[str, str], direct: set[str], causes: dict[str, set[str]]) -> str:
    """Markdown: each direct dependency and each package that has moved (those of `causes`), with what it breaks."""

    def told(tests: set[str]) -> str:
        names = [*sorted(tests)[:NAMED], *([f"and {len(tests) - NAMED} more"] if len(tests) > NAMED else [])]
        return f"fails: {', '.join(names)}".replace("|", "\\|") if tests else "passes"

    rows = [("package", "locked", "newest", "result"), ("---",) * 4]
    for name in sorted(direct | causes.keys() - {ANYWAY, TOGETHER}):
        result = told(causes[name]) if name in causes else "has not moved"
        rows.append((name, locked.get(name, "-"), newest.get(name, "-"), result))
    rows += [(name, "", "", told(causes[name])) for name in (ANYWAY, TOGETHER) if causes[name]]
    widths = [*(max(map(len, column)) for column in list(zip(*rows))[:3]), 0]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows)


def main(arguments: list[str]) -> int:
    """Run the suite with the newest releases and print the table; 1 if anything fails."""
    make(NEWEST, "--upgrade")
    locked, newest, direct = versions(LOCKED), versions(NEWEST), direct_dependencies()
    failing = failing_tests(NEWEST, arguments)

    def run(package: str | None, tests: set[str]) -> set[str]:
        print(f"\n{len(tests)} again with {f'{package} alone' if package else 'the locked versions'} ...", flush=True)
        if package:
            make(ALONE, requirement=f"{package}=={newest[package]}", start=LOCK)
        return failing_tests(ALONE if package else LOCKED, arguments, tests)

    moved = [name for name in newest if locked.get(name) != newest[name]]
    causes = attribute(failing, moved, direct, run)
    shutil.rmtree(ALONE, ignore_errors=True)
    print(f"\nPython {platform.python_version()}: {len(moved)} of {len(newest)} packages differ from the lock\n")
    print(table(locked, newest, direct, causes))
    return 1 if failing else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
