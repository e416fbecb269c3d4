"""The output folder of a run: `summaries.jsonl`, one record a line, and a folder of files for each video.

Several processes (ranks) may fill one folder: each appends to a file of its own, `summaries.rankR.jsonl`, whose lines
say when they were written beside the record; `merge` moves them all into `summaries.jsonl`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.atomic import append_line, cut_torn_line, replacing
from ..core.errors import V2XumError
from ..core.lengths import EDIT_KEY
from ..core.sampling import TRACK_KEY
from ..core.windows import AUTO, WINDOW_KEY
from ..media.formats import FORMATS

logger = logging.getLogger(__name__)

FILE_NAME = "summaries.jsonl"
_OF_RANK = re.compile(r"summaries\.rank\d+\.jsonl")
_KEYS = ("video_id", "video", "task", "model", "frames")


class OtherSummary(V2XumError):
    """A video's folder holds a summary that another task, model or video track gave."""


@dataclass(frozen=True)
class Asked:
    """What a summary was asked for by.

    Attributes:
        track: of several video tracks (`opening.opened`).
        window: of long films (`core.windows.windows_of`).
        edit: of length and cuts (`core.lengths.edit_asked`).
    """

    task: str
    model: str
    track: int | None = None
    window: str | float = AUTO
    edit: Mapping[str, str | None] | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Asked:
        """By what that record's was."""
        named = record.get(TRACK_KEY), record.get(WINDOW_KEY, AUTO), record.get(EDIT_KEY)
        return cls(record["task"], record["model"], *named)

    def __str__(self) -> str:
        of_track = "" if self.track is None else f" of video track {self.track}"
        made = [f"{key} {value}" for key, value in (self.edit or {}).items() if value]
        made += [] if self.window == AUTO else [f"window {self.window}"]
        return f"{self.task.upper()} summary{of_track} by {self.model}" + (f" ({', '.join(made)})" if made else "")


class ResultFolder:
    """Appends records and knows which videos are done, also after a kill.

    What a run of several processes left unmerged is read too, and merged first by a process that is alone.

    Args:
        path: the output folder; made if it is not there.
        fresh: forget what is done, and do every video again (earlier lines stay; the last one counts).
        rank: of this process among those that fill the folder.
        world_size: how many those are.

    Raises:
        V2XumError: naming the line, if `summaries.jsonl` holds something else than records.
        NotADirectoryError: if the path is a file.
    """

    def __init__(self, path: str | os.PathLike, fresh: bool = False, rank: int = 0, world_size: int = 1) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"{self.path}: the output folder is a file")
        self.path.mkdir(parents=True, exist_ok=True)
        self.is_alone = world_size == 1
        self.merged = self.path / FILE_NAME
        self.file = self.merged if self.is_alone else self.path / f"summaries.rank{rank:02d}.jsonl"
        self.fresh = fresh
        if cut_torn_line(self.file):
            logger.warning("%s: its last line was left half written; that video is done again", self.file)
        if self.is_alone:
            self.merge()
        self._last = self.records()  # whose files a folder holds now

    def _of_ranks(self) -> list[tuple[float, dict]]:
        """The records that wait in the ranks' files, each with when it was written."""
        return [pair for file in self._rank_files() for pair in _read(file)]

    def _rank_files(self) -> list[Path]:
        return sorted(path for path in self.path.iterdir() if _OF_RANK.fullmatch(path.name))

    def merge(self, order: Iterable[Path] = ()) -> None:
        """Move the records of the ranks' files into `summaries.jsonl`; a kill leaves them in one place or in both.

        To be called when no other process writes.

        Args:
            order: of the videos, as one process would have written them.
        """
        files = self._rank_files()
        if not files:
            return
        place = {str(path): number for number, path in enumerate(order)}
        kept = [line for line, _ in _lines(self.merged)]
        last = {record["video_id"]: record for _, record in _read(self.merged)}
        waiting = sorted(self._of_ranks(), key=lambda pair: (place.get(pair[1]["video"], len(place)), pair[0]))
        for _, record in waiting:
            if last.get(record["video_id"]) != record:  # else a merge that was killed has moved it already
                kept.append((json.dumps(record, ensure_ascii=False) + "\n").encode())
                last[record["video_id"]] = record
        with replacing(self.merged) as part, open(part, "wb") as writer:
            writer.writelines(kept)
            writer.flush()
            os.fsync(writer.fileno())
        for file in files:
            file.unlink()

    def is_done(self, video: Path, asked: Asked, formats: Iterable[str], video_id: str | None = None) -> bool:
        """Whether the video's folder holds what is asked for, in all of the formats.

        Args:
            video_id: the file's stem if None.
            edit: what was asked of length and cuts (`core.lengths.edit_asked`).

        Raises:
            OtherSummary: if it holds what was asked for otherwise, and that is not to be replaced.
            V2XumError: if it holds another video's files.
        """
        video_id = video_id or video.stem
        folder, last = self.folder_of(video_id), self._last.get(video_id)
        if last is None:
            return False
        if last["video"] != str(video):
            raise V2XumError(f"{video}: {folder} holds the summary of {last['video']}; give another output folder")
        if self.fresh:
            return False
        if (found := Asked.of(last)) != asked:
            if folder.is_dir() and any(folder.iterdir()):
                raise OtherSummary(f"{folder} holds the {found}, and not the {asked}")
            return False
        forms = [FORMATS[name] for name in formats if FORMATS[name].is_of(last)]
        return all((folder / form.file_name).exists() for form in forms)

    def has_problems(self, video_id: str) -> bool:
        """Whether the summary of a video that is done has problems; records of old releases do not say."""
        return bool(self._last[video_id].get("problems"))

    def records(self) -> dict[str, dict]:
        """The last record of each video by its id, those of all ranks."""
        pairs = [*_read(self.merged), *sorted(self._of_ranks(), key=lambda pair: pair[0])]
        return {record["video_id"]: record for _, record in pairs}

    def record_of(self, video_id: str) -> dict | None:
        """The last record of a video, where there is one."""
        return self._last.get(video_id)

    def folder_of(self, video_id: str) -> Path:
        """Where that video's files go."""
        return self.path / video_id

    def append(self, record: dict) -> None:
        """Add a record; it is on disk when this returns."""
        kept = record if self.is_alone else {"saved": round(time.time(), 3), "record": record}
        append_line(self.file, json.dumps(kept, ensure_ascii=False))
        self._last[record["video_id"]] = record


def _lines(file: Path) -> list[tuple[bytes, str]]:
    """The whole lines of a file, each with its name; another process may be writing one more."""
    if not file.exists():
        return []
    data = file.read_bytes()
    lines = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
    return [(line + b"\n", f"{file}:{number}") for number, line in enumerate(lines, 1)]


def _read(file: Path) -> list[tuple[float, dict]]:
    """The records of a file with when they were written, which `summaries.jsonl` does not say (0).

    Raises:
        V2XumError: naming the line that is none.
    """
    found = []
    for line, name in _lines(file):
        try:
            record, saved = json.loads(line), 0.0
            if file.name != FILE_NAME:
                record, saved = record["record"], float(record["saved"])
            for key in _KEYS:
                record[key]
        except (ValueError, KeyError, TypeError) as error:
            raise V2XumError(f"{name}: expected a summary record in JSON ({error})") from error
        found.append((saved, record))
    return found
