"""A stage as the command has it: its flags, how it is made of them, and what the card tells of it.

A new stage is a file with a `CommandStage`, and a line in `stages.registry.STAGES`, which is the order of the stages.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, ClassVar

from ...core.endpoint.budget import Budget
from ..store.stage import Stage
from .prompts import Prompt


class CommandStage(Stage):
    """A stage that the command knows.

    Attributes:
        does: what becomes of a video, for `--help`; `name` is what results, progress, `--until` and the card call it.
        recorded: names of the arguments that the card tells, because results depend on them; no address, no path.
        model_name: of the model, for the card; None where there is none. Cards go to other people, so of a folder or a
            file it is the name alone.
        prompt: what the model is asked; None where nobody is.
    """

    does: ClassVar[str] = ""
    recorded: tuple[str, ...] = ()
    model_name: str | None = None
    prompt: Prompt | None = None

    @classmethod
    def add_options(cls, add: Callable[..., Any]) -> None:
        """Add the stage's flags to its group in `--help`; `add` is argparse's `add_argument`."""

    @classmethod
    def problem(cls, args: argparse.Namespace) -> str | None:
        """What is wrong with the flags beside each other, or None; each by itself is checked by its type."""

    @classmethod
    def from_arguments(cls, args: argparse.Namespace, budget: Budget) -> CommandStage:
        """The stage that the arguments ask for; nothing is loaded and nobody is called yet.

        Args:
            budget: of all endpoints.

        Raises:
            V2XumError: naming the file or the option, if a prompt or a model's name cannot be used.
            OSError: if a file cannot be read.
        """
        return cls()


def device_of(args: argparse.Namespace) -> str | None:
    """`--device`, for what takes None as its own choice."""
    return None if args.device == "auto" else args.device
