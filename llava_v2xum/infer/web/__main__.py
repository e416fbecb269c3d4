"""`python -m llava_v2xum.infer.web`."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ...core.command_line import Parser, at_least, ended_by_interrupt
from ...core.errors import V2XumError
from ...core.extras import require
from ...media.console import say
from ..options import add_model, loading_of_model

EPILOG = """examples:
  python -m llava_v2xum.infer.web
      the demo checkpoint, at http://127.0.0.1:7860
  python -m llava_v2xum.infer.web --model-path ./v2xum-7b --max-upload 2000
      a model of your own, and files of up to 2 GB
"""


def build_parser() -> Parser:
    parser = Parser(
        prog="python -m llava_v2xum.infer.web",
        description="Summarize videos in a browser: drop one in, watch its summary beside it (extra [web]).",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="the address to listen at (%(default)s: this machine alone). Whoever "
        "reaches another one can have videos summarized")  # fmt: skip
    add("--port", type=at_least(0), default=7860, help="0 for any that is free (%(default)s)")
    add("--max-upload", type=at_least(1), default=500, metavar="MB", help="the largest file (%(default)s)")
    add("--max-minutes", type=at_least(1), default=60, metavar="N", help="the longest video (%(default)s)")
    add("--keep-minutes", type=at_least(1), default=60, metavar="N", help="when a visitor's video and its summary are "
        "deleted (%(default)s)")  # fmt: skip
    add("--work", type=Path, metavar="DIR", help="where they lie until then (default: a folder of the system for "
        "temporary files)")  # fmt: skip
    add_model(parser.add_argument_group("model"))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until it is interrupted; returns the exit status."""
    args: argparse.Namespace = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what visitors have brought is deleted then too
    try:
        for module in ("gradio", "uvicorn"):
            require(module, "web")
        with ended_by_interrupt("interrupted before anything was served"):
            from ..summarizer import Summarizer
            from .app import Limits, serve

            summarizer = Summarizer.from_pretrained(args.model_path, device=args.device, **loading_of_model(args))
        limits = Limits(args.max_upload, 60 * args.max_minutes, 60 * args.keep_minutes)
        serve(summarizer, limits, args.work, args.host, args.port)
    except KeyboardInterrupt:
        return 0
    except (V2XumError, OSError, ImportError) as error:
        say(f"error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
