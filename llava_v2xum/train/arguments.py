"""The arguments of training: LLaVA's own, under their own names, and what the video type adds (options.py)."""

from __future__ import annotations

from dataclasses import dataclass

from ..features.upstream import llava_train
from .options import DataOptions, ModelOptions, TrainingOptions


@dataclass
class ModelArguments(ModelOptions, llava_train.ModelArguments):
    """LLaVA's, and what a video becomes."""


@dataclass
class DataArguments(DataOptions, llava_train.DataArguments):
    """LLaVA's, and where the videos are."""


@dataclass
class TrainingArguments(TrainingOptions, llava_train.TrainingArguments):
    """LLaVA's, which are transformers' too, and the attention."""
