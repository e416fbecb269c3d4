"""`export FORMAT`: predictions and reference texts in the files that other people's scorers take."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..formats.predictions import CLOCKS
from ..formats.registry import AUTO, PREDICTION_FORMATS, load_predictions
from .options import BadOption, out_file, out_folder, positive

REFERENCES = "coco-references"  # the one format that is made of annotations


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    formats = "".join(f"  {name:18s}{one.help}\n" for name, one in PREDICTION_FORMATS.items())
    formats += f"  {REFERENCES:18s}annotated texts as COCO's ground truth; SRC are annotations\n"
    one = commands.add_parser(
        "export",
        help="predictions in the files of other people's scorers",
        description="Read predictions of any format and write them in another.\n\nformats:\n" + formats,
        epilog="example:\n  python -m llava_v2xum.evaluate export coco-captions out/summaries.jsonl --out caps.json\n",
    )
    one.add_argument("format", choices=(*PREDICTION_FORMATS, REFERENCES), metavar="FORMAT", help="to write; see above")
    one.add_argument("source", type=Path, metavar="SRC", help="predictions of any of these formats")
    one.add_argument("--out", type=Path, required=True, metavar="PATH", help="file, or folder for scores-npy")
    one.add_argument("--prediction-format", choices=(AUTO, *PREDICTION_FORMATS), default=AUTO, metavar="F",
        help=f"of SRC (%(default)s; {', '.join(PREDICTION_FORMATS)})")  # fmt: skip
    one.add_argument("--num-frames", type=positive, metavar="N", help="N of predictions that do not tell it")
    one.add_argument("--clock", choices=CLOCKS, help="what the indexes count (by the file)")
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read, write, tell what was left out; returns the exit status."""
    from ..formats.caption_files import write_coco_references
    from ..formats.references import load_references

    try:
        (out_folder if args.format == "scores-npy" else out_file)(str(args.out))
    except argparse.ArgumentTypeError as error:
        raise BadOption(f"--out: {error}") from error
    if args.out.exists() and args.out.resolve() == args.source.resolve():
        raise BadOption(f"--out: {args.out} is the source; give another")
    if args.format == REFERENCES:
        written = write_coco_references(args.out, load_references(args.source).annotations)
    else:
        predictions = load_predictions(args.source, args.prediction_format, args.num_frames, args.clock)
        written = PREDICTION_FORMATS[args.format].write(args.out, predictions.values())
    print(f"{args.out}: {written}")
    return 0
