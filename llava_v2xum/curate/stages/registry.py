"""The stages of the command, in their order."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ...core.endpoint.budget import Budget
from .caption import CaptionStage
from .command_stage import CommandStage
from .extract import ExtractStage
from .filtering import FilterStage
from .refine import RefineStage
from .select import SelectStage

# the first finds each content's digest, see `rounds.Curation`
STAGES: tuple[type[CommandStage], ...] = (SelectStage, CaptionStage, ExtractStage, FilterStage, RefineStage)
NAMES = tuple(stage.name for stage in STAGES)


def stages_of(args: argparse.Namespace, budget: Budget) -> list[CommandStage]:
    """The stages up to `--until`; see `CommandStage.from_arguments`."""
    wanted = STAGES if args.until is None else STAGES[: NAMES.index(args.until) + 1]
    return [stage.from_arguments(args, budget) for stage in wanted]


def models_of(stages: Sequence[CommandStage]) -> dict[str, str]:
    """Stage -> its model, for the card."""
    return {stage.name: stage.model_name for stage in stages if stage.model_name is not None}


def prompts_of(stages: Sequence[CommandStage]) -> dict[str, str]:
    """Stage -> the hash of the prompt that is asked, for the card."""
    return {stage.name: stage.prompt.hash for stage in stages if stage.prompt is not None}


def options_of(args: argparse.Namespace, stages: Sequence[CommandStage]) -> dict[str, Any]:
    """What the results depend on beside models and prompts, for the card."""
    names = (*(name for stage in stages for name in stage.recorded), "seed")
    return {name: getattr(args, name) for name in names} | {"tasks": list(args.tasks), "splits": list(args.splits)}
