"""The stages, one after the other, over all videos; what is stored is not done again.

    sources --first stage--> settled --the others--> Curated
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Protocol

from ..core.endpoint.outcomes import Stop
from ..core.endpoint.store import REJECTED, Cost, Store
from .data_set.entries import RejectedVideo
from .progress import Progress
from .store.stage import Source, Stage
from .store.work import (
    DONE,
    END,
    LATER,
    OUT,
    Found,
    Job,
    Outcome,
    Outcomes,
    Step,
    first_job,
    perform,
    steps_of,
    stored_outcome,
)

logger = logging.getLogger(__name__)

MOST_FAILURES = 8  # our choice: so many in a row, none of which failed before, are no fault of the videos


@dataclass
class Curated:
    """What a run came to.

    Attributes:
        finished: video_id -> stage -> result, of the videos that passed every stage, in the order of ids; read from
            the store when they are asked for.
        rejected: the videos that fell out, by id.
        failed: those that the next run tries again, by id, of the kind "failed" or of an error's name.
        costs: stage -> what its stored results cost, of these settings.
        videos: stage -> how many videos those are of.
    """

    finished: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    rejected: list[RejectedVideo] = field(default_factory=list)
    failed: list[RejectedVideo] = field(default_factory=list)
    costs: dict[str, Cost] = field(default_factory=dict)
    videos: dict[str, int] = field(default_factory=dict)


class Engine(Protocol):
    """What gets stages done."""

    def run(self, steps: Sequence[Step], jobs: Sequence[Job], store: Store) -> Outcomes:
        """Take each video through the steps, as long as it is DONE by each.

        Args:
            jobs: of different items.

        Yields:
            the number of the step, the job as it was for that step, and its outcome, in any order.
        """


class LocalEngine:
    """This process: stage after stage, each with as many threads as it asks for."""

    def run(self, steps: Sequence[Step], jobs: Sequence[Job], store: Store) -> Outcomes:
        for number, step in enumerate(steps):
            passed = []
            for job, outcome in _threaded(partial(perform, step, store=store), jobs, step.stage.workers):
                yield number, job, outcome
                if outcome.status == DONE:
                    passed.append(job.after(step))
            jobs = sorted(passed, key=lambda job: job.source.video_id)


def _threaded(work: Callable[[Job], Outcome], jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Outcome]]:
    """Jobs with their outcomes as they come; what has begun when the caller stops is still ended and stored."""
    running: dict[Future[Outcome], Job] = {}
    waiting = iter(jobs)
    with ThreadPoolExecutor(workers, thread_name_prefix="curate") as pool:
        while True:
            for job in islice(waiting, workers - len(running)):
                running[pool.submit(work, job)] = job
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()


class Curation:
    """One run over all videos.

    Args:
        stages: the first finds each content's `digest`, which the others' results are stored under.
        progress: is told what happens.

    Attributes:
        curated: what it came to so far.
    """

    def __init__(self, stages: Sequence[Stage], store: Store, engine: Engine, progress: Progress) -> None:
        self.steps = steps_of(stages)
        self.store, self.engine, self.progress = store, engine, progress
        self.curated = Curated()
        self._in_a_row = 0

    def run(self, sources: Sequence[Source]) -> Curated:
        """Take the videos through all stages.

        Raises:
            Stop: if the run has to end before; what was found is stored.
        """
        self._begin()
        jobs = []
        for source in sources:
            try:
                jobs.append(first_job(source))
            except OSError as error:
                reason = f"the file cannot be looked up: {error.strerror or error}"
                self.curated.failed.append(RejectedVideo(source.video_id, self.steps[0].name, "failed", reason))
        first, others = self.steps[:1], self.steps[1:]
        jobs = self._settled(first[0], self._through(first, jobs))
        if others:
            jobs = self._through(others, jobs)
        curated = self.curated
        curated.finished = {job.source.video_id: Found(self.store, job.before) for job in jobs}
        curated.rejected.sort(key=lambda one: one.video_id)
        curated.failed.sort(key=lambda one: one.video_id)
        for step in self.steps:
            curated.costs[step.name] = self.store.cost(step.name, step.fingerprint)
            curated.videos[step.name] = len(self._done(step))
        return curated

    def _begin(self) -> None:
        """Say which stages run with other settings than last time, and remember these."""
        changed: list[str] = []
        for step in self.steps:
            last, settings = self.store.last_run(step.name), step.stage.settings()
            if last is not None and last[0] != step.fingerprint:
                changed += _differences(step.name, last[1], settings)
                self.progress.say(
                    f"{step.name}: runs again where its results are not stored: "
                    + (", ".join(changed) or "a stage before it changed")
                )
            self.store.begin_run(step.name, step.fingerprint, settings)

    def _through(self, steps: Sequence[Step], jobs: Sequence[Job]) -> list[Job]:
        """The jobs that passed all of the steps, by id."""
        passed = []
        with self.progress.stages([step.name for step in steps], len(jobs)) as tell:

            def take(number: int, job: Job, outcome: Outcome) -> None:
                tell(number, job.source, outcome)
                if outcome.status != DONE:
                    self._leave(job.source, steps[number], outcome)
                elif number == len(steps) - 1:
                    passed.append(job.after(steps[number]))
                if outcome.status != LATER:
                    self._in_a_row = 0

            for some in _rounds(self._unknown(steps, jobs, take)):
                with closing(self.engine.run(steps, some, self.store)) as events:  # work begun is ended
                    for event in events:
                        take(*event)
        return sorted(passed, key=lambda job: job.source.video_id)

    def _unknown(self, steps: Sequence[Step], jobs: Sequence[Job], take: Callable[..., None]) -> list[Job]:
        """The jobs whose end is not stored; of the others it is told."""
        done = [self.store.items(step.name, step.fingerprint) for step in steps]
        out = [self.store.items(step.name, step.fingerprint, REJECTED) for step in steps]
        unknown = []
        for job in jobs:
            passed = next((number for number, items in enumerate(done) if job.item not in items), len(steps))
            if passed < len(steps) and job.item not in out[passed]:
                unknown.append(job)
                continue
            for number, step in enumerate(steps[: passed + 1]):
                known = Outcome(DONE, known=True) if number < passed else stored_outcome(step, job, self.store)
                take(number, job, known)
                job = job.after(step)
        return unknown

    def _done(self, step: Step) -> set[str]:
        """The items that the step is done with."""
        done = self.store.items(step.name, step.fingerprint)
        return done | self.store.items(step.name, step.fingerprint, REJECTED)

    def _settled(self, step: Step, jobs: list[Job]) -> list[Job]:
        """The jobs that stay when all are known, under their digests from here on."""
        results = {job.source.video_id: Found(self.store, job.before)[step.name] for job in jobs}
        out = step.stage.settle(results)
        for job in jobs:
            if (error := out.get(job.source.video_id)) is not None:
                self._leave(job.source, step, Outcome(OUT, error.kind, str(error)))
        stay = [job for job in jobs if job.source.video_id not in out]
        return [Job(job.source, results[job.source.video_id]["digest"], job.before) for job in stay]

    def _leave(self, source: Source, step: Step, outcome: Outcome) -> None:
        """Note a video that goes no further; end the run where that is no fault of the video."""
        if outcome.status == END:
            raise Stop(outcome.reason)
        left = RejectedVideo(source.video_id, step.name, outcome.kind, outcome.reason)
        if outcome.status == OUT:
            self.curated.rejected.append(left)
            return
        self.curated.failed.append(left)
        self._in_a_row += not outcome.known
        if self._in_a_row == MOST_FAILURES:
            raise Stop(f"{step.name} failed for {MOST_FAILURES} videos in a row; the last: {outcome.reason}")


def _rounds(jobs: list[Job]) -> Iterator[list[Job]]:
    """The jobs in rounds: of videos of one content the first finds the result, and the others find it stored."""
    while jobs:
        first: dict[str, Job] = {}
        later = [job for job in jobs if first.setdefault(job.item, job) is not job]
        yield list(first.values())
        jobs = later


def _differences(name: str, before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Each setting of a stage that changed, in words."""
    return [
        f"{name} {key} was {before.get(key)!r} and is {now.get(key)!r}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
