"""`detect FILE ...`: what files are taken for, by what that is seen, and which commands take them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EPILOG = """example:
  python -m llava_v2xum.evaluate detect captions.json val_1.json scores/
      the format that each has, and the commands for it
"""


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    one = commands.add_parser(
        "detect",
        help="what files are taken for, and which commands take them",
        description="Tell what files are taken for, by what that is seen, and which commands take them.",
        epilog=EPILOG,
    )
    one.add_argument("files", type=Path, nargs="+", metavar="FILE", help="files, or folders of them")
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a line or two a file; returns the exit status, 1 where one is not known."""
    from ...core.errors import V2XumError
    from ..formats.detect import seen

    unknown = 0
    for path in args.files:
        try:
            found = seen(path) if path.exists() else None
            problem = "it has none of the formats that are known" if path.exists() else "no such file"
        except V2XumError as error:
            found, problem = None, str(error).removeprefix(f"{path}: ")
        if found is None:
            print(f"error: {path}: {problem}", file=sys.stderr)
            unknown += 1
            continue
        print(f"{path}: {found.what}" + (f", by {found.sign}" if found.sign else ""))
        for command in found.taken_by:
            print(f"  python -m llava_v2xum.{command}")
    return 1 if unknown else 0
