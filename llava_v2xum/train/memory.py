"""A card that is full ends a run in advice: what to lower, and by how much, from what was measured."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from ..core.errors import V2XumError

_ROOM = 0.95  # of a card's memory, our choice: what is left over goes to pieces too small to use
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
GIB = 2**30


class OutOfMemory(V2XumError):
    """A card's memory was not enough for a pass; the text says what would be."""


@dataclass(frozen=True)
class Use:
    """Measured bytes of a card.

    Args:
        total: what it has.
        before: held before the pass: weights, gradients, optimizer.
        peak: held at most, up to the allocation that failed.
        asked: the allocation that failed.
    """

    total: int
    before: int
    peak: int
    asked: int


def advice(use: Use, rows: int, positions: int, accumulated: int, recomputes: bool) -> str:
    """What to do about it, in one line.

    Args:
        use: measured.
        rows, positions: of the pass: how many, and how long the longest is with its padding.
        accumulated: passes of a step.
        recomputes: whether `--gradient_checkpointing` is on.
    """
    needed = max(use.peak - use.before + use.asked, 1)  # at the least: the pass was not over
    room = use.total * _ROOM - use.before
    told = (
        f"out of memory: {use.total / GIB:.1f} GiB a card, {use.before / GIB:.1f} held before the pass, which took "
        f"{needed / GIB:.1f} or more for {rows} rows of up to {positions} text positions. "
    )
    fewer = min(int(rows * room / needed), rows - 1)
    if room > 0 and fewer >= 1:
        passes = -(-rows * accumulated // fewer)
        return told + (
            f"Give --per_device_train_batch_size {fewer} --gradient_accumulation_steps {passes} for the same step"
            + ("" if recomputes else ", or --gradient_checkpointing True, which keeps a layer's input alone")
        )
    ways = [] if recomputes else ["--gradient_checkpointing True"]
    ways += ["--deepspeed scripts/zero3.json or more cards, which part weights and optimizer", "zero3_offload.json"]
    ways += ["LoRA (scripts/finetune_v2xum_lora.sh)", "a smaller --model_max_length"]
    return told + "One row is too much; in this order: " + "; ".join(ways)


def asked_bytes(error: BaseException) -> int:
    """The allocation that failed, as PyTorch's error tells it; 0 if it does not."""
    found = re.search(r"Tried to allocate ([0-9.]+) (KiB|MiB|GiB)", str(error))
    return int(float(found[1]) * _UNITS[found[2]]) if found else 0


class Meter:
    """Watches a card's memory from before a pass; does nothing without a GPU."""

    def __init__(self) -> None:
        self._before = 0

    def begin(self) -> None:
        if torch.cuda.is_available():
            self._before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()

    def use(self, error: BaseException) -> Use:
        """What was measured up to an error."""
        if not torch.cuda.is_available():
            return Use(0, 0, 0, asked_bytes(error))
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        return Use(total, self._before, torch.cuda.max_memory_allocated(), asked_bytes(error))
