"""`export FORMAT`: predictions and reference texts in the files that other people's scorers take."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...core.checks import first_few
from ...core.errors import V2XumError
from ..formats.format import ANNOTATIONS, AUTO
from ..formats.format_registry import EXPORTS, PREDICTION_FORMATS
from .options import BadOption, add_clock, out_file, out_folder, positive


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    formats = "".join(f"  {name:18s}{one.help}\n" for name, one in EXPORTS.items())
    one = commands.add_parser(
        "export",
        help="predictions in the files of other people's scorers",
        description="Read predictions of any format and write them in another.\n\nformats:\n" + formats,
        epilog="examples:\n  python -m llava_v2xum.evaluate export coco-captions out/summaries.jsonl --out caps.json\n"
        "  python -m llava_v2xum.evaluate export dense-captions answers.jsonl --annotations test_videoxum.json \\\n"
        "      --out dense.json\n"
        "      raw answers cite frames: their seconds come with how long the annotated videos are\n",
    )
    one.add_argument("format", choices=EXPORTS, metavar="FORMAT", help="to write; see above")
    one.add_argument("source", type=Path, metavar="SRC", help="predictions of any of these formats")
    one.add_argument("--out", type=Path, required=True, metavar="PATH", help="file, or folder for scores-npy")
    one.add_argument("--prediction-format", choices=(AUTO, *PREDICTION_FORMATS), default=AUTO, metavar="F",
        help=f"of SRC (%(default)s; {', '.join(PREDICTION_FORMATS)})")  # fmt: skip
    one.add_argument("--num-frames", type=positive, metavar="N", help="N of predictions that do not tell it")
    one.add_argument("--annotations", type=Path, metavar="FILE", help="of the same videos: by their lengths cited "
        "frames have seconds, where SRC does not tell them")  # fmt: skip
    add_clock(one)
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read, write, tell what was left out; returns the exit status."""
    from ..formats.prediction_files import load_predictions
    from ..formats.references import load_references
    from ..formats.spans import timed

    chosen = EXPORTS[args.format]
    if chosen.write is None:
        raise BadOption(f"{args.format}: is only read")
    try:
        (out_folder if chosen.writes_folder else out_file)(str(args.out))
    except argparse.ArgumentTypeError as error:
        raise BadOption(f"--out: {error}") from error
    if args.out.exists() and args.out.resolve() == args.source.resolve():
        raise BadOption(f"--out: {args.out} is the source; give another")
    if chosen.made_of == ANNOTATIONS:
        if args.annotations is not None:
            raise BadOption(f"--annotations is of use with predictions, and {args.format} is made of annotations")
        source: Iterable[Any] = load_references(args.source).annotations
    else:
        predictions = load_predictions(args.source, args.prediction_format, args.num_frames, args.clock)
        known = [] if args.annotations is None else load_references(args.annotations).annotations
        lengths = {one.video_id: one.duration_seconds for one in known}
        if lengths and not lengths.keys() & predictions.keys():
            raise V2XumError(f"{args.annotations}: has none of the {len(predictions)} predicted videos "
                f"({first_few(predictions)})")  # fmt: skip
        source = [timed(one, lengths.get(video_id)) for video_id, one in predictions.items()]
    written = chosen.write(args.out, source)
    print(f"{args.out}: {written}")
    return 0
