"""`tables REPORT ...`: reports side by side, under the published rows; or the paper's own tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...core.atomic import write_whole
from .options import BadOption, out_file

_ENDINGS = {".md": "markdown", ".tex": "latex", ".csv": "csv"}


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    one = commands.add_parser(
        "tables",
        help="reports side by side, with published rows",
        description="Put reports side by side under the published rows, each with its source; tells where the reports "
        "were scored in different ways.",
        epilog="examples:\n  python -m llava_v2xum.evaluate tables report_7b/ report_13b/ --out tables.md\n"
        "  python -m llava_v2xum.evaluate tables report_7b/ --paper 2 5 --out tables.tex\n"
        "      tables 2 and 5 of the paper in its columns, with a row of the report\n",
    )
    one.add_argument("reports", type=Path, nargs="*", metavar="REPORT", help="report folders, or their report.json")
    one.add_argument("--published", type=Path, nargs="+", default=[], metavar="FILE", help="further published rows, "
        "in the form of llava_v2xum/evaluate/reports/published.json")  # fmt: skip
    one.add_argument("--paper", type=int, nargs="*", choices=(2, 3, 4, 5), metavar="N", help="the paper's tables N (2 "
        "to 5; all without a number) in its own columns and scales; its rows need no report")  # fmt: skip
    one.add_argument("--out", type=out_file, metavar="FILE", help="write the tables as Markdown (.md); those of "
        "--paper also as LaTeX (.tex) or CSV (.csv)")  # fmt: skip
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the tables; returns the exit status."""
    from ..reports.paper_tables import PAPER_TABLES, paper_tables
    from ..reports.scores import read_report
    from ..reports.side_by_side import read_published, side_by_side

    if not args.reports and args.paper is None:
        raise BadOption("expected one report or more, or --paper")
    form = _ENDINGS.get(args.out.suffix.lower()) if args.out is not None and args.paper is not None else "markdown"
    if form is None:
        raise BadOption(f"--out: expected a file named {', '.join(_ENDINGS)}, got {args.out}")
    reports = [read_report(path) for path in args.reports]
    published = read_published(*args.published)
    if args.paper is None:
        print(side_by_side(reports, published))
    else:
        numbers = args.paper or list(PAPER_TABLES)
        print(paper_tables(numbers, reports, published))
    if args.out is not None:
        is_paper = args.paper is not None
        write_whole(args.out, paper_tables(numbers, reports, published, form) if is_paper
            else side_by_side(reports, published, markdown=True))  # fmt: skip
    return 0
