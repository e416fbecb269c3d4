"""Whether files are Instruct-V2Xum's JSON, from which a model can learn.

    python -m llava_v2xum.curate.validate train.json val.json test.json

prints what is wrong with which entry, and then ends with status 1. An entry is checked by itself (`problems_of`), then
with the others of its file, as `convert instruct-v2xum` reads them, and with those of the other files: an id belongs to
one split.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.command_line import Parser
from ..core.readers import Rejected, SourceError, id_of, load_list, shown
from ..data.convert import instruct_v2xum
from .data_set.entry_checks import problems_of, task_of

MOST_SHOWN = 20  # problems of a file
MOST_CHARACTERS = 300  # of a problem


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file or with one of its entries.

    Args:
        place: of the entry in the file, from 0; None for the file as a whole.
        id: of the entry, where it has one.
        reason: what was expected and what came.
    """

    place: int | None
    id: str | None
    reason: str

    def __str__(self) -> str:
        """One line of bounded length, whatever the file holds."""
        reason = "".join(one if one.isprintable() else repr(one)[1:-1] for one in self.reason[:MOST_CHARACTERS])
        if max(len(reason), len(self.reason)) > MOST_CHARACTERS:
            reason = reason[:MOST_CHARACTERS] + "..."
        if self.place is None:
            return reason
        return f"entry {self.place} ({'no id' if self.id is None else shown(self.id)}): {reason}"


@dataclass
class Checked:
    """A file that was looked at.

    Args:
        path: the file.
        entries: how many it has.
        ids: those of its entries, each with the place of its first.
        problems: in the order of the entries.
    """

    path: Path
    entries: int = 0
    ids: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def check_files(paths: Sequence[str | os.PathLike[str]]) -> list[Checked]:
    """Check files that are the splits of one data set."""
    files = [check_file(path) for path in paths]
    owners: dict[str, Checked] = {}
    for file in files:
        for entry_id, place in file.ids.items():
            owner = owners.setdefault(entry_id, file)
            if owner is not file:
                reason = f"its video is in {owner.path} too: a video belongs to one split"
                file.problems.append(Problem(place, entry_id, reason))
        file.problems.sort(key=lambda problem: -1 if problem.place is None else problem.place)
    return files


def check_file(path: str | os.PathLike[str]) -> Checked:
    """Check one file; whatever is wrong with it is among its problems."""
    file = Checked(Path(path))
    try:
        entries = load_list(file.path, "Instruct-V2Xum entries")
        said: dict[tuple[str, str], int] = {}
        for place, entry in enumerate(entries):
            entry_id = id_of(entry, "id")
            file.problems += [Problem(place, entry_id, reason) for reason in problems_of(entry)]
            if entry_id is not None:
                file.ids.setdefault(entry_id, place)
                file.problems += [Problem(place, entry_id, reason) for reason in _told_before(entry, place, said)]
        file.entries = len(entries)
        del entries  # the converter reads the file for itself
        known = {problem.place for problem in file.problems}
        for item in instruct_v2xum.read(file.path, 0):
            if isinstance(item, Rejected) and item.place not in known:
                file.problems.append(Problem(item.place, item.video_id, item.reason))
    except SourceError as error:
        file.problems.append(Problem(None, None, str(error).removeprefix(f"{file.path}: ")))
    file.problems.sort(key=lambda problem: -1 if problem.place is None else problem.place)
    return file


def _told_before(entry: Any, place: int, said: dict[tuple[str, str], int]) -> Iterator[str]:
    """The tasks of an entry that an earlier one of its id answers already."""
    turns = entry.get("conversations")
    for turn in turns if isinstance(turns, list) else []:
        question = turn.get("value") if isinstance(turn, dict) and turn.get("from") == "human" else None
        task = task_of(question) if isinstance(question, str) else None
        if task is None:
            continue
        first = said.setdefault((entry["id"], task), place)
        if first != place:
            yield f"entry {first} answers {task.upper()} for the same id"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns 1 if anything is wrong."""
    parser = Parser(
        prog="python -m llava_v2xum.curate.validate", description="Check files of Instruct-V2Xum's JSON."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="the splits of one data set")
    parser.add_argument("--most", type=int, default=MOST_SHOWN, metavar="K", help="problems to print of a file "
        "(%(default)s)")  # fmt: skip
    args = parser.parse_args(argv)
    wrong = 0
    for file in check_files(args.files):
        count = len(file.problems)
        wrong += count
        figures = f"{file.entries} entries of {len(file.ids)} videos, {count or 'no'} problem{'s' * (count != 1)}"
        print(f"{file.path}: {figures}")
        for problem in file.problems[: max(0, args.most)]:
            print(f"  {problem}")
        if count > max(0, args.most):
            print(f"  and {count - max(0, args.most)} more")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
