"""`tables REPORT ...`: reports side by side, under the published rows."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...core.atomic import write_whole
from .options import out_file


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    one = commands.add_parser(
        "tables",
        help="reports side by side, with published rows",
        description="Put reports side by side under the published rows, each with its source; tells where the reports "
        "were scored in different ways.",
        epilog="example:\n  python -m llava_v2xum.evaluate tables report_7b/ report_13b/ --out tables.md\n",
    )
    one.add_argument("reports", type=Path, nargs="+", metavar="REPORT", help="report folders, or their report.json")
    one.add_argument("--published", type=Path, nargs="+", default=[], metavar="FILE", help="further published rows, "
        "in the form of llava_v2xum/evaluate/reports/published.json")  # fmt: skip
    one.add_argument("--out", type=out_file, metavar="FILE", help="write the tables as Markdown")
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the tables; returns the exit status."""
    from ..reports.scores import read_report
    from ..reports.side_by_side import read_published, side_by_side

    reports = [read_report(path) for path in args.reports]
    published = read_published(*args.published)
    print(side_by_side(reports, published))
    if args.out is not None:
        write_whole(args.out, side_by_side(reports, published, markdown=True))
    return 0
