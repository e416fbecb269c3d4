"""The data sets' commands: prediction files and annotations in, a report out."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from ...core.extras import require
from ..formats.data_sets import DATA_SETS
from .options import Settings, add_scoring_options, out_folder


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add one command a data set."""
    for name, known in DATA_SETS.items():
        one = commands.add_parser(
            name,
            usage="%(prog)s --predictions FILE [FILE ...] --annotations FILE [FILE ...] [--out DIR] [options]",
            help=known.help,
            description=f"Score predictions on {known.help}.\nWrites report.json, report.md, per_video.csv and plots.",
            epilog=known.examples.replace("  ...", "  python -m llava_v2xum.evaluate"),
        )
        one.add_argument("--predictions", type=Path, nargs="+", required=True, metavar="FILE",
            help="the system's predictions, such as summaries.jsonl; of several files each says of a video what "
            "the others do not")  # fmt: skip
        one.add_argument("--out", type=out_folder, default="report", metavar="DIR", help="for the report (%(default)s)")
        one.add_argument("--system", metavar="NAME", help="what the report calls it (by its file)")
        add_scoring_options(one, name)
        one.set_defaults(run=run, dataset=name)


def run(args: argparse.Namespace) -> int:
    """Score, print the table, write the report; returns the exit status."""
    from ..reports.curves import draw_figures
    from ..reports.report import format_table, write_report
    from ..reports.scores import make_report
    from .scoring import bring_together, load_annotations, reasons, score

    settings = of_shapes(Settings.from_arguments(args.dataset, args))
    settings.check_clip()
    settings.check_judge()
    require("matplotlib", "metrics")  # before the scoring, which its lack would lose
    annotations, told = load_annotations(settings)
    cases = bring_together(settings, args.predictions, annotations)
    scored = score(settings, cases, args.out)
    report = make_report(
        args.dataset,
        args.system or system_name(args.predictions[0]),
        scored.rows,
        cases.video_ids,
        {"predictions": list(cases.forms), **told.facts, **scored.facts},
        told.notes + scored.notes,
        reasons(settings, cases.cases, [measure.name for measure in scored.rows["system"]]),
        resamples=settings.resamples,
        seed=settings.seed,
        doubts=told.doubts + scored.doubts,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    figures = draw_figures(report, cases.cases, args.out)
    paths = [*write_report(report, args.out, [path.name for path in figures]), *figures]
    print(format_table(report))  # behind the files: whom it is piped to may not listen to the end
    for path in paths:
        print(path, file=sys.stderr)
    return 0


def system_name(path: Path) -> str:
    """What a report calls the system of a file: its name, or its folder's where every run writes the same name."""
    path = path.resolve()
    return path.parent.name if path.name == "summaries.jsonl" else path.stem


def of_shapes(settings: Settings) -> Settings:
    """For the rendered world: its folder stands for its files, and its own CLIP for none."""
    if settings.dataset != "shapes":
        return settings
    folder = settings.annotations
    if folder.is_dir():
        settings = replace(settings, annotations=folder / "videoxum.json", videos=settings.videos or folder / "videos")
    if settings.clip is None and settings.videos is not None:
        from ...shapes import CLIP_FOLDER  # here, because it loads the decoder

        settings = replace(settings, clip=str(CLIP_FOLDER))
    return settings
