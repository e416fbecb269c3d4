"""The contract with upstream packages: what this project uses of them, and what of that an installed release lacks.

    python -m tests.upstream [PACKAGE ...]    what has moved, a line for each name; exit status 1 if anything has
    python -m tests.upstream --write          uses.json anew from this project's code
    python -m tests.upstream --private        the names that upstream promises nobody, and where they are used

No release is imported: it is read. `--site FOLDER` reads one that `pip install --no-deps --target FOLDER` put there.
"""

from __future__ import annotations

import argparse
import sys

from .check import Check
from .contract import USES, load_hand, private_names, project_uses
from .uses import PACKAGES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = [*PACKAGES, []]  # argparse holds the empty list, where none is named, against them too
    parser.add_argument("packages", nargs="*", choices=choices, metavar="PACKAGE", help=", ".join(PACKAGES))
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--private", action="store_true")
    parser.add_argument("--site")
    asked = parser.parse_args()
    hand = load_hand()
    uses = project_uses(hand)
    if asked.write:
        USES.write_text(uses.as_text(), encoding="utf-8")
        return 0
    if asked.private:
        found = private_names(uses)
        print("\n".join(f"{name}: {', '.join(places)}" for name, places in found.items()))
        print(f"{len(found)} private names in {sum(map(len, found.values()))} places")
        return 0
    check = Check(uses, hand, asked.site)
    asked_for = asked.packages or PACKAGES
    moved = [line for package in asked_for if package in check.versions for line in check.lines(package)]
    print("\n".join(moved or ["nothing has moved"]))
    for package in asked_for:
        print(f"{package} {check.versions.get(package, 'is not installed, and was not checked')}", file=sys.stderr)
    return bool(moved)


if __name__ == "__main__":
    sys.exit(main())
