"""What the project relies on beyond the names in its code; each gives the lines of one package, as `Check.lines`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .modules import words_in

if TYPE_CHECKING:
    from .check import Check


def names_in_strings(check: Check, package: str) -> Iterator[str]:
    """Names that our code has in strings, gives in `**`, or asks of what no source tells."""
    for path, file in check.hand["in_strings"].items():
        if path.partition(".")[0] == package and check.is_due(path):
            name, _, keyword = path.partition("(")
            for problem in check.problems(name, f"(*, **, {keyword}" if keyword else ""):
                yield check.line(name, problem, [file])


def read_by_upstream(check: Check, package: str) -> Iterator[str]:
    """Names that an upstream function or module asks for, and that are ours to give."""
    for path, names in check.hand["read_by"].items():
        if path.partition(".")[0] == package and (found := check.sources.find(path)):
            words = set().union(*map(words_in, found.nodes or [found.module.tree]))
            for name, file in names.items():
                if check.is_due(f"{path}({name}=)") != (name in words):
                    yield check.line(path, f"asks for {name} " + ("already" if name in words else "no more"), [file])


def hidden(check: Check, package: str) -> Iterator[str]:
    """Attributes that a class of ours has for itself, and that the upstream class above it has come to have too."""
    meant = {name for name, shape in check.uses.places if shape == "=" or shape.startswith("def ")}
    for path, ours in check.uses.classes.items():
        above = next(filter(check.uses.is_upstream, [check.hand["stands_above"].get(path, ""), *ours.bases]), "")
        found = check.sources.find(above) if above.partition(".")[0] == package else None
        for name, place in ours.own.items() if found else ():
            other = None if name.startswith("__") or f"{above}.{name}" in meant else check.sources.member(found, name)
            if other is not None and check.uses.is_upstream(other.path):
                yield check.line(f"{above}.{name}", "has the name of one of ours, which takes its place", [place])
