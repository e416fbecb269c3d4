"""`python -m llava_v2xum.evaluate COMMAND`: the evaluators' commands, each in a file of its own."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from .. import __version__
from . import cli_compare, cli_export, cli_quality, cli_score, cli_tables

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

exit status: 0 done; 1 a file or item that cannot be scored, told on stderr; 2 bad arguments
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line, one sub-command a data set or tool."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (cli_score, cli_compare, cli_tables, cli_export, cli_quality):
        module.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    args = build_parser().parse_args(arguments)
    try:
        return args.run(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"{PROGRAM} {args.command}: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
