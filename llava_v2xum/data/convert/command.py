"""`python -m llava_v2xum.convert FORMAT SRC ... --out DIR`: arguments, the table, exit status."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...core.answer_forms import FORMS, AnswerForm
from ...core.clock import CLOCKS, FRAMES, Clocks
from ...core.command_line import Parser
from ...core.errors import V2XumError
from ...core.extras import MissingExtra, missing
from ...core.readers import Reader, SourceError
from ...core.sampling import LINSPACE, SAMPLING_RULES
from ...core.tasks import TASKS
from ...core.timeline import DEFAULT_NUM_FRAMES, DEFAULT_TEMPLATE, Timeline, as_template
from ...features.hub import fetch, is_hub_name
from ...features.sources import stored_times
from . import READERS
from .answers import AnswerSettings
from .conversion import Outputs, Report, Settings, StrictStop, convert_file
from .targets import DEFAULT_RULE, RULES
from .videoxum import ANNOTATORS

PROGRAM = "python -m llava_v2xum.convert"
DEFAULT_TASKS = "both,video,text"
WIDTH = 100  # of running text in --help
OUTPUTS = """for each source STEM.json (or .h5, .mat, .tsv, or a folder), DIR gets
  STEM.annotations.jsonl  the annotation form that the evaluators read (schema: llava_v2xum/core/annotations.py)
  STEM.json               instruction JSON: one entry for each video and task, that training reads{exception}
  STEM.report.json        counts, settings, and every item that was rejected, with its id and the reason
"""
NOT_TRAINED = "\n" + " " * 26 + "(there is none of {formats}: they are for evaluation alone)"
STATUS = """exit status: 0 converted (stderr tells how many items were rejected); 1 stopped by --strict, or a file
that is not of the format or has no item left; 2 bad arguments
"""


def build_parser() -> Parser:
    """The command line, one sub-command a format."""
    examples = "examples:\n" + "".join(map(_examples, READERS))
    parser = Parser(
        prog=PROGRAM,
        description="Convert published annotations to one annotation form and to the instruction JSON that training "
        "reads.\n'%(prog)s FORMAT --help' tells the options.\n\n" + _outputs(READERS),
        epilog=examples + "\n" + STATUS,
    )
    formats = parser.add_subparsers(dest="format", metavar="FORMAT", required=True)
    for name, reader in READERS.items():
        one = formats.add_parser(
            name,
            help=reader.help,
            description=textwrap.fill(reader.description, WIDTH) + "\n\n" + _outputs([name]),
            epilog=(_rules() if reader.has_annotators else "") + "examples:\n" + _examples(name) + "\n" + STATUS,
        )
        _add_options(one, reader)
    return parser


def _outputs(names: Iterable[str]) -> str:
    """The files that the formats become, as `--help` shows them."""
    others = [name for name in names if not READERS[name].trains]
    return OUTPUTS.format(exception=NOT_TRAINED.format(formats=", ".join(others)) if others else "")


def _examples(name: str) -> str:
    """The format's examples as `--help` shows them."""
    return "".join(
        f"  {PROGRAM} {name} {arguments}\n      {effect}\n" for arguments, effect in READERS[name].examples
    )


def _rules() -> str:
    """What `--annotators` takes, as `--help` shows it."""
    meanings = {**RULES, f"0 to {ANNOTATORS - 1}": "that annotator"}
    column = max(map(len, meanings)) + 4
    lines = [
        textwrap.fill(meaning, WIDTH, initial_indent=f"  {rule}".ljust(column), subsequent_indent=" " * column)
        for rule, meaning in meanings.items()
    ]
    return "rules of --annotators:\n" + "\n".join(lines) + "\n\n"


