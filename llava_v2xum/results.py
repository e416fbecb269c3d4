"""The output folder of a run: `summaries.jsonl`, one record a line, and a folder of files for each video."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from .render import FILE_NAMES

logger = logging.getLogger(__name__)

FILE_NAME = "summaries.jsonl"


class ResultFolder:
    """Appends records and knows which videos are done, also after a kill.

    Args:
        path: the output folder; made if it is not there.
        fresh: forget what is done, and do every video again (earlier lines stay; the last one counts).

    Raises:
        ValueError: naming the line, if `summaries.jsonl` holds something else than records.
        NotADirectoryError: if the path is a file.
    """

    def __init__(self, path: str | os.PathLike, fresh: bool = False) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"{self.path}: the output folder is a file")
        self.path.mkdir(parents=True, exist_ok=True)
        self.file = self.path / FILE_NAME
        self.fresh = fresh
        self._last = {record["video_id"]: record for record in self._read()}  # whose files a folder holds now

    def _read(self) -> list[dict]:
        """The records so far; a last line that a kill left half written is cut off."""
        if not self.file.exists():
            return []
        data = self.file.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            logger.warning("%s: its last line was left half written; that video is done again", self.file)
            with open(self.file, "r+b") as file:
                file.truncate(whole)
        records = []
        for number, line in enumerate(data[:whole].split(b"\n")[:-1], 1):
            try:
                record = json.loads(line)
                for key in ("video_id", "video", "task", "model", "frames"):
                    record[key]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{self.file}:{number}: expected a summary record in JSON ({error})") from error
            records.append(record)
        return records

    def is_done(self, video: Path, task: str, model: str, formats: Iterable[str]) -> bool:
        """Whether the video's folder holds what that task and model give, in all of the formats.

        Raises:
            ValueError: if the folder holds another video's files.
        """
        last = self._last.get(video.stem)
        if last is None:
            return False
        if last["video"] != str(video):
            raise ValueError(
                f"{video}: {self.folder_of(video.stem)} holds the summary of {last['video']}; "
                "give another output folder"
            )
        if self.fresh or (last["task"], last["model"]) != (task, model):
            return False
        wanted = [name for name in formats if name != "clip" or last["frames"]]  # nothing cited, no clip
        return all((self.folder_of(video.stem) / FILE_NAMES[name]).exists() for name in wanted)

    def folder_of(self, video_id: str) -> Path:
        """Where that video's files go."""
        return self.path / video_id

    def append(self, record: dict) -> None:
        """Add a record; it is on disk when this returns."""
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._last[record["video_id"]] = record
