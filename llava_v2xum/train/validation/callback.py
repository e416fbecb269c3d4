"""What happens in a run because of its validation: figures in the log, and an end where they get no better."""

from __future__ import annotations

import logging
import math
import time

from ...features.upstream import TrainerCallback
from .answers import AnswerValidation
from .losses import VAL_LOSS, losses_by_task

logger = logging.getLogger(__name__)


class Validation(TrainerCallback):
    """Validates every `--val_steps` steps and after the last one.

    What was found lies in the trainer's log alone, which its checkpoints hold, so a resumed run knows it too.

    Args:
        trainer: the run's, whose `eval_dataset` is what to validate on, and whose arguments say how.

    Raises:
        UsageError: as `AnswerValidation`.
    """

    def __init__(self, trainer) -> None:
        asked = vars(trainer.args)
        self.trainer = trainer
        self.every = max(1, asked["val_steps"])
        self.patience = asked["val_patience"]
        self.answers = AnswerValidation(trainer, asked["val_answers"]) if asked["val_answers"] > 0 else None

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step % self.every and state.global_step < state.max_steps:
            return
        begin, should_log = time.perf_counter(), control.should_log
        found = losses_by_task(self.trainer)
        seconds = {"val_seconds": time.perf_counter() - begin}
        if self.answers is not None:
            begin = time.perf_counter()
            found |= self.answers.scores_by_task()
            seconds["val_answer_seconds"] = time.perf_counter() - begin
        self.trainer.log({**found, **{name: round(value, 2) for name, value in seconds.items()}})
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
