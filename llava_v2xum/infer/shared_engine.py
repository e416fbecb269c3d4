"""One engine for many threads: each hands in a video and waits for its own answers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path

from ..media.read_ahead import Ticket
from .engine import Answer, Job

RunJobs = Callable[[Iterable[Job[Ticket] | None]], Iterable[tuple[Ticket, list[Answer]]]]


class SharedEngine:
    """Lets the jobs of several threads share the rows of one engine, whose own thread this starts.

    Args:
        run: `Engine.run`, or what takes jobs and gives answers as it does.
    """

    def __init__(self, run: RunJobs) -> None:
        self._run = run
        self._waiting: queue.SimpleQueue[tuple[Job[Path], Future]] = queue.SimpleQueue()
        self._open: dict[Ticket, tuple[Job[Ticket], Future]] = {}  # handed to the engine and not answered
        self._count = 0
        threading.Thread(target=self._serve, name="engine", daemon=True).start()

    def answers(self, job: Job[Path]) -> list[Answer]:
        """The answers to the job's prompts.

        Args:
            job: its key is the video's path.

        Raises:
            Exception: what the engine raised for this job; other threads' jobs do not suffer from it.
        """
        future: Future = Future()
        self._waiting.put((job, future))
        return future.result()

    def _jobs(self) -> Iterator[Job[Ticket] | None]:
        """Never ends. Waits only while the engine has nothing to do, so that no answer waits for the next video."""
        while True:
            try:
                job, future = self._waiting.get(block=not self._open)
            except queue.Empty:
                yield None
                continue
            ticket = Ticket(self._count, job.key)
            self._count += 1
            numbered = Job(ticket, job.prompts, job.video, job.seed)
            self._open[ticket] = numbered, future
            yield numbered

    def _serve(self) -> None:
        while True:
            try:
                for ticket, answers in self._run(self._jobs()):
                    self._open.pop(ticket)[1].set_result(answers)
            except Exception as error:
                self._answer_alone(error)

    def _answer_alone(self, error: Exception) -> None:
        """After an error, which loses all that was at work: each job by itself, so that only the guilty one fails."""
        jobs = list(self._open.values())
        for job, future in jobs:
            try:
                if len(jobs) == 1:
                    raise error
                ((_, answers),) = self._run(iter([job]))
                future.set_result(answers)
            except Exception as own:
                future.set_exception(own)
        self._open.clear()
