"""What visitors bring and get: a folder for each summary, under a name that nobody guesses, deleted after a while."""

from __future__ import annotations

import logging
import re
import secrets
import shutil
import threading
import time
from pathlib import Path

logger = logging.getLogger(__name__)

_KEY = re.compile(r"[A-Za-z0-9_-]{22}")
_KEY_BYTES = 16
UPLOAD, SUMMARY = "upload", "summary"  # in a visit's folder


class Visits:
    """The folders of visits.

    Args:
        root: of all of them; made if it is missing.
        keep_seconds: how long one is kept after it was made.
    """

    def __init__(self, root: Path, keep_seconds: float) -> None:
        self.root = root.resolve()
        self.keep_seconds = keep_seconds
        self.root.mkdir(parents=True, exist_ok=True)

    def new(self) -> tuple[str, Path]:
        """The key of another visit, and its folder."""
        key = secrets.token_urlsafe(_KEY_BYTES)
        folder = self.root / key
        for name in (UPLOAD, SUMMARY):
            (folder / name).mkdir(parents=True)
        return key, folder

    def file(self, key: str, path: str) -> Path | None:
        """A file of a visit, where there is one: nothing outside of its folder, whatever the path, and no hidden one.

        Args:
            path: relative to the folder, from a URL.
        """
        if not _KEY.fullmatch(key) or "\x00" in path or any(part.startswith(".") for part in path.split("/")):
            return None
        folder = self.root / key
        found = (folder / path).resolve()
        return found if found.is_relative_to(folder) and found.is_file() else None

    def delete_old(self, now: float | None = None) -> int:
        """Delete visits that are kept long enough; returns how many."""
        old = 0
        for folder in self.root.iterdir():
            if _KEY.fullmatch(folder.name) and (now or time.time()) - folder.stat().st_mtime >= self.keep_seconds:
                shutil.rmtree(folder, ignore_errors=True)
                old += 1
        return old

    def delete_old_ever_after(self) -> None:
        """Look for old ones from time to time, beside all else, until the process ends."""

        def sweep() -> None:
            while True:
                try:
                    self.delete_old()
                except OSError as error:
                    logger.warning("%s: old visits could not be deleted: %s", self.root, error)
                time.sleep(min(60.0, self.keep_seconds / 4))

        threading.Thread(target=sweep, daemon=True, name="delete old visits").start()
