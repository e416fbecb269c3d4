"""The videos of an output folder that could not be summarized, with the reasons, for its page."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from ..core.atomic import append_line, write_whole

logger = logging.getLogger(__name__)

FAILURES = "failures.jsonl"


class Failures:
    """What failed: `failures.jsonl`, one a line, while several ranks run one file each.

    A run tries its videos anew: what an earlier one said of them is forgotten when it ends, the rest is kept.

    Args:
        folder: the output folder.
        rank: of this process among those that fill the folder.
        world_size: how many those are.
    """

    def __init__(self, folder: Path, rank: int = 0, world_size: int = 1) -> None:
        self.folder = folder
        self.world_size = world_size
        self.file = self._of_rank(rank)
        self.file.unlink(missing_ok=True)  # of a run that was killed: its videos are tried again

    def add(self, video: str, reason: str) -> None:
        """Note a failure; it is on disk when this returns.

        Args:
            video: its path, or what was given for one.
        """
        append_line(self.file, json.dumps({"video": video, "reason": reason}))

    def merge(self, tried: Iterable[str]) -> list[str]:
        """Bring all ranks' files into `failures.jsonl`, when no other process writes.

        Args:
            tried: the videos of this run.

        Returns:
            the reasons, of this run and of earlier ones.
        """
        of_this_run = [self._of_rank(rank) for rank in range(self.world_size)]
        merged, again = self.folder / FAILURES, set(tried)
        stale = [file for file in sorted(self.folder.glob(".failures.rank*.jsonl")) if file not in of_this_run]
        found = {video: reason for video, reason in _read([merged, *stale]) if video not in again}
        found.update(_read(of_this_run))
        if found:
            lines = (json.dumps({"video": video, "reason": reason}) + "\n" for video, reason in found.items())
            write_whole(merged, "".join(lines))
        else:
            merged.unlink(missing_ok=True)
        for file in (*of_this_run, *stale):
            file.unlink(missing_ok=True)
        return list(found.values())

    def _of_rank(self, rank: int) -> Path:
        return self.folder / f".failures.rank{rank:02d}.jsonl"


def _read(files: Iterable[Path]) -> list[tuple[str, str]]:
    """The videos and reasons of such files; lines that are none are left out, and told."""
    found = []
    for file in files:
        for number, line in enumerate(file.read_text("utf-8").splitlines() if file.exists() else (), 1):
            try:
                one = json.loads(line)
                found.append((str(one["video"]), str(one["reason"])))
            except (ValueError, KeyError, TypeError):
                logger.warning("%s:%d: expected a video and a reason in JSON; the line is left out", file, number)
    return found