def _add_options(parser: argparse.ArgumentParser, reader: Reader) -> None:
    add = parser.add_argument
    parser.set_defaults(parser=parser, annotators=DEFAULT_RULE, tasks=DEFAULT_TASKS, form="after",
        clock=FRAMES, features=None, num_frames=DEFAULT_NUM_FRAMES, frame_sampling=LINSPACE,
        temporal_prompt_template=DEFAULT_TEMPLATE, tolerance_seconds=Settings().tolerance_seconds)  # fmt: skip
    what = "folders of published annotation files" if reader.folder_of else "published annotation files"
    if reader.hub_name is not None:
        what += f", or the name of a data set on the Hugging Face hub ({reader.hub_name}), whose .json files are taken"
    add("sources", nargs="+", type=Path, metavar="SRC", help=what)
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the files; made if it is not there")
    if reader.trains:
        _add_training_options(parser)
    add("--videos", type=Path, metavar="DIR", help="reject the items whose id is no video file's name there")
    add("--strict", action="store_true", help="stop at the first item that is rejected, and write nothing of its file")
    if reader.has_annotators:
        add("--annotators", type=_rule, metavar="RULE", default=DEFAULT_RULE,
            help="whose key spans an answer cites; the rules are below (%(default)s)")  # fmt: skip


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    """What decides the instruction JSON, and about time stamps."""
    add = parser.add_argument
    add("--tasks", default=DEFAULT_TASKS, help="which entries to write, comma-separated (%(default)s)")
    add("--form", choices=FORMS, default="after",
        help="where an answer cites: " + ", or ".join(map(_shown, FORMS.values())))  # fmt: skip
    add("--num-frames", type=int, default=DEFAULT_NUM_FRAMES, metavar="N", help="N, the frames that stand for a video "
        "(%(default)s); a span is every index from its start's to its end's")  # fmt: skip
    add("--features", type=Path, metavar="DIR", help="the videos' features (python -m llava_v2xum.features), which "
        "know the second of each frame")  # fmt: skip
    add("--clock", choices=CLOCKS, default=FRAMES, help="what index a second is. "
        + "; ".join(f"{name}: {what}" for name, what in CLOCKS.items()) + " (%(default)s)")  # fmt: skip
    add("--frame-sampling", choices=SAMPLING_RULES, default=LINSPACE, help="the rule by which they are chosen "
        "(%(default)s)")  # fmt: skip
    add("--temporal-prompt-template", default=DEFAULT_TEMPLATE, metavar="T",
        help="gives an index its digits; a format string, or how frame 0 is named: '[000]' (%(default)s)")  # fmt: skip
    add("--tolerance-seconds", type=float, default=Settings().tolerance_seconds, metavar="S",
        help="time stamps up to S beyond the video's ends are moved to them and counted; beyond that the item is "
        "rejected (%(default)s)")  # fmt: skip


def _shown(form: AnswerForm) -> str:
    example = form.sentence("A man runs.", Timeline().citations.write((42, 43)))
    return f"{example!r} as {form.known_from} ({form.name}{', default' if form.name == 'after' else ''})"


def _rule(value: str) -> str | int:
    if value in RULES:
        return value
    if value.isascii() and value.isdigit() and int(value) < ANNOTATORS:
        return int(value)
    raise argparse.ArgumentTypeError(f"expected one of {', '.join(RULES)} or 0 to {ANNOTATORS - 1}, got {value!r}")


def settings_from(args: argparse.Namespace) -> Settings:
    """The arguments as settings; a wrong one ends the program with a usage error."""
    parser: argparse.ArgumentParser = args.parser
    tasks = tuple(dict.fromkeys(task.strip() for task in args.tasks.split(",") if task.strip()))
    if not tasks or set(tasks) - set(TASKS):
        parser.error(f"--tasks takes {', '.join(TASKS)}, got {args.tasks!r}")
    try:
        timeline = Timeline(args.num_frames, as_template(args.temporal_prompt_template), rule=args.frame_sampling)
        times = () if args.features is None else (stored_times(args.features, timeline),)
        answers = AnswerSettings(tasks, args.form, args.annotators, timeline, Clocks(args.clock, *times))
        video_ids = None if args.videos is None else _names_in(args.videos)
        return Settings(answers, args.tolerance_seconds, args.strict, video_ids)
    except V2XumError as error:
        parser.error(str(error))


