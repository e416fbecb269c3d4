"""Where `training_args.bin` of earlier checkpoints has its classes; they live in `train/arguments.py`."""

from .train.arguments import DataArguments, ModelArguments, TrainingArguments

__all__ = ["DataArguments", "ModelArguments", "TrainingArguments"]
