"""The output folder of a run: `summaries.jsonl`, one record a line, and a folder of files for each video."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

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
        self._done = set() if fresh or not self.file.exists() else {_key(record) for record in self._read()}

    def _read(self) -> list[dict]:
        """The records so far; a last line that a kill left half written is cut off."""
        data = self.file.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            logger.warning("%s: its last line was left half written; that video is done again", self.file)
            with open(self.file, "r+b") as file:
                file.truncate(whole)
        records = []
        for number, line in enumerate(data[:whole].decode("utf-8", "replace").splitlines(), 1):
            try:
                record = json.loads(line)
                _key(record)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{self.file}:{number}: expected a summary record in JSON ({error})") from error
            records.append(record)
        return records

    def is_done(self, video: str, task: str, model: str) -> bool:
        """Whether a record of that video, task and model is there."""
        return (video, task, model) in self._done

    def folder_of(self, video_id: str) -> Path:
        """Where that video's files go."""
        return self.path / video_id

    def append(self, record: dict) -> None:
        """Add a record; it is on disk when this returns."""
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._done.add(_key(record))


def _key(record: dict) -> tuple[str, str, str]:
    return record["video"], record["task"], record["model"]
