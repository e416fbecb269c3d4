"""What every Ray Data pipeline here has in common: its rows as they come, and an end to what ends its processes.

Importing this module loads neither Ray nor torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

MAX_ATTEMPTS = 3  # our choice: a machine may fail beneath a video, hardly three times
LOST = "Ray could not bring it through the stages (its log tells why)"


class Attempts:
    """An actor, or part of one, that outlives the stages' processes, and counts what they have begun."""

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, str], int] = {}

    def begin(self, stage: str, item: str) -> int:
        """How often that stage has begun the video in this run, this time included."""
        count = self._attempts[stage, item] = self._attempts.get((stage, item), 0) + 1
        return count

    def begun_again(self) -> int:
        """How often a stage has begun a video that it had begun before."""
        return sum(self._attempts.values()) - len(self._attempts)


def refusal(attempts: Any, stage: str, item: str) -> str | None:
    """Why a stage must not begin the video, which keeps ending its processes; None where it may, and that is counted.

    Ray by itself would try it for ever.

    Args:
        attempts: a handle of the actor.
    """
    import ray

    if ray.get(attempts.begin.remote(stage, item)) > MAX_ATTEMPTS:
        return f"the process that was to {stage} it was ended {MAX_ATTEMPTS} times"
    return None


def rows_through(ray: Any, items: Sequence[dict], stages: Callable[[Any], Any]) -> Iterator[dict]:
    """Rows as they come out of the last stage; one that Ray gives up does not come.

    Args:
        items: the rows that go in, each of which goes its own way.
        stages: a Ray data set -> the same with the stages behind it.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1  # one lost video must not end the run
    rows = stages(ray.data.from_items(items, override_num_blocks=len(items)))
    for table in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from table.to_pylist()
