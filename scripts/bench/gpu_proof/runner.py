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
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from gpu_proof.results import Results
from gpu_proof.rows import Row, reason
from gpu_proof.setting import Setting
from gpu_proof.steps import Step

# a fresh process for each, in which CUDA was never begun; "spawn" would be as good but for `preload`
PROCESSES = multiprocessing.get_context("forkserver")
DONE, FAILED = "done", "failed"
SECONDS_TO_END = 3  # for a process that has told all; then it is killed


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
    while waiting:
        left = ends - time.monotonic()
        share = waiting[0].seconds / sum(step.seconds for step in waiting)
        step = waiting.pop(0)
        if left <= 0:
            results.end(step.name, "left out: no time was left")
            continue
        results.begin(step.name)
        state = "cut off"  # as long as nothing else is known: an interrupt leaves it so
        try:
            state = run_step(step, setting, left * share, results.folder, results.add)
        finally:
            results.end(step.name, state)


def run_step(step: Step, setting: Setting, limit: float, folder: Path, tell: Callable[[str, Row], None]) -> str:
    """One step; its rows are told as they come, and what it prints goes to `logs/` of the folder.

    Returns:
        "done", or why there is no more.
    """
    log = folder / "logs" / f"{step.name}.log"
    log.parent.mkdir(exist_ok=True)
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=work, args=(step.work, setting, sender, str(log)))
    ends = time.monotonic() + limit
    process.start()
    sender.close()
    try:
        while receiver.poll(max(0.0, ends - time.monotonic())):
            row = receiver.recv()
            if "state" in row:
                process.join(SECONDS_TO_END)
                return row["state"]
            tell(step.name, row)
        return f"cut off after its {limit:.0f} s"
    except EOFError:
        process.join()
        return f"{FAILED}: its process ended with status {process.exitcode} ({log.name})"
    finally:
        end(process)


def end(process) -> None:
    """End a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended, or leads no group yet
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def work(name: str, setting: Setting, sender: Connection, log: str) -> None:
    """The process of a step.

    Args:
        name: `Step.work`.
    """
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with open(log, "w") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    try:
        module, _, function = name.rpartition(".")
        rows = getattr(importlib.import_module(module), function)(setting)
        gc.freeze()  # what imports have made stays: `free_memory` need not look through it after every measurement
        for row in rows:
            sender.send(row)
        sender.send({"state": DONE})
    except BaseException as error:
        traceback.print_exc()
        sender.send({"state": f"{FAILED}: {reason(error)}"})


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
