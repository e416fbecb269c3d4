"""A video's file as its content: known by its bytes, and the same all the time that it is read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from ...core.endpoint.outcomes import Failed
from ...core.endpoint.store import Cost, Ledger, Results


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        Failed: if they cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError as error:
        raise Failed(f"the file cannot be read: {error.strerror}") from error
    return digest.hexdigest()


class FileLedger(Ledger):
    """The ledger of a stage that reads the file: nothing is stored of one that changed meanwhile.

    What is stored stands for a content for ever, so a file that is still being copied, or is replaced while a run goes
    on, must not get another's results.

    Args:
        path: of the file.
    """

    def __init__(self, store: Results, stage: str, fingerprint: str, item: str, path: Path) -> None:
        super().__init__(store, stage, fingerprint, item)
        self._path, self._stamp = path, _stamp(path)

    def put(self, part: str, value: Any, cost: Cost = Cost()) -> None:  # noqa: B008 (frozen)
        """As `Ledger`.

        Raises:
            Failed: as `check`.
        """
        self.check()
        super().put(part, value, cost)

    def check(self) -> None:
        """Check that the file is the one that it was.

        Raises:
            Failed: if it is not.
        """
        if _stamp(self._path) != self._stamp:
            raise Failed("the file changed, or went, while it was read")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
