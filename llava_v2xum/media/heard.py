"""What FFmpeg says of errors: much damage raises none, is marked nowhere, and is only spoken of."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import av.logging

_lock = threading.Lock()
# for each that listens, what was there before the first: PyAV's level, and whether it leaves out what is said again
_before: list[tuple[int | None, bool]] = []


@contextmanager
def heard() -> Iterator[list[tuple[int, str, str]]]:
    """The errors of which FFmpeg speaks meanwhile: a level, who, and what.

    Whichever thread says it, for decoders have threads of their own: of two that listen at a time in one process, one
    may hear what is meant for the other. A decoder's threads must have ended before this does: PyAV stumbles over a
    message that it has begun to take when nobody listens any more.
    """
    with _lock:
        _before.append(_before[0] if _before else (av.logging.get_level(), av.logging.get_skip_repeated()))
        av.logging.set_level(av.logging.ERROR)
        av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture(local=False) as said:
            yield said
    finally:
        with _lock:
            level, skips = _before.pop()
            if not _before:
                av.logging.set_level(level)
                av.logging.set_skip_repeated(skips)
