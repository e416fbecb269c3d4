"""One process among those that `torchrun` or `deepspeed` started: each does its share of the videos on its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

MOST_WORKERS = 16  # our choice: as many processes decode faster than one GPU encodes
_LONGEST = timedelta(days=30)  # our choice: some rank may have this much more to do than another


@dataclass(frozen=True)
class Rank:
    """This process's place, as launchers tell it by the environment.

    Args:
        rank: 0 to world_size - 1.
        world_size: all processes, on all machines.
        local_rank: the place among the processes on this machine.
        local_world_size: how many those are.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @classmethod
    def from_environment(cls) -> Rank:
        """The place that RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE (deepspeed: LOCAL_SIZE) tell; or alone."""
        world = int(os.environ.get("WORLD_SIZE", 1))
        here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("LOCAL_SIZE", world)))
        return cls(int(os.environ.get("RANK", 0)), world, int(os.environ.get("LOCAL_RANK", 0)), here)

    @property
    def name(self) -> str:
        """How its messages begin; nothing if it is alone."""
        return f"rank {self.rank}: " if self.world_size > 1 else ""

    @property
    def has_launcher(self) -> bool:
        """Whether the ranks can wait for each other: a launcher has told them where to meet."""
        return self.world_size > 1 and "MASTER_ADDR" in os.environ

    def default_workers(self) -> int:
        """Processes that read videos for this one: one for each core, shared among this machine's ranks."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(MOST_WORKERS, cores // self.local_world_size))

    def device(self, name: str) -> str:
        """The device that "auto" or "cuda" means to this rank: a GPU of its own, the CPU where "auto" finds none."""
        import torch

        if name not in ("auto", "cuda"):
            return name
        if not torch.cuda.is_available():
            return "cpu" if name == "auto" else name
        # a scheduler may show each process one GPU only
        return f"cuda:{self.local_rank % torch.cuda.device_count()}"

    def wait_for_all(self, first: Callable[[], None] | None = None) -> None:
        """Return when every rank has called this.

        Launchers end all processes as soon as one exits with an error: a rank whose videos failed must not be gone
        while others still work. Without a launcher (no MASTER_ADDR) nobody does that, and nobody is waited for.

        Args:
            first: called by rank 0 when all have come, and before any goes; without a launcher it is not called.
        """
        if not self.has_launcher:
            return
        import torch.distributed as dist

        store, _, _ = next(dist.rendezvous("env://", timeout=_LONGEST))
        store.add("finished", 1)
        while store.add("finished", 0) < self.world_size:
            time.sleep(0.2)
        if self.rank == 0:
            if first is not None:
                first()
            store.add("dismissed", 1)
        while not store.add("dismissed", 0):
            time.sleep(0.2)
        left = store.add("left", 1)
        while self.rank == 0 and left < self.world_size:  # rank 0 may be the one that serves the counters
            time.sleep(0.2)
            left = store.add("left", 0)
