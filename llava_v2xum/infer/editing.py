"""Summaries made as long as they are to be, as they come from the model or after the fact."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import V2XumError
from ..core.lengths import EDIT_KEY, Length, edit_asked, edited
from ..core.sampling import TRACK_KEY
from ..media.shot_detection import shot_starts
from .options import edits


@dataclass
class Editing:
    """What is asked of summaries' length and cuts.

    Args:
        length: None for as long as they are.
        snap: "shots", or None for cuts where they are.
    """

    length: Length | None
    snap: str | None
    _shots: tuple[tuple, list[float]] | None = field(default=None, init=False)  # of the video that came last

    def asked(self, task: str) -> dict[str, str | None] | None:
        """What the records of a task say was asked for; None where nothing was."""
        snap = self.snap is not None and task != "text"
        return edit_asked(self.length if edits(task, self.length) else None, snap)

    def made(self, record: dict) -> dict:
        """The edited record; the same where nothing is asked for its task.

        Raises:
            V2XumError: if it cannot be edited.
            VideoError: naming the video, if its shots cannot be found.
        """
        asked = self.asked(record["task"])
        if asked is None:
            return record
        length = self.length if asked["length"] else None
        return edited(record, length, self._shots_of(record) if asked["snap"] else None)

    def edited(self, record: dict) -> dict:
        """As `made`; a summary that cannot be edited stays as it is, and its problems say so."""
        try:
            return self.made(record)
        except V2XumError as error:
            asked = self.asked(record["task"])
            return {**record, "problems": [*record["problems"], f"not edited: {error}"], EDIT_KEY: asked}

    def _shots_of(self, record: dict) -> list[float]:
        place = record["video"], record.get(TRACK_KEY)
        if self._shots is None or self._shots[0] != place:
            self._shots = place, shot_starts(Path(record["video"]), record.get(TRACK_KEY))
        return self._shots[1]
