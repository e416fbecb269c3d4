"""The arguments of `python -m llava_v2xum.curate`: those of every run; the stages' stand beside the stages."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from ..core.command_line import Parser, at_least, share
from ..core.tasks import TASKS
from .stages import registry
from .stages.endpoint_options import add_endpoint_options, endpoint_problem

_DESCRIPTION = """\
Make an instruction-tuning set for cross-modal video summarization, in
Instruct-V2Xum's JSON, of your own videos (arXiv 2404.12353, section 3.1):

{stages}

What a stage found is kept in OUT/work.sqlite as it comes. After a kill or
Ctrl-C, or when an endpoint was down or a budget spent, the same command goes
on where it was, and pays nothing twice; with another prompt, model or option
it begins again at the stage that depends on it. Videos may be added: what was
found of the others stays, though some may move to another split.
"""
_THEN = "train.json, val.json, test.json, rejected.jsonl, card.md with figures, and preview.html to judge it by"

_EXAMPLES = """\
examples:
  # LLaVA-1.5 captions, a model behind a local endpoint chooses and rewrites
  python -m llava_v2xum.curate videos/ --out data \\
      --endpoint http://localhost:8000/v1 --model Qwen/Qwen2.5-7B-Instruct
  # no service at all
  python -m llava_v2xum.curate videos/ --out data \\
      --captioner liuhaotian/llava-v1.5-7b
  # no network and no GPU: rendered shapes, with the small models that ship
  # with this package
  python -m llava_v2xum.shapes --videos 50 --out clips
  python -m llava_v2xum.curate clips/videos --out data --captioner shapes \\
      --bertscore-model shapes --min-duration 20
  # one stage after the other, to look at each: data/select.jsonl, ...
  python -m llava_v2xum.curate videos/ --out data --until caption

exit status: 0 done; 1 done, but some videos failed and are tried again by the
next run; 2 wrong arguments; 3 stopped early (Ctrl-C, a full disk, a spent
budget, an endpoint that refuses), to go on with the same command
"""


def build_parser() -> Parser:
    """The parser of the command."""
    does = [*((stage.name, stage.does) for stage in registry.STAGES), ("then", _THEN)]
    lines = (textwrap.fill(what, 77, initial_indent=f"  {name:<10}", subsequent_indent=12 * " ") for name, what in does)
    parser = Parser(
        prog="python -m llava_v2xum.curate",
        usage="%(prog)s VIDEO [VIDEO ...] --out DIR [options]",
        description=_DESCRIPTION.format(stages="\n".join(lines)),
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("videos", nargs="*", metavar="VIDEO", help="video files, and folders of them; ids are the files' names")
    add("--list", action="append", default=[], metavar="FILE", help="a text file with such paths, one a line")
    add("--out", required=True, type=Path, metavar="DIR", help="the folder of the data set and of the stored results")
    add("--until", choices=registry.NAMES, metavar="STAGE", help="end after this stage "
        f"({', '.join(registry.NAMES)}), and write its results to DIR/STAGE.jsonl; the data set is not "
        "written")  # fmt: skip
    add("--quiet", action="store_true", help="tell only errors and the end")
    for stage in registry.STAGES:
        stage.add_options(parser.add_argument_group(stage.name).add_argument)
    add_endpoint_options(parser)
    _add_output(parser)
    _add_engine(parser)
    return parser


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("data set").add_argument
    add("--tasks", type=_tasks, default=TASKS, metavar="A,B", help="instructions of each video (all: video,text,both)")
    add("--splits", type=_proportions, default=(25000, 1000, 4000), metavar="A:B:C",
        help="train, val and test videos in proportion (25000:1000:4000)")  # fmt: skip
    add("--seed", type=int, default=0, help="of the splits and of the preview's samples (%(default)s)")
    grammar = _scorer("cola:.+|languagetool(:.+)?", "cola:MODEL or languagetool")
    add("--grammar", action="append", default=[], type=grammar, metavar="SCORER",
        help="score the text before and after it was refined, for the card: cola:MODEL or languagetool")  # fmt: skip
    add("--plausibility", action="append", default=[], type=_scorer("vera:.+", "vera:MODEL"), metavar="SCORER",
        help="the same by vera:MODEL")  # fmt: skip
    add("--preview", type=at_least(0), default=24, metavar="N", help="videos on preview.html (%(default)s)")


def _add_engine(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("engine").add_argument
    add("--device", default="auto", help="of the models here: auto, cpu, cuda (%(default)s)")
    add("--engine", choices=("process", "ray"), default="process",
        help="this process, or a Ray Data pipeline over many machines: extra [ray] (%(default)s)")  # fmt: skip
    add("--ray-address", metavar="ADDRESS", help="join the cluster there (default: start one on this machine)")
    add("--ray-captioners", type=at_least(1), metavar="N", help="processes with the captioner (default: what the "
        "GPUs hold)")  # fmt: skip
    add("--ray-gpus", type=share, metavar="X", help="GPUs of each, at most 1 (default: 1 where there are any)")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, checked as far as they can be without looking at files."""
    parser = build_parser()
    args = parser.parse_intermixed_args(arguments)
    if not args.videos and not args.list:
        parser.error("name videos, folders of them, or a --list")
    for problem in (*(stage.problem(args) for stage in registry.STAGES), endpoint_problem(args)):
        if problem is not None:
            parser.error(problem)
    return args


def _scorer(pattern: str, forms: str) -> Callable[[str], str]:
    """An argument of that form: its model is loaded days later, and a slip should not wait for that."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise argparse.ArgumentTypeError(f"expected {forms}, got {value!r}")
        return value

    return check


def _tasks(value: str) -> tuple[str, ...]:
    named = [name.strip() for name in value.split(",")]
    if not named or set(named) - set(TASKS) or len(set(named)) < len(named):
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(TASKS)}, got {value!r}")
    return tuple(task for task in TASKS if task in named)


def _proportions(value: str) -> tuple[int, int, int]:
    try:
        parts = tuple(int(part) for part in value.split(":"))
    except ValueError:
        parts = ()
    if len(parts) != 3 or min(parts) < 0 or not parts[0]:
        raise argparse.ArgumentTypeError(f"expected three whole numbers such as 25:1:4, got {value!r}")
    return parts
