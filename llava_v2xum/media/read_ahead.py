"""Videos on their way: read in threads, some ahead of the decoder, and handed back in their order.

    paths --> reading threads --> Line --> the engine's free rows --> answers --> the order of the paths
              (each with a process)   bounded                         as they finish

Nothing here knows what a video is turned into; `video_features.py` and `engine/` do.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import V2XumError
from .helper import Helper

_LEAVE_SECONDS = 10  # our choice: a reader that has lost its process is gone in far less


@dataclass(frozen=True, order=True)
class Ticket:
    """A video's place in a run."""

    number: int
    path: Any = field(compare=False)  # a Path, or what else stands for a video's part that is read alone

    def __str__(self) -> str:
        return str(self.path)


class Line(AbstractContextManager):
    """Reads videos ahead of the one who takes them; leaving it ends the reading.

    However many paths there are, at most `ahead` videos are read or being read and not yet taken, and none is begun
    that lies `window` or more behind the oldest one that is not finished.

    Args:
        paths: asked for the next one when a video is begun, by the thread that reads it.
        read: called with a path and the thread's `Helper`, which has a process for what may crash; it returns what
            `take` hands out or raises V2XumError.
        threads: that read; 0 reads when a video is taken, by whom it is taken, without a helper.

    Attributes:
        waited_seconds: how long `take` had to wait.
        most: the largest number of videos that were in the line or taken and not finished at one time.
    """

    def __init__(
        self, paths: Iterable[Any], read: Callable[[Any, Helper | None], Any], threads: int, ahead: int, window: int
    ) -> None:
        if min(ahead, window) < 1:
            raise V2XumError(f"ahead and window must be at least 1, got {ahead} and {window}")
        self.ahead, self.window = ahead, window
        self.waited_seconds = 0.0
        self.most = 0
        self._paths = iter(paths)
        self._read = read
        self._changed = threading.Condition()
        self._ready: list[tuple[Ticket, Any]] = []  # a heap: the oldest is taken first
        self._unfinished: set[int] = set()  # begun and not finished
        self._begun = self._reading = 0
        self._is_exhausted = self._is_closed = False
        self._error: BaseException | None = None
        self._helpers = [Helper() for _ in range(threads)]
        self._threads = [threading.Thread(target=self._read_on, args=(one,), daemon=True) for one in self._helpers]
        for thread in self._threads:
            thread.start()

    def take(self, wait: bool = True) -> tuple[Ticket, Any] | None:
        """The oldest video that is ready: what its reader gave, or the V2XumError that it raised.

        Args:
            wait: for one to be ready; without, None says that none is.

        Returns:
            None, if `wait`, only where no more will come before one that was taken is finished, or at all (`is_over`).

        Raises:
            BaseException: what else a reader raised, or the source of the paths.
        """
        if not self._threads and not self._ready and (ticket := self._begin(wait=False)) is not None:
            self._finish_reading(ticket, None)
        start = time.perf_counter()
        with self._changed:
            while wait and self._threads and not self._ready and self._error is None and self._may_come():
                self._changed.wait()
            self.waited_seconds += time.perf_counter() - start
            if self._error is not None:
                raise self._error
            if not self._ready:
                return None
            taken = heapq.heappop(self._ready)
            self._changed.notify_all()
            return taken

    def finish(self, ticket: Ticket) -> None:
        """Say that a video that was taken is done with."""
        with self._changed:
            self._unfinished.discard(ticket.number)
            self._changed.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether every video has been taken."""
        with self._changed:
            return self._is_exhausted and not self._ready and not self._reading

    def close(self) -> None:
        """End the reading."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for helper in self._helpers:
            helper.close()  # which ends what is read with it
        for thread in self._threads:
            thread.join(_LEAVE_SECONDS)

    def __exit__(self, *_) -> None:
        self.close()

    def _has_room(self) -> bool:
        oldest = min(self._unfinished, default=self._begun)
        return len(self._ready) + self._reading < self.ahead and self._begun - oldest < self.window

    def _may_come(self) -> bool:
        return self._reading > 0 or (self._has_room() and not self._is_exhausted)

    def _begin(self, wait: bool) -> Ticket | None:
        """The next video to read, when there is room for it; None if there is none."""
        with self._changed:
            while wait and not (self._is_closed or self._is_exhausted or self._has_room()):
                self._changed.wait()
            if self._is_closed or self._is_exhausted or not self._has_room():
                return None
            path = next(self._paths, None)
            if path is None:
                self._is_exhausted = True
                self._changed.notify_all()
                return None
            ticket = Ticket(self._begun, path)
            self._begun += 1
            self._reading += 1
            self._unfinished.add(ticket.number)
            self.most = max(self.most, len(self._unfinished))
            return ticket

    def _read_on(self, helper: Helper) -> None:
        """A thread's life."""
        try:
            while (ticket := self._begin(wait=True)) is not None:
                self._finish_reading(ticket, helper)
        except BaseException as error:  # raised again where videos are taken
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _finish_reading(self, ticket: Ticket, helper: Helper | None) -> None:
        try:
            made = self._read(ticket.path, helper)
        except V2XumError as error:
            made = error
        with self._changed:
            self._reading -= 1
            heapq.heappush(self._ready, (ticket, made))
            self._changed.notify_all()


def in_turn(
    line: Line, run: Callable[[Iterator[Any]], Iterable[tuple[Ticket, Any]]], job_of: Callable[[Ticket, Any], Any]
) -> Iterator[tuple[Ticket, Any]]:
    """Every video's outcome in the order of the paths, whatever the order in which they are done.

    Args:
        run: takes an iterator of jobs and gives each one's ticket and outcome when it is done, in any order. It asks
            for a job when it can begin one; None among them says that none is ready yet.
        job_of: what `run` is to have of a video that was taken; may raise V2XumError, which is then its outcome.

    Yields:
        The ticket and what `run` made of it, or the V2XumError that stands for it.
    """
    done: dict[int, tuple[Ticket, Any]] = {}
    at_work = turn = 0

    def settle(ticket: Ticket, outcome: Any) -> None:
        done[ticket.number] = ticket, outcome
        line.finish(ticket)

    def jobs() -> Iterator[Any]:
        nonlocal at_work
        while not line.is_over:
            if turn in done and not at_work:  # a failure is due, and there is nothing to wait for with it
                return
            taken = line.take(wait=not at_work)
            if taken is None:
                yield None
                continue
            ticket, made = taken
            try:
                if isinstance(made, V2XumError):
                    raise made
                job = job_of(ticket, made)
            except V2XumError as error:
                settle(ticket, error)
                continue
            at_work += 1
            yield job

    while not line.is_over or turn in done:
        for ticket, outcome in run(jobs()):
            at_work -= 1
            settle(ticket, outcome)
            while turn in done:
                yield done.pop(turn)
                turn += 1
        while turn in done:
            yield done.pop(turn)
            turn += 1
