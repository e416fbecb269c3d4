"""`compare DATASET A B`: is one system better than the other on the same videos."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...core.errors import V2XumError
from ..formats.cases import Cases
from ..formats.data_sets import DATA_SETS
from ..metrics.confidence import PERMUTATIONS
from .options import BadOption, Settings, add_scoring_options, out_folder, positive

EPILOG = """The difference is A's figure less B's on the same videos, with a paired bootstrap interval; p is of a
permutation test that swaps the two systems' answers to a video, two-sided, also with Holm's correction over the
measures.

example:
  python -m llava_v2xum.evaluate compare videoxum a.jsonl b.jsonl --annotations test_videoxum.json
"""


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    one = commands.add_parser(
        "compare",
        usage="%(prog)s DATASET A B --annotations FILE [FILE ...] [--out DIR] [options]",
        help="two prediction files: difference, interval, p",
        description="Compare two systems' predictions on the same videos.",
        epilog=EPILOG,
    )
    one.add_argument("dataset", choices=DATA_SETS, metavar="DATASET", help=", ".join(DATA_SETS))
    one.add_argument("a", type=Path, metavar="A", help="a prediction file")
    one.add_argument("b", type=Path, metavar="B", help="another")
    one.add_argument("--permutations", type=positive, default=PERMUTATIONS, metavar="K",
        help="of the test (%(default)s)")  # fmt: skip
    one.add_argument("--out", type=out_folder, metavar="DIR", help="write compare.json and compare.md there")
    add_scoring_options(one, None)
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score both and compare; returns the exit status."""
    from ..reports.comparison import compare_rows, format_comparison, write_comparison
    from ..reports.layouts import said_by
    from .score import of_shapes, system_name
    from .scoring import bring_together, load_annotations, score

    settings = of_shapes(Settings.from_arguments(args.dataset, args))
    settings.check_clip()
    if settings.clip is not None and settings.clip_cache is None and args.out is None:
        raise BadOption("CLIP's embeddings are kept in a file: name it with --clip-cache, or its folder with --out")
    settings.check_judge()
    if settings.judge is not None and settings.judge_cache is None and args.out is None:
        raise BadOption("a judge's answers are kept in a file: name it with --judge-cache, or its folder with --out")
    annotations, told = load_annotations(settings)
    every = replace(settings, skip_missing=False)
    both = [bring_together(every, [path], annotations) for path in (args.a, args.b)]
    if settings.skip_missing:
        both = shared(both)
    scored = [score(settings, cases, args.out or Path(), baselines=False) for cases in both]
    names = [system_name(path) for path in (args.a, args.b)]
    if names[0] == names[1]:
        names = [str(path) for path in (args.a, args.b)]
    a_measures, b_measures = (one.rows["system"] for one in scored)
    comparison = compare_rows(
        a_measures,
        b_measures,
        names[0],
        names[1],
        resamples=settings.resamples,
        permutations=args.permutations,
        seed=settings.seed,
        notes=[*told.doubts, *told.notes, *said_by(names, [one.doubts + one.notes for one in scored])],
    )
    print(format_comparison(comparison))
    if args.out is not None:
        write_comparison(comparison, args.out)
    return 0


def shared(both: Sequence[Cases]) -> list[Cases]:
    """The cases of the videos that both systems have a prediction of, since no others can be compared.

    Raises:
        V2XumError: if there is none.
    """
    kept = [all(case.prediction is not None for case in pair) for pair in zip(*(one.cases for one in both))]
    if not any(kept):
        raise V2XumError("the two systems have predictions of no video in common")
    return [one.only(kept) for one in both]
