"""Steps one after the other, each in a process of its own with a time limit."""

from __future__ import annotations

import contextlib
import gc
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from gpu_proof.results import Results
from gpu_proof.rows import reason
from gpu_proof.setting import Setting
from gpu_proof.steps import Step

# a fresh process for each, in which CUDA was never begun; "spawn" would be as good but for `preload`
PROCESSES = multiprocessing.get_context("forkserver")
DONE, FAILED = "done", "failed"
SECONDS_TO_END = 3  # for a process that has told all; then it is killed


@dataclass(frozen=True)
class Begun:
    """A step whose process imports what it needs, and then waits for its turn."""

    step: Step
    process: BaseProcess
    pipe: Connection
    log: Path


def run_steps(
    steps: Sequence[Step], setting: Setting, seconds: float, results: Results, missing: Sequence[str]
) -> None:
    """All steps, in so many seconds; what a step leaves of its share is the others'.

    Args:
        missing: modules that are not here; steps that need them are left out.
    """
    ends = time.monotonic() + seconds
    waiting = [step for step in steps if not set(step.needs) & set(missing)]
    for step in steps:
        if step not in waiting:
            results.end(step.name, f"left out: needs {', '.join(sorted(set(step.needs) & set(missing)))}")
    following = begin(waiting[0], setting, results.folder) if waiting else None
    try:
        while following is not None:
            left = ends - time.monotonic()
            if left <= 0:
                for step in waiting:
                    results.end(step.name, "left out: no time was left")
                return
            share = waiting[0].seconds / sum(step.seconds for step in waiting)
            begun = following
            waiting = waiting[1:]
            following = begin(waiting[0], setting, results.folder) if waiting else None  # imports beside this one
            run_step(begun, left * share, results)
    finally:
        if following is not None:
            end(following)


def begin(step: Step, setting: Setting, folder: Path) -> Begun:
    """Start a step's process; what it prints goes to `logs/` of the folder."""
    log = folder / "logs" / f"{step.name}.log"
    log.parent.mkdir(exist_ok=True)
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=work, args=(step.work, setting, there, str(log)))
    process.start()
    there.close()
    return Begun(step, process, here, log)


def run_step(begun: Begun, limit: float, results: Results) -> None:
    """Give a step its turn; its rows are written as they come, and how it ended."""
    name, state = begun.step.name, "cut off"  # as long as nothing else is known: an interrupt leaves it so
    results.begin(name)
    try:
        state = _listen(begun, limit, results)
    finally:
        end(begun)
        results.end(name, state)


def _listen(begun: Begun, limit: float, results: Results) -> str:
    ends = time.monotonic() + limit
    try:
        begun.pipe.send("go")
        while begun.pipe.poll(max(0.0, ends - time.monotonic())):
            row = begun.pipe.recv()
            if "state" in row:
                begun.process.join(SECONDS_TO_END)
                return row["state"]
            results.add(begun.step.name, row)
        return f"cut off after its {limit:.0f} s"
    except (EOFError, ConnectionError):
        begun.process.join(SECONDS_TO_END)
        return f"{FAILED}: its process ended with status {begun.process.exitcode} ({begun.log.name})"


def end(begun: Begun) -> None:
    """End a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended, or leads no group yet
        os.killpg(begun.process.pid, signal.SIGKILL)
    begun.process.kill()
    begun.process.join()
    begun.pipe.close()


def work(name: str, setting: Setting, pipe: Connection, log: str) -> None:
    """The process of a step.

    Args:
        name: `Step.work`.
    """
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with open(log, "w") as file:
        for output in (sys.stdout, sys.stderr):
            output.flush()
            os.dup2(file.fileno(), output.fileno())
    try:
        module, _, function = name.rpartition(".")
        make = getattr(importlib.import_module(module), function)
        gc.freeze()  # what imports have made stays: `free_memory` need not look through it after every measurement
        pipe.recv()
        for row in make(setting):
            pipe.send(row)
        pipe.send({"state": DONE})
    except BaseException as error:
        traceback.print_exc()
        pipe.send({"state": f"{FAILED}: {reason(error)}"})


def _end_with_parent() -> None:
    """A process whose parent is killed would hold the card for nothing."""
    multiprocessing.parent_process().join()
    os.killpg(0, signal.SIGKILL)


def preload(modules: Sequence[str]) -> None:
    """Import modules once for all steps; those that are not here are passed over.

    For the CPU alone: imports may begin CUDA, and a process that has begun it must not be forked.
    """
    PROCESSES.set_forkserver_preload(list(modules))
    first = PROCESSES.Process(target=int)  # does nothing; imports are over when it is, and are in no step's time
    first.start()
    first.join()