def _names_in(folder: Path) -> frozenset[str]:
    """The names, without endings, of the video files in the folder."""
    try:
        from ...media.video import VideoError, find_videos  # here, because it loads the decoder
    except ModuleNotFoundError as error:
        raise V2XumError(f"--videos: {missing(error)}") from error
    if not folder.is_dir():
        raise V2XumError(f"--videos must be a folder, and {folder} is none")
    try:
        return frozenset(path.stem for path in find_videos(folder))
    except VideoError as error:
        raise V2XumError(f"--videos: {error}") from error


def fetch_sources(args: argparse.Namespace) -> None:
    """Put a data set's files in the place of its name on the hub, where a format has data there.

    Ends the program with a usage error if there are none, or they cannot be had.
    """
    found: list[Path] = []
    for source in args.sources:
        if READERS[args.format].hub_name is None or source.exists() or not is_hub_name(source, of_an_owner=True):
            found.append(source)
            continue
        try:
            folder = fetch(source.as_posix(), ["*.json"], "dataset")
        except FileNotFoundError as error:
            args.parser.error(f"{source}: no such file, and {error}")
        files = sorted(folder.rglob("*.json"))
        if not files:
            args.parser.error(f"{source}: expected .json files in the hub's data set, found none")
        _say(f"{source}: {', '.join(str(file.relative_to(folder)) for file in files)}")
        found += files
    args.sources = found


def check_files(args: argparse.Namespace) -> None:
    """End with a usage error where a source is missing, or an output would replace a source or another output."""
    if args.out.exists() and not args.out.is_dir():
        args.parser.error(f"--out must be a folder, and {args.out} is a file")
    taken = {os.path.realpath(source): source for source in args.sources}
    if len(taken) < len(args.sources):
        args.parser.error("a source file is given twice")
    for source in args.sources:
        if not (source.exists() if READERS[args.format].folder_of else source.is_file()):
            args.parser.error(f"{source}: no such file")
        for path in Outputs.of(source, args.out).paths():
            other = taken.setdefault(os.path.realpath(path), source)
            if other is not source or os.path.realpath(path) == os.path.realpath(source):
                args.parser.error(f"{path}, which {source} becomes, would replace what {other} is or becomes: "
                    "give another --out")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status."""
    args = build_parser().parse_args(arguments)
    settings = settings_from(args)
    fetch_sources(args)
    check_files(args)
    reports, failed = [], False
    for source in args.sources:
        try:
            report = convert_file(args.format, READERS[args.format], source, args.out, settings)
        except (SourceError, StrictStop, MissingExtra, OSError) as error:
            failed = True
            _say(f"error: {error}")
            if settings.strict:
                break
            continue
        for note in report.clocks.notes():
            _say(f"{source}: {note}")
        reports.append(report)
        failed |= not report.annotations
        _tell_rejected(report, args.out)
    if reports:
        print(table(reports, settings.answers.tasks if READERS[args.format].trains else ()))
    return int(failed)


def _tell_rejected(report: Report, folder: Path) -> None:
    outputs = Outputs.of(report.source, folder)
    details = outputs.report
    if report.rejected:
        count = len(report.rejected)
        _say(f"{report.source}: {count} item{'s' * (count > 1)} rejected, the first: {report.rejected[0]}; "
             f"all of them: {details}")  # fmt: skip
    if not report.annotations:
        old = [str(path) for path in (outputs.annotations, outputs.instructions) if path.exists()]
        stale = f"; {' and '.join(old)} are an earlier run's" if old else ""
        _say(f"error: {report.source}: no item is left, so only {details} is written{stale}")
    elif not report.entries and outputs.instructions.exists():
        _say(f"{outputs.instructions} is an earlier run's: {report.source} gives no training entries")
    for task in sorted({item["task"] for item in report.missing}):
        count = sum(item["task"] == task for item in report.missing)
        _say(f"{report.source}: {count} without a {task.upper()} answer; which and why: {details}")


def table(reports: Sequence[Report], tasks: Sequence[str]) -> str:
    """What was written, one line a file."""
    head = ["file", "videos", "rejected", "clipped", *(task.upper() for task in tasks)]
    rows = [
        [report.source.name, report.annotations, len(report.rejected), len(report.clipped)]
        + [report.entries[task] for task in tasks]
        for report in reports
    ]
    cells = [head, *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in cells
    )


def _say(message: str) -> None:
    print(message, file=sys.stderr)
