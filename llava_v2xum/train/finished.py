"""A finished run is known as such when its command is given again: nothing is trained and nothing written twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..core.atomic import replacing

FINISHED = "finished.json"  # in the output folder


class RunIsFinished(Exception):
    """All steps of the run were made before; the text says so."""


def settings_of(args, samples: int) -> dict[str, Any]:
    """What decides how many steps a run has, and of what.

    Args:
        args: the trainer's.
        samples: of an epoch.
    """
    return {
        "samples": samples,
        "epochs": args.num_train_epochs,
        "max_steps": args.max_steps,
        "batch": args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size,
        "learning_rate": args.learning_rate,
        "seed": args.seed,
    }


def write(folder: Path, settings: dict[str, Any], steps: int) -> None:
    """Say that a run of these settings has made all of its steps, and published its model."""
    with replacing(folder / FINISHED) as part:
        part.write_text(json.dumps({**settings, "steps": steps}, indent=1) + "\n", encoding="utf-8")


def check(folder: Path, settings: dict[str, Any]) -> None:
    """Ask whether the folder has the finished model of a run of these settings.

    Raises:
        RunIsFinished: if so.
    """
    try:
        found = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    steps = found.pop("steps", 0)
    if found == settings:
        raise RunIsFinished(
            f"{folder}: this run is finished, all {steps} steps were made and the model is there; to train on raise "
            "--num_train_epochs, to train anew give another --output_dir"
        )
