"""`--engine ray`: the stages as a Ray Data pipeline, on this machine or on a cluster.

    jobs --> select --> settled --> caption (actors with a GPU) --> extract --> filter --> refine --> the caller

A video goes on to the next stage as soon as one is done with it, so captioners and endpoints work side by side. All
processes read and write one store, which an actor beside the caller holds, with the budget of the endpoints; so what a
dead process had in hand is all that is done again, and resuming is as without Ray. Importing this module loads neither
Ray nor torch.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..core.endpoint.budget import Budget
from ..core.endpoint.outcomes import Stop
from ..core.endpoint.store import WHOLE, Cost, Store
from ..infer.ray.cluster import Layout, RaySettings, cluster, require_ray
from ..infer.ray.pipeline import LOST, Attempts, refusal, rows_through
from .store.stage import CPU, GPU, GPU_SHARE
from .store.work import DONE, LATER, Job, Outcome, Outcomes, Step, perform


class Keeper(Attempts):
    """The actor that holds the store and the budget, and counts how often a stage has begun a video."""

    def __init__(self, path: str, budget: Budget) -> None:
        super().__init__()
        self._store, self._budget = Store(path), budget

    def get(self, *place: str) -> Any:
        return self._store.get(*place)

    def put(self, stage: str, fingerprint: str, item: str, part: str, value: Any, cost: Cost) -> None:
        self._store.put(stage, fingerprint, item, part, value, cost)

    def take(self) -> str | None:
        """Count a request; why it must not be sent, or None."""
        try:
            self._budget.take()
        except Stop as stop:
            return str(stop)
        return None

    def spend(self, tokens: int) -> None:
        self._budget.spend(tokens)

    def budget(self) -> Budget:
        return self._budget


class RemoteStore:
    """A `Store` as a worker sees it: the keeper's."""

    def __init__(self, keeper) -> None:
        self._keeper = keeper

    halted = False  # the end of the run ends the workers

    def get(self, stage: str, fingerprint: str, item: str, part: str = WHOLE) -> Any:
        return _asked(self._keeper.get, stage, fingerprint, item, part)

    def put(self, stage: str, fingerprint: str, item: str, part: str, value: Any, cost: Cost) -> None:
        _asked(self._keeper.put, stage, fingerprint, item, part, value, cost)


def _asked(method, *values: Any) -> Any:
    """What a method of the keeper returns.

    Raises:
        StoreError: as the store does.
    """
    import ray

    try:
        return ray.get(method.remote(*values))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


class RemoteBudget:
    """A `Budget` as a worker sees it: the keeper's."""

    def __init__(self, keeper) -> None:
        self._keeper = keeper

    def take(self) -> None:
        if (refusal := _asked(self._keeper.take)) is not None:
            raise Stop(refusal)

    def spend(self, tokens: int) -> None:
        _asked(self._keeper.spend, tokens)


class Worker:
    """A step in a process of Ray's: a row in, the same row with one more outcome out.

    A row holds a job and the outcomes so far, pickled, so that Ray has nothing to convert; no exception leaves it.
    """

    def __init__(self, step: Step, keeper, threads: int | None) -> None:
        self.step, self.keeper, self.store = step, keeper, RemoteStore(keeper)
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        job, outcomes = pickle.loads(row["state"])
        if not outcomes or outcomes[-1].status == DONE:
            outcome = self._outcome(job)
            outcomes = [*outcomes, outcome]
            job = job.after(self.step) if outcome.status == DONE else job
        return {"state": pickle.dumps((job, outcomes))}

    def _outcome(self, job: Job) -> Outcome:
        if (reason := refusal(self.keeper, self.step.name, job.item)) is not None:
            return Outcome(LATER, "failed", reason)
        return perform(self.step, job, self.store)


class RayEngine:
    """Gets stages done by Ray; see `rounds.Engine`.

    Args:
        settings: of the cluster; its actors are the captioners.
        device: "auto", "cpu" or "cuda", of the captioners.
        budget: that of the stages' endpoints; they share it while Ray runs.

    Raises:
        MissingExtra: if Ray is not installed.
    """

    def __init__(
        self,
        settings: RaySettings = RaySettings(),  # noqa: B008 (frozen)
        device: str = "auto",
        budget: Budget | None = None,
    ) -> None:
        self.ray = require_ray()
        self.settings, self.device, self.budget = settings, device, budget or Budget()

    def run(self, steps: Sequence[Step], jobs: Sequence[Job], store: Store) -> Outcomes:
        if not jobs:
            return
        with cluster(self.ray, self.settings) as resources:
            layout = Layout.of(self.settings, resources, self.device, len(jobs))
            keeper = self._keeper(store.path)
            self.budget.shared = RemoteBudget(keeper)
            try:
                yield from self._outcomes(steps, jobs, keeper, layout)
            finally:
                spent = self.ray.get(keeper.budget.remote())
                self.budget.shared, self.budget.requests, self.budget.tokens = None, spent.requests, spent.tokens

    def _outcomes(
        self, steps: Sequence[Step], jobs: Sequence[Job], keeper, layout: Layout
    ) -> Iterator[tuple[int, Job, Outcome]]:
        waiting = {job.source.video_id: job for job in jobs}
        for row in self._rows(steps, jobs, keeper, layout):
            job, outcomes = pickle.loads(row["state"])
            begun = waiting.pop(job.source.video_id)
            for number, outcome in enumerate(outcomes):
                yield number, begun, outcome
                begun = begun.after(steps[number])
        for job in waiting.values():
            yield 0, job, Outcome(LATER, "failed", LOST)

    def _keeper(self, path: Path):
        """The keeper, on this machine, where the file is."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self.ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
        return self.ray.remote(**options)(Keeper).remote(os.path.abspath(path), self.budget)

    def _rows(self, steps: Sequence[Step], jobs: Sequence[Job], keeper, layout: Layout) -> Iterator[dict]:
        """The row of each video as it comes out of the last step; one that Ray gives up does not come."""
        from ray.data import ActorPoolStrategy

        def through(rows: Any) -> Any:
            for step in steps:
                size, resources = _share(step.stage.needs, layout, len(jobs))
                workers = step.stage.workers
                rows = rows.map(
                    Worker,
                    fn_constructor_kwargs={"step": step, "keeper": keeper, "threads": layout.threads},
                    compute=ActorPoolStrategy(
                        size=size,
                        max_concurrent_calls_per_actor=workers,
                        max_tasks_in_flight_per_actor=workers + 2,
                        enable_true_multi_threading=workers > 1,
                    ),
                    **resources,
                )
            return rows

        return rows_through(self.ray, [{"state": pickle.dumps((job, []))} for job in jobs], through)


def _share(needs: str, layout: Layout, videos: int) -> tuple[int, dict[str, float]]:
    """How many processes a stage gets, and what each holds of the cluster.

    Selecting runs alone and takes all CPUs; captioners take the GPUs, the filter's encoder a share beside them; what
    waits for endpoints takes nothing that Ray counts.

    Args:
        needs: see `Stage`.
    """
    if needs == CPU:
        return min(layout.readers, videos), {"num_cpus": 1}
    if needs == GPU:
        return layout.actors, layout.resources_of_actors
    return 1, layout.resources_of_encoders if needs == GPU_SHARE else {"num_cpus": 0}
