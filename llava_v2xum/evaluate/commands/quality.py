"""`quality BEFORE [AFTER]`: grammar and plausibility of summaries (paper, appendix B)."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...core.errors import V2XumError
from ..formats.detect import holds
from ..formats.format import ANNOTATIONS
from ..formats.prediction_files import load_predictions
from ..formats.references import load_references
from ..groups.v2t import predicted_text
from ..models.quality_models import parse_scorer
from ..reports.quality import annotated_text, quality_rows, write_quality
from .options import out_folder

EPILOG = """scorers:
  cola:MODEL         grammar: a classifier of acceptable sentences (CoLA), a folder or hub name; cola:MODEL@LABEL names
                     its label for acceptable ones
  languagetool       grammar: 1 less the errors a word that LanguageTool finds; pip install "llava_v2xum[quality]"
  vera:MODEL         plausibility: Vera (Liu et al. 2023), a folder or hub name such as liujch1998/vera

example:
  python -m llava_v2xum.evaluate quality raw.jsonl refined.jsonl --grammar cola:textattack/roberta-base-CoLA@1 \\
      --plausibility vera:liujch1998/vera --out quality
"""


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    one = commands.add_parser(
        "quality",
        help="grammar and plausibility of summaries, before and after",
        description="Score how well summaries are written: one file, or a file before and after it was refined.",
        epilog=EPILOG,
    )
    one.add_argument("before", type=Path, metavar="BEFORE", help="predictions or annotations with texts, of any format")
    one.add_argument("after", type=Path, nargs="?", metavar="AFTER", help="the same videos, refined")
    one.add_argument("--grammar", action="append", default=[], metavar="SCORER", help="see below; may be repeated")
    one.add_argument("--plausibility", action="append", default=[], metavar="SCORER", help="see below; may be repeated")
    one.add_argument("--unit", choices=("sentence", "text"), default="sentence", help="what is scored in one piece: a "
        "summary's score is the mean of its sentences' (default), or the text is scored whole")  # fmt: skip
    one.add_argument("--device", metavar="D", help="cpu, cuda, ... (a GPU where there is one)")
    one.add_argument("--out", type=out_folder, default="quality", metavar="DIR", help="for quality.json, quality.csv "
        "and the histograms (%(default)s)")  # fmt: skip
    one.set_defaults(run=run, parser=one)


def run(args: argparse.Namespace) -> int:
    """Score, write, and tell the means; returns the exit status."""
    if not args.grammar and not args.plausibility:
        args.parser.error("name a scorer with --grammar or --plausibility")
    before = texts_of(args.before)
    after = None if args.after is None else texts_of(args.after)
    scorers = [parse_scorer(spec, "grammar", args.device) for spec in args.grammar]
    scorers += [parse_scorer(spec, "plausibility", args.device) for spec in args.plausibility]
    report = quality_rows(before, after, scorers, args.unit)
    for one in report.to_record()["scores"]:
        means = {when: one[when]["mean"] for when in ("before", "after") if when in one}
        figures = [f"{when} {'-' if mean is None else f'{mean:.3f}'}" for when, mean in means.items()]
        if args.after is None:  # nothing was refined
            figures = [figures[0].removeprefix("before ")]
        print(f"{one['quality']} ({one['name']} {one['source']}): mean {', '.join(figures)}")
    for note in report.notes:
        print(f"  {note}")
    for path in write_quality(report, args.out):
        print(path)
    return 0


def texts_of(path: Path) -> dict[str, str]:
    """The text of each video of a prediction file, or an annotation file; videos without one are left out.

    Raises:
        V2XumError, OSError: naming the file, if it is no such file, or has no text at all.
    """
    kind = holds(path) if path.exists() else None
    texts: dict[str, str | None]
    if kind is not None and kind[0] == ANNOTATIONS:
        texts = {one.video_id: annotated_text(one) for one in load_references(path).annotations}
    else:
        texts = {name: predicted_text(one) for name, one in load_predictions(path).items()}
    found = {name: text for name, text in texts.items() if text}
    if not found:
        raise V2XumError(f"{path}: none of its {len(texts)} videos has a text")
    return found
