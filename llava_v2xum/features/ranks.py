"""One process among those that `torchrun` or `deepspeed` started: each does its share of the videos on its own."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import timedelta

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

    def wait_for_all(self) -> None:
        """Return when every rank has called this.

        Launchers end all processes as soon as one exits with an error: a rank whose videos failed must not be gone
        while others still work. Without a launcher (no MASTER_ADDR) nobody does that, and nobody is waited for.
        """
        if self.world_size == 1 or "MASTER_ADDR" not in os.environ:
            return
        import torch.distributed as dist

        store, _, _ = next(dist.rendezvous("env://", timeout=_LONGEST))
        store.add("finished", 1)
        while store.add("finished", 0) < self.world_size:
            time.sleep(0.2)
        left = store.add("left", 1)
        while self.rank == 0 and left < self.world_size:  # rank 0 may be the one that serves the counters
            time.sleep(0.2)
            left = store.add("left", 0)
