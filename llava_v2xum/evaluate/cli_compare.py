"""`compare DATASET A B`: is one system better than the other on the same videos."""

from __future__ import annotations

import argparse
from pathlib import Path

from .confidence import PERMUTATIONS
from .options import DATASETS, Settings, add_scoring_options, positive

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
        help="two prediction files: difference, interval, p",
        description="Compare two systems' predictions on the same videos.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    one.add_argument("dataset", choices=DATASETS, metavar="DATASET", help=", ".join(DATASETS))
    one.add_argument("a", type=Path, metavar="A", help="a prediction file")
    one.add_argument("b", type=Path, metavar="B", help="another")
    one.add_argument("--permutations", type=positive, default=PERMUTATIONS, help="of the test (%(default)s)")
    one.add_argument("--out", type=Path, metavar="DIR", help="write compare.json and compare.md there")
    add_scoring_options(one, None)
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score both and compare; returns the exit status."""
    from .cli_score import of_shapes, system_name
    from .compare import compare_rows, format_comparison, write_comparison
    from .layouts import said_by
    from .run import bring_together, load_annotations, score

    settings = of_shapes(Settings.from_arguments(args.dataset, args))
    if settings.resamples < 1:
        raise ValueError(f"--resamples must be at least 1 to compare, got {settings.resamples}")
    if settings.clip is not None and settings.clip_cache is None and args.out is None:
        raise ValueError("--clip keeps its embeddings in a file: name it with --clip-cache, or a folder with --out")
    annotations, _, notes = load_annotations(settings)
    both = [bring_together(settings, [path], annotations) for path in (args.a, args.b)]
    if settings.skip_missing:  # only videos that both have can be compared
        shared = set(both[0].video_ids) & set(both[1].video_ids)
        annotations = [one for one in annotations if one.video_id in shared]
        both = [bring_together(settings, [path], annotations) for path in (args.a, args.b)]
    scored = [score(settings, cases, args.out or Path(), baselines=False) for cases in both]
    names = [system_name(path) for path in (args.a, args.b)]
    if names[0] == names[1]:
        names = [str(path) for path in (args.a, args.b)]
    comparison = compare_rows(
        *(one.rows["system"] for one in scored),
        *names,
        resamples=settings.resamples,
        permutations=args.permutations,
        seed=settings.seed,
        notes=[*notes, *said_by(names, [one.notes for one in scored])],
    )
    print(format_comparison(comparison))
    if args.out is not None:
        write_comparison(comparison, args.out)
    return 0
