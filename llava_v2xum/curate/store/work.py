"""One stage's work on one video, stored; what every engine calls, in whatever process.

    Step (a stage and its fingerprint), Job (a video and where its earlier results are) -> Outcome
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...core.endpoint.outcomes import Failed, Stop
from ...core.endpoint.store import FAILED, REJECTED, WHOLE, Cost, Halted, Ledger, Results, StoreError
from .contents import FileLedger, digest_of
from .stage import Rejected, Source, Stage, fingerprints

logger = logging.getLogger(__name__)

DONE, OUT, LATER, END = "done", "rejected", "failed", "stop"


@dataclass(frozen=True)
class Step:
    """A stage with the fingerprint that its results are stored under."""

    stage: Stage
    fingerprint: str

    @property
    def name(self) -> str:
        return self.stage.name


@dataclass(frozen=True)
class Job:
    """A video, and where what was found about it is stored.

    Args:
        item: what its results are stored under: its content's digest, or its path before that is known.
        before: (stage, fingerprint, item) of the results of the stages before.
    """

    source: Source
    item: str
    before: tuple[tuple[str, str, str], ...] = ()

    def after(self, step: Step) -> Job:
        """The job for the stage after this one."""
        return replace(self, before=(*self.before, (step.name, step.fingerprint, self.item)))


@dataclass(frozen=True)
class Outcome:
    """What became of a video in a stage.

    Args:
        status: DONE, OUT (it falls out), LATER (not now: it is tried again by the next run) or END (nor any other).
        kind, reason: why it is not DONE.
        known: whether a run before this one came to that status; if it is LATER, whatever the reason then.
    """

    status: str
    kind: str = ""
    reason: str = ""
    known: bool = False


Outcomes = Generator[tuple[int, Job, Outcome], None, None]  # of numbered steps: see `rounds.Engine`


class Found(Mapping[str, Any]):
    """The results of a video by stage, read from the store when they are asked for."""

    def __init__(self, store: Results, places: Sequence[tuple[str, str, str]]) -> None:
        self._store, self._places = store, {stage: (fingerprint, item) for stage, fingerprint, item in places}

    def __getitem__(self, stage: str) -> Any:
        return self._store.get(stage, *self._places[stage])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def steps_of(stages: Sequence[Stage]) -> list[Step]:
    """The stages with their fingerprints."""
    return [Step(stage, fingerprint) for stage, fingerprint in zip(stages, fingerprints(stages))]


def first_job(source: Source) -> Job:
    """The job for the first stage: a file is taken to be the same while its path, size and time are.

    Raises:
        OSError: if the file is gone.
    """
    found = os.stat(source.path)
    return Job(source, f"{source.path}|{found.st_size}|{found.st_mtime_ns}")


def stored_outcome(step: Step, job: Job, store: Results) -> Outcome | None:
    """What the stage has found before, or None."""
    if store.get(step.name, step.fingerprint, job.item, WHOLE) is not None:
        return Outcome(DONE, known=True)
    out = store.get(step.name, step.fingerprint, job.item, REJECTED)
    return None if out is None else Outcome(OUT, **out, known=True)


def perform(step: Step, job: Job, store: Results) -> Outcome:
    """Do the stage's work on the video, unless it is stored, and store what it comes to."""
    try:
        known = stored_outcome(step, job, store)
        return _worked(step, job, store) if known is None else known
    except (Stop, Halted, StoreError, ImportError, MemoryError) as error:
        return Outcome(END, type(error).__name__, str(error) or "the memory does not suffice")


def _worked(step: Step, job: Job, store: Results) -> Outcome:
    """Do the stage's work, and store what it comes to."""
    place, start = (step.name, step.fingerprint, job.item), time.perf_counter()
    ledger = FileLedger(store, *place, job.source.path) if step.stage.reads_video else Ledger(store, *place)
    try:
        part, value = _found(step, job, store, ledger)
        outcome = Outcome(OUT, **value) if part == REJECTED else Outcome(DONE)
    except (Stop, Halted, StoreError, ImportError, MemoryError):
        raise
    except Exception as error:
        part, value, kind = FAILED, str(error), "failed"
        if not isinstance(error, Failed):  # a fault of the program: it must not end a run of days, nor pass unseen
            logger.exception("%s: %s: an error that nobody foresaw", job.source.path, step.name)
            kind, value = type(error).__name__, f"an error that nobody foresaw: {type(error).__name__}: {error}"
        outcome = Outcome(LATER, kind, value, known=ledger.get(FAILED) is not None)
    seconds = max(0.0, time.perf_counter() - start - ledger.spent.seconds)  # the parts bear their own
    cost = Cost() if part == FAILED else Cost(seconds=seconds)
    store.put(*place, part, value, cost)
    return outcome


def _found(step: Step, job: Job, store: Results, ledger: Ledger) -> tuple[str, Any]:
    """What is to be stored as which part."""
    if isinstance(ledger, FileLedger) and job.before and digest_of(job.source.path) != job.item:
        raise Failed("the file changed since it was selected: the next run takes it as it is then")
    try:
        found = WHOLE, step.stage.work(job.source, Found(store, job.before), ledger)
    except Rejected as error:
        found = REJECTED, {"kind": error.kind, "reason": str(error)}
    if isinstance(ledger, FileLedger):
        ledger.check()
    return found
