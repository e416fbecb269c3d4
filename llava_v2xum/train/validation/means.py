"""What all losses and scores of a validation have in common: the model is asked, and means by task are made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

OTHER = "other"  # the task of what asks for no summary


@dataclass(frozen=True)
class Share:
    """Which part of a validation's work this process does: every `processes`-th piece from `first` on."""

    first: int
    processes: int


def share_of(trainer) -> Share:
    """The share of this process.

    Under ZeRO-3 each pass gathers weights from all processes, which must make the same ones, towers' too: each makes
    all of them. The same weights and ids give the same tokens in each, so that the passes of answers agree too.
    """
    if any(hasattr(one, "ds_id") for one in trainer.model.parameters()):
        return Share(0, 1)
    return Share(trainer.accelerator.process_index, trainer.accelerator.num_processes)


@contextlib.contextmanager
def asked(trainer) -> Iterator[None]:
    """While it is open, the model is as it answers, in the precision of training; afterwards it trains on."""
    model = trainer.model
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), trainer.compute_loss_context_manager():
            yield
    finally:
        model.train(was_training)


class Means:
    """Weighted means of figures by task, over what all processes have added.

    Args:
        figures: their names.
        tasks: in every process the same.
    """

    def __init__(self, figures: Sequence[str], tasks: Sequence[str]) -> None:
        self.figures, self.tasks = figures, tasks
        self._sums = torch.zeros(len(figures), len(tasks), 2)  # of each the values' sum and the weights'

    def add(self, figure: str, task: str, value: float, weight: float = 1.0) -> None:
        """Take a value in."""
        place = self.figures.index(figure), self.tasks.index(task)
        self._sums[place] += torch.tensor([value * weight, weight])

    def of_all(self, trainer, share: Share) -> dict[str, float]:
        """The means by name, `FIGURE` over all tasks and `FIGURE_TASK`; without those that nothing was added to."""
        sums = self._sums.to(trainer.accelerator.device)
        if share.processes > 1:
            sums = trainer.accelerator.reduce(sums, "sum")
        found: dict[str, float] = {}
        for figure, of_tasks in zip(self.figures, sums.cpu()):
            rows = {figure: of_tasks.sum(dim=0)} | {f"{figure}_{task}": row for task, row in zip(self.tasks, of_tasks)}
            found |= {name: (total / weight).item() for name, (total, weight) in rows.items() if weight > 0}
        return found
