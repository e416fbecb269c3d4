"""README's table of rooms says what each room says of itself, and leaves none out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "llava_v2xum"
MOST_ENTRIES = 14  # at the package's root, beside these
BESIDE = {"__init__.py", "__main__.py", "__pycache__", "py.typed"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60  # lines


def first_line_of(folder: Path) -> str:
    """The first sentence of a room's docstring, without its stop."""
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    return text.splitlines()[0].removesuffix(".")


def test_the_table_has_every_room_in_its_own_words():
    rooms = {
        f"{file.parent.relative_to(PACKAGE).as_posix()}/": first_line_of(file.parent)
        for file in PACKAGE.rglob("__init__.py")
        if file.parent != PACKAGE
    }
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `([a-z_/]+/)` \| (.+) \|$", readme, re.MULTILINE)) == rooms


def test_the_ways_and_the_changes_lead_over_files_that_there_are():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_]+/[\w/]+\.py)`", readme[readme.index("\n## How it is laid out") :])
    assert len(named) > 30 and [name for name in named if not (PACKAGE / name).is_file()] == []


def test_the_root_stays_small():
    entries = {entry.name for entry in PACKAGE.iterdir()} - BESIDE
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def test_no_file_and_no_function_is_too_long_to_read():
    long = []
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        name = file.relative_to(PACKAGE).as_posix()
        if (lines := text.count("\n")) > LONGEST_FILE:
            long.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if (lines := node.end_lineno - node.lineno + 1) > LONGEST_FUNCTION:
                    long.append(f"{name}: {node.name}: {lines} lines")
    assert not long, "\n".join(long)
