"""Validation while training: the loss of held-out entries by task, and an end where it falls no more."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch

from ..data.dataset import VideoDataset
from ..features.upstream import IGNORE_INDEX, TrainerCallback
from ..model.packing import ENTRY_IDS

logger = logging.getLogger(__name__)

VAL_LOSS = "val_loss"  # in the log: over all learned tokens; `val_loss_both` and so on of a task's


class Validation(TrainerCallback):
    """Validates every so many steps and after the last one.

    What was found lies in the trainer's log alone, which its checkpoints hold, so a resumed run knows it too.

    Args:
        trainer: the run's, whose `eval_dataset` is what to validate on.
        every: steps.
        patience: end the run after so many validations in a row that were not better than the best; never if 0.
    """

    def __init__(self, trainer, every: int, patience: int) -> None:
        self.trainer = trainer
        self.every = every
        self.patience = patience

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step % self.every and state.global_step < state.max_steps:
            return
        begin, should_log = time.perf_counter(), control.should_log
        found = losses_by_task(self.trainer)
        self.trainer.log({**found, "val_seconds": round(time.perf_counter() - begin, 2)})
        control.should_log = should_log  # a line in the log takes it for done, and training's own is still to come
        losses = [line[VAL_LOSS] for line in state.log_history if VAL_LOSS in line]
        since_best = len(losses) - 1 - losses.index(min(losses, key=_or_infinite))
        if self.patience and since_best >= self.patience:
            logger.warning(
                "step %d: the validation loss was not better than its best, %.4f, %d times in a row: training ends",
                state.global_step, min(losses, key=_or_infinite), since_best,
            )  # fmt: skip
            control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs) -> None:
        lines = [line for line in state.log_history if VAL_LOSS in line]
        if lines:
            best = min(lines, key=lambda line: _or_infinite(line[VAL_LOSS]))
            logger.info("the validation loss was lowest after step %d: %.4f", best["step"], best[VAL_LOSS])


def _or_infinite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf


def losses_by_task(trainer) -> dict[str, float]:
    """The mean loss of a learned token of `trainer.eval_dataset`, over all, and by task as `val_loss_TASK`."""
    dataset, model, accelerator = trainer.eval_dataset, trainer.model, trainer.accelerator
    batches = list(_batches(dataset, trainer.args.per_device_train_batch_size))
    # Under ZeRO-3 each pass gathers weights from all processes, which must make the same ones, towers' too: each makes
    # all. Elsewhere each makes its share.
    together = any(hasattr(one, "ds_id") for one in model.parameters())
    rank, world = (0, 1) if together else (accelerator.process_index, accelerator.num_processes)
    tasks = list(dict.fromkeys(task for task, _ in batches))
    sums = torch.zeros(len(tasks), 2, dtype=torch.float32, device=accelerator.device)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for task, positions in batches[rank::world]:
                batch = trainer.data_collator([dataset[position] for position in positions])
                batch.pop(ENTRY_IDS, None)
                batch = trainer._prepare_inputs(batch)
                learned = int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())
                with trainer.compute_loss_context_manager():
                    loss = model(**batch).loss.float()
                sums[tasks.index(task)] += torch.stack([loss * learned, torch.full_like(loss, learned)])
    finally:
        model.train(was_training)
    if world > 1:
        sums = accelerator.reduce(sums, "sum")
    of_task = {f"{VAL_LOSS}_{task}": (row[0] / row[1]).item() for task, row in zip(tasks, sums)}
    return {VAL_LOSS: (sums[:, 0].sum() / sums[:, 1].sum()).item(), **of_task}


def _batches(dataset: VideoDataset, size: int) -> Iterator[tuple[str, Sequence[int]]]:
    """Positions in the data set, of one task each and of like length; the same in every process."""
    of_task: dict[str, list[int]] = defaultdict(list)
    for position, entry in enumerate(dataset.entries):
        of_task[entry.tasks[0] or "other"].append(position)
    for task, positions in sorted(of_task.items()):
        positions.sort(key=lambda position: dataset.lengths[position])
        for start in range(0, len(positions), size):
            yield task, positions[start : start + size]
