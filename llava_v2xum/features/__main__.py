"""`python -m llava_v2xum.features VIDEOS ... --out STORE`: its arguments are in options.py, what it does in
command.py."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..core.extras import end_without
from .options import parse_arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_arguments(arguments)
    end_without("av", "PIL", "torch", "transformers")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    from .command import run_command  # here, because it loads torch

    return run_command(args)


if __name__ == "__main__":
    raise SystemExit(main())
