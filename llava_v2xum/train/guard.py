"""What stands between a run and a broken model: steps that are not finite are told and end it, weights are looked at.

A step whose loss or gradient is not finite is not learnt from: DeepSpeed leaves it out itself, elsewhere its gradients
are dropped before the optimizer sees them. So one damaged entry costs the steps that it is in, and a run that has gone
off stops after a few.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.checks import first_few
from ..core.errors import V2XumError
from ..features.upstream import TrainerCallback
from ..model.packing import ENTRY_IDS

logger = logging.getLogger(__name__)


class BrokenRun(V2XumError):
    """A run that must not be gone on with or published."""


class NamedBatches:
    """A collator whose batches also hold the ids of their entries.

    Args:
        collator: the data set's.
    """

    def __init__(self, collator) -> None:
        self.collator = collator

    def __call__(self, samples: Sequence[dict]) -> dict:
        ids = [one for sample in samples for one in sample.get(ENTRY_IDS, ())]
        return {**self.collator(samples), ENTRY_IDS: ids}


class StepGuard(TrainerCallback):
    """Counts the steps that are not finite, tells of each with its entries, and stops a run after some in a row.

    All processes come to the same end of each step together.

    Args:
        trainer: the run's.
        most: how many such steps in a row end the run.

    Attributes:
        steps: made by this process.
        lost: of those, how many were not finite.
        lost_since_log: the same, since the log was last written.
    """

    def __init__(self, trainer, most: int) -> None:
        self.trainer = trainer
        self.most = most
        self.steps = self.lost = self.lost_since_log = 0
        self._in_a_row = 0
        self._batches: list[tuple[list[str], float]] = []  # of this step: not finite, with their loss
        self._last: list[str] = []  # the entries of the last batch
        self._gradient_lost = False
        self._highest_rate = 0.0
        self._before: list[int] | None = None

    def saw(self, entry_ids: Iterable[str], loss: Tensor) -> None:
        """A batch has been learnt from, forward and backward."""
        value, self._last = float(loss), list(entry_ids)
        if not math.isfinite(value):
            self._batches.append((self._last, value))

    def watch(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep gradients that are not finite from an optimizer; not for DeepSpeed's, which does so itself."""
        optimizer.register_step_pre_hook(self._before_step)

    def _before_step(self, optimizer, args, kwargs) -> None:
        parameters = [one for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
        finite = all(bool(torch.isfinite(one.grad).all()) for one in parameters)
        if self._any(bool(self._batches) or not finite):
            self._gradient_lost = True
            for one in parameters:
                one.grad = None

    def _any(self, here: bool) -> bool:
        """Whether it is so in any process; all of them ask together."""
        accelerator = self.trainer.accelerator
        flag = torch.tensor([int(here)], device=accelerator.device)
        return bool(accelerator.gather(flag).max())

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        fresh = state.global_step == 0  # a resumed run may have no more than its last, smallest step to make
        self._before = fingerprints(self.trainer.model) if fresh else None

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        optimizer = self.trainer.optimizer
        self._highest_rate = max([self._highest_rate, *(float(group["lr"]) for group in optimizer.param_groups)])

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Tell of the step if it was not finite.

        Raises:
            BrokenRun: if it is the last of too many.
        """
        self.steps += 1
        norm, skipped = self._of_deepspeed()
        bad = bool(self._batches) or self._gradient_lost or skipped
        if not self._any(bad):
            self._in_a_row = 0
            self._batches, self._gradient_lost = [], False
            return
        self.lost += 1
        self.lost_since_log += 1
        self._in_a_row += 1
        told = self._told(state.global_step, norm)
        self._batches, self._gradient_lost = [], False
        if self._in_a_row < self.most:
            logger.warning("%s; not learnt from", told)
            return
        raise BrokenRun(
            f"{self._in_a_row} steps in a row were not finite; {told}, learning rate {self._highest_rate:g} at most. "
            "Nothing is published, and older checkpoints stay. Where it is always the same entries, look at their "
            "features (--check full), else lower --learning_rate"
        )

    def _of_deepspeed(self) -> tuple[float | None, bool]:
        """The norm of DeepSpeed's gradient, and whether it left the step out for one that is not finite.

        In float16 it also leaves out the steps by which it finds its scale, which are no fault.
        """
        trainer = self.trainer
        if not trainer.is_deepspeed_enabled:
            return None, False
        norm = trainer.model_wrapped.get_global_grad_norm()
        norm = None if norm is None else float(norm)
        is_broken = norm is not None and not math.isfinite(norm)
        return norm, (is_broken or not trainer.model_wrapped.was_step_applied()) and not trainer.args.fp16

    def _told(self, step: int, norm: float | None) -> str:
        """What was not finite in a step, of all processes."""
        named: list[tuple[list[str], float]] = self._gathered(self._batches)
        if not named:
            what = "the gradient" if norm is None else f"the gradient's norm {norm}"
            return f"step {step}: {what} was not finite, with {first_few(self._gathered(self._last))} in it"
        ids = list(dict.fromkeys(one for entry_ids, _ in named for one in entry_ids))
        return f"step {step}: the loss was {named[0][1]} with the entries {first_few(ids)} ({len(ids)})"

    def _gathered(self, of_here: list) -> list:
        """A list of each process, joined."""
        if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
            return of_here
        parts: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, of_here)
        return [one for part in parts for one in part]

    def check_moved(self) -> None:
        """What is asked before a model is published.

        Raises:
            BrokenRun: if steps were made and no weight has changed, though some had a learning rate.
        """
        if not self.steps or self._before is None:
            return
        if self._any(fingerprints(self.trainer.model) != self._before):
            if self.lost:
                logger.warning("%d of %d steps were not finite, and are not in the model", self.lost, self.steps)
            return
        if self._highest_rate > 0:
            raise BrokenRun(
                f"nothing moved in {self.steps} steps ({self.lost} were not finite; learning rate "
                f"{self._highest_rate:g} at most): the model is the one that training started from, and is not "
                "published"
            )
        logger.warning("nothing was learnt: the learning rate was 0 in all of the %d steps", self.steps)

    def check_finite(self, what: str) -> None:
        """What is asked before weights are written.

        Args:
            what: the weights are, for the error.

        Raises:
            BrokenRun: naming some of those that are not finite.
        """
        found = [name for name, value in local_weights(self.trainer.model) if not _is_finite(value)]
        if self._any(bool(found)):
            names = list(dict.fromkeys(self._gathered(found)))
            raise BrokenRun(
                f"{what}: {len(names)} of its weights are NaN or infinite ({first_few(names)}): it is not written"
            )


def local_weights(model: nn.Module, trained: bool = False) -> Iterable[tuple[str, Tensor]]:
    """The weights, or with `trained` those that are trained, as far as this process has them: ZeRO-3 parts them."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or not trained:
            yield name, getattr(parameter, "ds_tensor", parameter).detach()


def fingerprints(model: nn.Module) -> list[int]:
    """A number for each trained weight, of all its bits: equal where nothing has changed."""
    return [
        int(value.contiguous().reshape(-1).view(torch.uint8).sum(dtype=torch.int64))
        for _, value in local_weights(model, trained=True)
    ]


def _is_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())
