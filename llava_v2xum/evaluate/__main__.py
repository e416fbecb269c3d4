"""`python -m llava_v2xum.evaluate COMMAND`: the evaluators' commands, each in a file of its own."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..core.command_line import Parser
from ..core.errors import V2XumError
from ..core.extras import MissingExtra, missing
from .commands import compare, detect, export, protocol, quality, score, tables
from .commands.options import BadOption

PROGRAM = "python -m llava_v2xum.evaluate"
DESCRIPTION = """Score video summaries: key frames, text, and both together.

A data set's name scores prediction files against its annotations and writes report.json, report.md,
per_video.csv and plots. Every report has the rows random, uniform and human beside the system's.
'%(prog)s COMMAND --help' tells a command's options.
"""
EXAMPLES = f"""examples:
  {PROGRAM} videoxum --predictions out/summaries.jsonl --annotations test_videoxum.json
      F1, rank correlations and caption scores of what `python -m llava_v2xum.infer` wrote
  {PROGRAM} videoxum --predictions out/summaries.jsonl --annotations test_videoxum.json \\
      --videos videos/ --clip openai/clip-vit-large-patch14
      with F_CLIP, Cross-F_CLIP and VT-CLIPScore
  {PROGRAM} compare videoxum a.jsonl b.jsonl --annotations test_videoxum.json
      is A better than B: difference, 95 % interval, p
  {PROGRAM} tables report_a/ report_b/
      reports side by side, under the published rows

exit status: 0 done; 1 a file or item that cannot be scored, told on stderr; 2 bad arguments; 130 interrupted
"""


def build_parser() -> Parser:
    """The command line, one sub-command a data set or tool."""
    parser = Parser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (score, compare, tables, protocol, detect, export, quality):
        module.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    args = build_parser().parse_args(arguments)
    try:
        return args.run(args)
    except BrokenPipeError:  # whoever reads our output has had enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(f"{PROGRAM} {args.command}: interrupted", file=sys.stderr)
        return 130
    except (V2XumError, OSError, ImportError) as error:
        print(f"error: {told(error)}", file=sys.stderr)
        return 2 if isinstance(error, BadOption) else 1


def told(error: Exception) -> str:
    """An error's message for people."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError) and not isinstance(error, MissingExtra) and error.name:
        return str(missing(error))
    return " ".join(str(error).split())  # transformers writes some in paragraphs


if __name__ == "__main__":
    sys.exit(main())
