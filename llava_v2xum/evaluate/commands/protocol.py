"""`protocol DATASET`: what each column is, whose script it equals, which published rows used it; and a card."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..formats.data_sets import DATA_SETS
from .options import BadOption

EPILOG = """examples:
  python -m llava_v2xum.evaluate protocol videoxum
      the columns of its table
  python -m llava_v2xum.evaluate protocol videoxum --report report_7b/ --annotations test_videoxum.json
      a block to paste into an article: data set, rules, versions, hash of the annotations
"""


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    one = commands.add_parser(
        "protocol",
        help="what each column is, whose script it equals",
        description="Tell what each column of a data set's table is, its formula, the script that gives the same "
        "figure, and the published rows that have it.",
        epilog=EPILOG,
    )
    one.add_argument("dataset", choices=DATA_SETS, metavar="DATASET", help=", ".join(DATA_SETS))
    one.add_argument("--all", action="store_true", help="every metric, not those of the table alone")
    one.add_argument("--report", type=Path, metavar="DIR", help="instead, a card of that report of the data set")
    one.add_argument("--annotations", type=Path, nargs="+", default=[], metavar="FILE", help="what the report was "
        "scored against, for the card's hash of it")  # fmt: skip
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print it; returns the exit status."""
    from ..reports.protocols import card, protocol_text
    from ..reports.scores import read_report
    from ..reports.side_by_side import read_published

    if args.report is None:
        if args.annotations:
            raise BadOption("--annotations is of use with --report alone")
        print(protocol_text(args.dataset, read_published(), args.all), end="")
        return 0
    report = read_report(args.report)
    if report.dataset != args.dataset:
        raise BadOption(f"--report: {args.report} is of {report.dataset}, not of {args.dataset}")
    told = str(report.facts.get("annotations", ""))
    strange = [path.name for path in args.annotations if path.name not in told]
    if strange:
        raise BadOption(f"--annotations: the report was scored against {told}, not {', '.join(strange)}")
    print(card(report, args.annotations), end="")
    return 0
