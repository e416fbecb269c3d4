"""`python -m llava_v2xum.inspect DATA ...`: all of a run before its first step, and no step."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields

from ..core.command_line import Parser
from .flags import as_arguments
from .launch import guarded, precision
from .options import LLAVAS, NEEDED, PAPER, TRANSFORMERS, DataOptions, ModelOptions, TrainingOptions

_HELP = """Look at instruction JSON as training would see it, and at what the run would cost.

Prints, and writes as report.txt and as page.html into OUT/inspection: samples decoded from their ids with the learned
tokens marked, statistics by task, duplicates and faults of inputs and answers, and the plan: steps, tokens, time by a
measured pass, memory, disk and cards. With --video_folder the page shows frames. All flags of training are taken
(python -m llava_v2xum.train --help), with the scripts' values as defaults; nothing is trained."""
_EXAMPLE = """example:
  python -m llava_v2xum.inspect data/train_videoxum.json --model_name_or_path lmsys/vicuna-7b-v1.5 \\
      --feature_folder features"""
_OWN = ("data_path", "output_dir", "dry_run")


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m llava_v2xum.inspect", description=_HELP, epilog=_EXAMPLE, allow_abbrev=False,
        usage="%(prog)s DATA [DATA ...] --model_name_or_path NAME --feature_folder DIR [FLAGS OF TRAINING]",
    )  # fmt: skip
    parser.add_argument("data", nargs="+", metavar="DATA", help="instruction JSON, one file or several")
    parser.add_argument("--out", default=".", metavar="DIR", help="where the folder inspection/ goes (default: here)")
    needed = {name: what for names, what in NEEDED.items() for name in names if name not in _OWN}
    own = [one.name for kind in (ModelOptions, DataOptions, TrainingOptions) for one in fields(kind)]
    others = [flag.split()[0] for flag in (*LLAVAS, *TRANSFORMERS)]
    for name in dict.fromkeys([*needed, *own, *others]):
        if name not in _OWN:
            spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
            told = needed.get(name, argparse.SUPPRESS)
            parser.add_argument(*spellings, dest=name, nargs="*", default=argparse.SUPPRESS, metavar="VALUE", help=told)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0, or 2 for what cannot be looked at.
    """
    asked = vars(build_parser().parse_args(sys.argv[1:] if argv is None else list(argv)))
    data, out = asked.pop("data"), asked.pop("out")
    given = [word for name, values in asked.items() for word in (f"--{name}", *values)]
    fixed = ["--data_path", *data, "--output_dir", out, "--dry_run", "True"]
    arguments = [*as_arguments(PAPER), *given, *fixed]
    return guarded(arguments, lambda: as_arguments(precision(arguments)))
