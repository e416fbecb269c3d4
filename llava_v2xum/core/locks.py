"""A folder that one run at a time fills."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .errors import V2XumError

LOCK = ".lock"  # stays behind, empty: a file that is taken away could be locked by two


@contextmanager
def only_run(folder: Path, part: str = "") -> Iterator[None]:
    """Hold a folder, made if it is missing, for this process; a kill lets go of it.

    Args:
        part: which of several processes of one run this is, such as "rank00"; they share the folder, but not with
            another process of the same part, nor with one that takes the whole.

    Raises:
        V2XumError: naming the folder, if another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        wanted = [(LOCK, fcntl.LOCK_SH), (f"{LOCK}.{part}", fcntl.LOCK_EX)] if part else [(LOCK, fcntl.LOCK_EX)]
        for name, kind in wanted:
            file = held.enter_context(open(folder / name, "w"))
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise V2XumError(
                    f"{folder}: another run works in this folder: wait for its end, or give another"
                ) from error
        yield
