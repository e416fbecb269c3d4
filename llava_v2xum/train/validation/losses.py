"""The loss of held-out entries, by task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from ...data.dataset import VideoDataset
from ...features.upstream import IGNORE_INDEX
from ...model.packing import ENTRY_IDS
from .means import OTHER, Means, asked, share_of

VAL_LOSS = "val_loss"  # in the log: over all learned tokens; `val_loss_both` and so on of a task's


def losses_by_task(trainer) -> dict[str, float]:
    """The mean loss of a learned token of `trainer.eval_dataset`, over all, and by task as `val_loss_TASK`."""
    dataset, model, share = trainer.eval_dataset, trainer.model, share_of(trainer)
    batches = list(_batches(dataset, trainer.args.per_device_train_batch_size))
    means = Means([VAL_LOSS], tasks_of(dataset))
    with asked(trainer):
        for task, positions in batches[share.first :: share.processes]:
            batch = trainer.data_collator([dataset[position] for position in positions])
            batch.pop(ENTRY_IDS, None)
            batch = trainer._prepare_inputs(batch)
            learned = int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())
            means.add(VAL_LOSS, task, model(**batch).loss.item(), learned)
    return means.of_all(trainer, share)


def tasks_of(dataset: VideoDataset) -> list[str]:
    """The tasks that its entries are validated by."""
    return sorted({entry.tasks[0] or OTHER for entry in dataset.entries})


def _batches(dataset: VideoDataset, size: int) -> Iterator[tuple[str, Sequence[int]]]:
    """Positions in the data set, of one task each and of like length; the same in every process."""
    of_task: dict[str, list[int]] = defaultdict(list)
    for position, entry in enumerate(dataset.entries):
        of_task[entry.tasks[0] or OTHER].append(position)
    for task, positions in sorted(of_task.items()):
        positions.sort(key=lambda position: dataset.lengths[position])
        for start in range(0, len(positions), size):
            yield task, positions[start : start + size]
