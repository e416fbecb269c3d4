"""Lines for people beside progress bars."""

from __future__ import annotations

import sys
from typing import TextIO

from tqdm import tqdm


def say(message: str, file: TextIO | None = None) -> None:
    """Print a line clear of the bars: a message to standard error, and what was asked for to the file that is given."""
    tqdm.write(message, file=file or sys.stderr)
    (file or sys.stderr).flush()
