"""`v2xum edit OUT`: summaries that there are made as long as they are to be, and written for other tools; no model."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from ..core.command_line import Parser
from ..core.errors import V2XumError
from ..core.locks import only_run
from ..core.sampling import TRACK_KEY
from ..core.tasks import TASKS
from ..media.console import say
from ..media.file_format import PAGE_NAME
from ..media.formats import DEFAULT_FORMATS, EXPORTS, FORMATS
from ..media.page.video_page import in_order
from ..media.reading import frames_at
from ..media.render import JSON, format_for_people, record_in
from .editing import Editing
from .options import add_editing, add_pages, check_editing, edits, formats_of
from .pages import PageOf, made_in, results_of, write_page_of_run
from .results import Asked, ResultFolder
from .writing import write_or_warn

EXAMPLES = """examples:
  v2xum edit summaries --length 30s
      summaries of 30 seconds, in summaries_30s; those in summaries stay as they are
  v2xum edit summaries/clip --length 15% --snap shots --export vtt,edl --output-dir short
      one of them, cut where shots change, also for a player and an editor
  v2xum edit summaries --export srt,chapters
      subtitles and chapters, put beside the files that there are

exit status: 0 all edited; 1 some could not be; 2 none could, or bad arguments
"""


def build_parser() -> Parser:
    parser = Parser(
        prog="python -m llava_v2xum.infer.edit",
        description="Make summaries that infer wrote as long as you want them, and write them for other tools, without "
        "the model: sentences are chosen by the importance that the records hold. Pictures and clips are made anew of "
        "the videos.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="OUT", help="an output folder of infer, a video's folder in it, or a summary.json")
    add_editing(add)
    add_pages(add)
    add("--format", default="", help=f"other files to write, of {', '.join(n for n in FORMATS if n not in EXPORTS)} "
        f"({','.join(DEFAULT_FORMATS)}; without --length and --snap none)")  # fmt: skip
    add("--output-dir", type=Path, help="where edited summaries go (OUT with the length behind its name)")
    return parser


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = build_parser()
    args = parser.parse_args(arguments)
    args.editing = Editing(args.length, args.snap)
    args.is_edited = args.length is not None or args.snap is not None
    if not args.is_edited and not args.export and not args.format:
        parser.error("nothing to do: give --length, --snap, --export or --format")
    args.formats = formats_of(args.format or (",".join(DEFAULT_FORMATS) if args.is_edited else args.export),
        args.export, parser)  # fmt: skip
    check_editing(args, parser)
    return args


def find_summaries(given: Path) -> tuple[Path, list[Path]]:
    """The output folder and the summary.json files that a path stands for, sorted.

    Raises:
        V2XumError: naming it, if there are none.
    """
    name = JSON.file_name
    if given.name == name or (given / name).is_file():
        folder = given.parent if given.name == name else given
        root, found = folder.parent, [folder / name]
    else:
        of_tasks = (file for task in TASKS for file in given.glob(f"{task}/*/{name}"))
        root, found = given, sorted([*given.glob(f"*/{name}"), *of_tasks])
    if not found or not found[0].is_file():
        raise V2XumError(f"{given}: expected an output folder of infer, a video's folder in it or a {name}; found none")
    return root, found


def run(args: argparse.Namespace) -> int:
    """Edit what there is; returns the exit status."""
    root, found = find_summaries(args.folder.absolute())
    target = root
    if args.is_edited:
        told = "_".join(str(one).replace(" ", "_").replace("%", "percent") for one in (args.length, args.snap) if one)
        target = args.output_dir or root.with_name(f"{root.name}_{told}")
        if target.resolve() == root.resolve():
            raise V2XumError(f"--output-dir {target}: expected another folder than that of the summaries, which stay")
    elif args.output_dir is not None:
        raise V2XumError("--output-dir is for edited summaries: give --length or --snap")
    failed, written = 0, []
    results_in = cache(ResultFolder)  # which reads all records of the folder when it is opened
    with only_run(target):
        for file in found:
            folder = target / file.parent.relative_to(root)
            had_page = args.is_edited or (folder / PAGE_NAME).exists()
            try:
                _edit(args, file, folder, results_in)
                if had_page and not (folder / PAGE_NAME).exists():  # what is written anew has none
                    written.append(folder)
            except (V2XumError, OSError) as error:
                failed += 1
                told = str(error)
                say(f"error: {told if str(file.parent) in told else f'{file}: {told}'}")
        if args.page:
            _write_pages(args, written, target if args.is_edited else None)
    say(f"{len(found) - failed} of {len(found)} summaries: {target}")
    return 0 if not failed else 2 if failed == len(found) else 1


def _write_pages(args: argparse.Namespace, folders: Sequence[Path], target: Path | None) -> None:
    """Write the pages of the videos in these folders, and where summaries were edited, into target, that of all."""
    seen: set[Path] = set()
    roots: dict[Path, None] = {}
    for folder in folders:
        root, made = made_in(folder, target)
        roots[root] = None
        if folder in seen:
            continue
        seen.update(one.folder for one in made.values())
        for warning in PageOf(in_order(made), root / PAGE_NAME, args.page_copy).write():
            say(f"warning: {warning}")
    for root in roots if args.is_edited else ():
        say(f"page: {write_page_of_run(root, results_of(root), [])}")


def _edit(args: argparse.Namespace, file: Path, folder: Path, results_in: Callable[[Path], ResultFolder]) -> None:
    """Write one summary anew."""
    record = record_in(file)
    if args.is_edited:
        asked, results = args.editing.asked(record["task"]), results_in(folder.parent)
        kind = f"the {record['task'].upper()} summary"
        if not edits(record["task"], args.length):
            has_no = "sentences" if record["task"] == "video" else "seconds"
            raise V2XumError(f"{kind} has no {has_no}, for a length of {args.length}")
        if asked is None:
            raise V2XumError(f"{kind} has no cuts, for --snap {args.snap}")
        wanted = replace(Asked.of(record), edit=asked)
        if results.is_done(Path(record["video"]), wanted, args.formats, record["video_id"]):
            return
        record = args.editing.made(record)
    wants_frames = any(FORMATS[name].needs_frames and FORMATS[name].is_of(record) for name in args.formats)
    frames = np.empty((0, 1, 1, 3), np.uint8)
    if wants_frames:
        frames, _ = frames_at(Path(record["video"]), record["frame_seconds"], record.get(TRACK_KEY))
    for warning in write_or_warn(record, frames, folder, args.formats):
        say(f"warning: {warning}")
    if args.is_edited:
        results.append(record)
        say(format_for_people(record) + "\n", sys.stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        return run(args)
    except (V2XumError, OSError, ImportError) as error:
        say(f"error: {error}")
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
