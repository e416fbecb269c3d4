"""The two files of the contract: uses.json is written from this project's code, by_hand.json has what no code tells."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from .reader import read_uses
from .uses import Uses

PROJECT = ("llava_v2xum", "scripts")
ROOT = Path(__file__).resolve().parents[2]
USES, BY_HAND = (Path(__file__).with_name(name) for name in ("uses.json", "by_hand.json"))


def load_hand() -> dict:
    return json.loads(BY_HAND.read_text(encoding="utf-8"))


def project_uses(hand: dict, root: Path = ROOT) -> Uses:
    return read_uses(root, sorted(file for folder in PROJECT for file in (root / folder).rglob("*.py")), hand)


def private_names(uses: Uses) -> dict[str, list[str]]:
    """Names with an underscore before a part of them, of upstream and of other packages, and where they are used.

    Of what is not known, it is an attribute that nothing of ours defines.
    """
    found: dict[str, list[str]] = {}
    for (path, _), places in sorted(uses.places.items()):
        if any(part.startswith("_") and not part.endswith("__") for part in path.split(".")):
            found[path] = [*dict.fromkeys([*found.get(path, []), *places])]
    known = {place for places in found.values() for place in places}
    ours = {f"?.{name}" for one in uses.classes.values() for name in one.own} | {
        f"?.{name}" for module in uses.modules for name in module.names
    }
    for path, places in sorted(uses.underscored.items()):
        rest = [place for place in dict.fromkeys(places) if place not in known]
        is_python = path.partition(".")[0] in {*sys.stdlib_module_names, *PROJECT}
        if rest and path not in ours and not is_python:
            found[path] = rest
    return found


def stale(uses: Uses, of_llava: Uses, hand: dict, root: Path = ROOT) -> Iterator[str]:
    """What by_hand.json says of what neither this project's code nor LLaVA's has any more."""
    places = {**uses.places, **of_llava.places}
    used = {path for path, _ in places} | {path + shape for path, shape in places}
    calls = {f"{path}({word})" for path, shape in places for word in shape.strip("()").split(", ")}
    within = {".".join(path.split(".")[:end]) for path in used for end in range(1, path.count(".") + 2)}
    asked = {f"{path}({name}=)" for path, names in hand["read_by"].items() for name in names}
    known = used | calls | asked | {*hand["in_strings"]}
    words_of = {module.file.relative_to(root).as_posix(): module.words for module in uses.modules}
    words = set().union(*words_of.values(), *(one.own for one in uses.classes.values()))
    for part, lacking in {
        "stands_for": set(hand["stands_for"]) - uses.hints - of_llava.hints,
        "stands_above": set(hand["stands_above"]) - set(uses.classes),
        "replaced": set(hand["replaced"]) - {path for path, shape in uses.places if shape[:4] in ("=", "def ")},
        "only": set(hand["only"]) - known,
        "told_by": set(hand["told_by"]) - within,
        "handed_in": set(hand["handed_in"]) - {path for path, shape in places if shape.startswith("def ")},
        "private": set(hand["private"]) - set(private_names(uses)),
        "ours": {path for path in hand["ours"] if last_word(path) not in words},
        "in_strings": {
            path for path, file in hand["in_strings"].items() if last_word(path) not in words_of.get(file, ())
        },
        "read_by": {path for path in asked if last_word(path) not in words},
    }.items():
        yield from (f"{part}: {name}" for name in sorted(lacking))


def last_word(path: str) -> str:
    """The name at the end of a dotted path, or the keyword that it ends with."""
    return path.removesuffix("=)").replace("(", ".").rpartition(".")[2]
