"""One set of installed releases against what this project uses of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cached_property
from importlib import metadata

from packaging.requirements import Requirement

from .beyond import hidden, names_in_strings, read_by_upstream
from .reader import read_uses
from .signatures import misfits, refused, signatures, words_around
from .sources import Found, Sources
from .uses import PACKAGES, Uses

DISTRIBUTIONS = {"llava": "llava-torch", "open_clip": "open_clip_torch"}  # those of another name than their package


class Check:
    """See the module.

    Args:
        uses: this project's.
        hand: by_hand.json.
        site: a folder whose releases go before those of this Python.
    """

    def __init__(self, uses: Uses, hand: dict, site: str | None = None) -> None:
        self.uses, self.hand = uses, hand
        path = [site, *sys.path] if site else None
        self.sources = Sources(path)
        self.versions = {package: self._version(package, path) for package in PACKAGES if self.sources.find(package)}

    def _version(self, package: str, path: list[str] | None) -> str:
        where = {"path": path} if path else {}
        found = metadata.distributions(name=DISTRIBUTIONS.get(package, package), **where)
        return next((one.version for one in found), "0")  # "0" is a checkout on the path

    def lines(self, package: str) -> list[str]:
        """What of a package does not hold, a line for each name, with the places in our code; empty if all does."""
        found = self.moved(self.uses, package) + self.moved(self.of_llava, package)
        for beyond in (names_in_strings, read_by_upstream, hidden):
            found += beyond(self, package)
        return found

    @cached_property
    def of_llava(self) -> Uses:
        """What the modules of LLaVA that ours use ask of other packages."""
        names = {path for path, _ in self.uses.places if path.startswith("llava.")}
        found = filter(None, map(self.sources.find, names))
        modules = {one.module for each in found for one in self.sources.mro(each) if one.module}
        files = {module.file for module in modules if module.name.startswith("llava.") and module.file.is_file()}
        others = tuple(package for package in self.versions if package != "llava")
        if not files:
            return Uses(others)
        return read_uses(self.sources.module("llava").file.parents[1], sorted(files), self.hand, others)

    def moved(self, uses: Uses, package: str) -> list[str]:
        found = []
        for (path, shape), places in sorted(uses.places.items()):
            if path.partition(".")[0] == package:
                found += [self.line(path, problem, places) for problem in self.problems(path, shape)]
        return found

    def line(self, path: str, problem: str, places: list[str]) -> str:
        package = path.partition(".")[0]
        return f"{package} {self.versions[package]}: {path} {problem} ({', '.join(dict.fromkeys(places))})"

    def problems(self, path: str, shape: str) -> Iterator[str]:
        """What does not hold of one use of a name."""
        found = self.sources.find(path)
        if found is not None and not self.is_due(path):
            yield f"is there, where by_hand.json has it for {self.hand['only'][path]} alone"
        elif found is None and self.is_due(path) and not self.is_told(path) and not self.is_out_of_sight(path):
            yield "is no more"
        elif found is not None and self.is_due(path + shape):
            taken = self.hand["handed_in"].get(path, {})
            for problem, name in self.of_shape(path, found, shape):
                if name not in taken:
                    yield problem

    def is_due(self, path: str) -> bool:
        """Whether the installed releases are of those for which a name, a keyword or a call is relied on."""
        wanted = Requirement(self.hand["only"].get(path, path.partition(".")[0]))
        return wanted.specifier.contains(self.versions.get(wanted.name, "0"), prereleases=True)

    def is_told(self, path: str) -> bool:
        """Whether it is of our making, or a module that `told_by` names for a class or a function has the word."""
        head, _, last = path.removesuffix("=)").replace("(", ".").rpartition(".")
        found = map(self.sources.module, self.hand["told_by"].get(head, []))
        return path in self.hand["ours"] or any(last in module.words for module in found if module)

    def is_out_of_sight(self, path: str) -> bool:
        """Whether it belongs to a value, of which the source does not tell what it holds."""
        head = self.sources.find(path.rpartition(".")[0])
        return head is not None and not head.is_class and not head.is_module and head.value is None

    def of_shape(self, path: str, found: Found, shape: str) -> list[tuple[str, str]]:
        """What does not fit of a call, or of a method in an upstream one's place, and which parameter that is about."""
        every = signatures(self.sources, found) or []
        if shape.startswith("def "):
            names = dict.fromkeys(name for signature in every for name in refused(signature, shape))
            return [(f"is given {name}, which the method in its place does not take", name) for name in names]
        if not shape.startswith("("):
            return []
        problems = []
        for signature in every:
            unknown, others = misfits(signature, shape)
            words = words_around(self.sources, found) if signature.any_keyword and unknown else set()
            for name in unknown:
                keyword = f"{path}({name}=)"
                if name not in words and self.is_due(keyword) and not self.is_told(keyword):
                    others.append((f"takes no {name}=", name))
            problems.append(others)
        return min(problems, key=len, default=[])  # of overloads, that which the call fits best
