"""What `python -m llava_v2xum.infer` tells while it runs and at its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ..media.console import say
from ..media.processes import Rank

if TYPE_CHECKING:
    from .engine import EngineStats


class Progress:
    """A progress bar on a terminal, a plain line for each video elsewhere; neither for one video."""

    def __init__(self, total: int, rank: Rank) -> None:
        self.total, self.count, self.made, self.name = total, 0, 0, rank.name
        self.start = time.monotonic()
        self.bar = None
        if total > 1 and sys.stderr.isatty():
            name = rank.name.rstrip(": ")
            self.bar = tqdm(total=total, unit="video", leave=False, desc=name, position=rank.local_rank)

    def __enter__(self) -> Progress:
        return self

    def advance(self, path: Path, is_made: bool = True) -> None:
        """One more video is dealt with; the rate is of those that were summarized."""
        self.count += 1
        self.made += is_made
        if self.bar is not None:
            self.bar.update()
        elif self.total > 1:
            rate = 60 * self.made / max(time.monotonic() - self.start, 1e-3)
            told = f"{rate:.3g} videos a minute" if is_made else "failed"
            say(f"{self.name}[{self.count}/{self.total}] {path} ({told})")

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()


def format_stats(stats: EngineStats, seconds: Mapping[str, float]) -> str:
    """What the decoder did and where the time went, in a few lines.

    Args:
        seconds: by part of a `Summarizer`.
    """
    if not stats.answers:
        return "stats: no answer was decoded greedily"
    lines = [
        f"stats: {stats.answers} answers of {stats.new_tokens / stats.answers:.1f} tokens, "
        f"{stats.row_passes / stats.answers:.1f} passes for each, {stats.passes} passes over all rows",
        f"drafts: {stats.accepted} of {stats.drafted} tokens accepted ({stats.accepted / max(stats.drafted, 1):.0%})",
        f"prompts: {stats.prefill_positions} positions in {stats.prefill_passes} passes",
    ]
    parts = {**seconds, **stats.seconds}
    lines.append("seconds: " + ", ".join(f"{part} {spent:.1f}" for part, spent in parts.items()))
    lines.append("(read and encode are added up over threads, and go on beside the others)")
    return "\n".join(lines)
