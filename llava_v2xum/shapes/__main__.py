"""Render shape clips with their truth: `python -m llava_v2xum.shapes --videos 40 --seed 7 --out DIR`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.atomic import replacing
from ..core.command_line import Parser, at_least
from ..core.extras import end_without

if __name__ == "__main__":
    end_without("av", "PIL")

from .film import make_film
from .render import write_clip
from .truth import instruct_records, truth_record, videoxum_record
from .world import Clip, make_clip

MAX_VIDEOS = 10_000  # a clip's name has four digits
DESCRIPTION = """Render short clips of moving coloured shapes, with exact ground truth. DIR gets
videos/*.mp4, truth.json, videoxum.json (VideoXum's form) and instruct.json
(Instruct-V2Xum's form). Started again, it leaves the clips that are there."""


def _parser() -> Parser:
    parser = Parser(
        prog="python -m llava_v2xum.shapes",
        description=DESCRIPTION,
    )
    parser.add_argument("--videos", type=int, default=40, metavar="N", help="how many clips (default 40)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same clips (default 7)")
    parser.add_argument("--minutes", type=at_least(1), metavar="M", help="long films of so many minutes, with events "
        "all along, instead of clips")  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the clips and their truth"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status (0, or 2 where something could not be written)."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not 1 <= options.videos <= MAX_VIDEOS:
        parser.error(f"--videos must be 1 to {MAX_VIDEOS}, got {options.videos}")
    if options.seed < 0:
        parser.error(f"--seed must not be negative, got {options.seed}")
    if options.out.exists() and not options.out.is_dir():
        parser.error(f"--out must be a folder, and {options.out} is a file")
    clips = [
        make_clip(options.seed, index) if options.minutes is None else make_film(options.seed, index, options.minutes)
        for index in range(options.videos)
    ]
    try:
        _render_all(clips, options.out / "videos")
        write_json(options.out / "truth.json", [truth_record(clip) for clip in clips])
        write_json(options.out / "videoxum.json", [videoxum_record(clip) for clip in clips])
        write_json(
            options.out / "instruct.json", [record for clip in clips for record in instruct_records(clip)]
        )
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(clips)} clips and truth.json, videoxum.json, instruct.json in {options.out}")
    return 0


def _render_all(clips: Sequence[Clip], folder: Path) -> None:
    """Render the clips that the folder lacks; a line for each, or one line that counts up on a terminal."""
    folder.mkdir(parents=True, exist_ok=True)
    live = sys.stdout.isatty()
    for number, clip in enumerate(clips, start=1):
        path = folder / f"{clip.video_id}.mp4"
        known = path.exists()
        if not known:
            write_clip(clip, path)
        line = f"[{number}/{len(clips)}] {path.name} " + (
            "is there already" if known else f"{clip.width}x{clip.height}, {clip.duration_seconds:.1f} s"
        )
        print(f"\r{line:<72}" if live else line, end="" if live else "\n", flush=True)
    if live:
        print()


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that is either whole or not there."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
