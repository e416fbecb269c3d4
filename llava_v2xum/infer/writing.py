"""The files of summaries, drawn in processes beside the one with the model; loads no torch."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from ..media.cut import ClipError
from ..media.formats import FORMATS, write_files
from ..media.helper import Helper, HelperError
from ..media.render import JSON, completed, record_in
from ..media.video import VideoError
from .pages import PageOf


def write_or_warn(record: dict, thumbnails: np.ndarray, folder: Path, formats: Sequence[str]) -> Iterator[str]:
    """Write a summary's files (`formats.write_files`); without the clip, where the source gives none.

    Yields:
        Warnings.
    """
    try:
        write_files(record, thumbnails, folder, formats)
    except (ClipError, VideoError) as error:  # frames could be read, but the clip cannot be cut from the source
        yield from _write_without_clip(record, thumbnails, folder, formats, str(error))


def _write_without_clip(record: dict, thumbnails, folder: Path, formats: Sequence[str], reason: str) -> Iterator[str]:
    folder.mkdir(parents=True, exist_ok=True)
    clip = folder / FORMATS["clip"].file_name
    if not clip.exists() or not _is_there(record, folder):
        clip.unlink(missing_ok=True)  # of an earlier answer
        yield f"{reason}; the summary is kept without a clip"
    else:
        yield f"{reason}; the summary keeps the clip that it has"
    write_files(record, thumbnails, folder, [name for name in formats if name != "clip"])


def _is_there(record: dict, folder: Path) -> bool:
    """Whether a folder's files are those of this very summary."""
    try:
        return record_in(folder / JSON.file_name) == completed(record)
    except (ValueError, OSError):
        return False


class Writers(AbstractContextManager):
    """Write the files of several summaries at a time, and tell of each, in their order, when they are there.

    Args:
        processes: that draw; 0 writes at once in this one.
        most: summaries that wait for their files at a time, with the frames that are drawn.
    """

    def __init__(self, processes: int, most: int = 8) -> None:
        self.most = most
        self._threads = ThreadPoolExecutor(processes) if processes else None
        self._helpers = [Helper() for _ in range(processes)]
        self._idle: queue.SimpleQueue[Helper] = queue.SimpleQueue()
        for helper in self._helpers:
            self._idle.put(helper)
        self._pending: deque[tuple[Any, Future]] = deque()

    def add(
        self, key: Any, record: dict, thumbnails: np.ndarray, folder: Path, formats: Sequence[str]
    ) -> Iterator[tuple[Any, list[str]]]:
        """Have a summary's files written.

        Yields:
            The keys of those that are there now, each with its warnings; it waits if too many are not.

        Raises:
            OSError, ImportError, V2XumError: what writing raised, of this one or one before.
        """
        if self._threads is None or not any(FORMATS[name].is_drawn for name in formats):
            call: Future = Future()
            call.set_result(list(write_or_warn(record, thumbnails, folder, formats)))
        else:
            call = self._threads.submit(self._draw, record, thumbnails, folder, formats)
        self._pending.append((key, call))
        yield from self._settled(self.most)

    def add_page(self, page: PageOf, after: int) -> Iterator[tuple[Any, list[str]]]:
        """Have the page of a video written.

        Args:
            after: how many of what was added last is to be there first: the summaries of the video.

        Yields:
            As `add`; the key of pages is None.
        """
        before = [call for _, call in list(self._pending)[-after:]] if after else []
        if self._threads is None:
            call: Future = Future()
            call.set_result(list(page.write()))
        else:  # those before it have a thread already, so that it does not wait for what waits for its own
            call = self._threads.submit(self._draw_page, page, before)
        self._pending.append((None, call))
        yield from self._settled(self.most)

    def finish(self) -> Iterator[tuple[Any, list[str]]]:
        """Those that are still to come."""
        yield from self._settled(0)

    def _settled(self, most: int) -> Iterator[tuple[Any, list[str]]]:
        while self._pending and (len(self._pending) > most or self._pending[0][1].done()):
            key, call = self._pending.popleft()
            yield key, call.result()

    def _draw(self, record: dict, thumbnails: np.ndarray, folder: Path, formats: Sequence[str]) -> list[str]:
        helper = self._idle.get()
        try:
            return list(helper.call(write_or_warn, record, thumbnails, folder, formats))
        except HelperError as error:
            if "clip" not in formats:
                raise OSError(f"{folder}: its files could not be drawn: {error}") from error
            # a decoder that crashes in the source's middle, which the frames that were read did not need
            reason = f"{record['video']}: {error}"
            return list(helper.call(_write_without_clip, record, thumbnails, folder, formats, reason))
        finally:
            self._idle.put(helper)

    def _draw_page(self, page: PageOf, before: Sequence[Future]) -> list[str]:
        if any(call.exception() is not None for call in before):  # which is raised where it is taken
            return []
        helper = self._idle.get()
        try:
            return list(helper.call(page.write))
        except HelperError as error:  # a decoder that crashes in the source's middle
            warning = f"{page.made[0].record['video']}: its page has no copy of the source: {error}"
            return [warning, *helper.call(page.without_copy().write)]
        finally:
            self._idle.put(helper)

    def __exit__(self, *_) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            for helper in self._helpers:
                helper.close()
            self._threads.shutdown(wait=True)
