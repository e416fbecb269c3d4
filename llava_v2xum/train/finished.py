"""A finished run is known as such when its command is given again: nothing is trained and nothing written twice."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..core.atomic import replacing

FINISHED = "finished.json"  # in the output folder


class RunIsFinished(Exception):
    """All steps of the run were made before; the text says so."""


_SETTINGS = (  # of the trainer's arguments: those that decide what is trained, for how long and how
    "num_train_epochs", "max_steps", "learning_rate", "lr_scheduler_type", "weight_decay", "mm_projector_lr", "seed",
    "lora_enable", "lora_r", "lora_alpha", "bits", "tune_mm_mlp_adapter", "freeze_mm_mlp_adapter", "model_max_length",
    "weigh_by_tokens",
)  # fmt: skip


def settings_of(args, dataset) -> dict[str, Any]:
    """What a run is known by.

    Args:
        args: the trainer's.
        dataset: of an epoch, with the positions of its samples.
    """
    asked = {name: str(getattr(args, name, None)) for name in _SETTINGS}
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    lengths = zlib.crc32(json.dumps([int(one) for one in dataset.lengths]).encode())
    return {**asked, "batch": batch, "samples": len(dataset), "lengths_crc32": lengths}


def write(folder: Path, settings: dict[str, Any], steps: int, files: Iterable[str]) -> None:
    """Say that a run of these settings has made all of its steps, and published its model as these files."""
    with replacing(folder / FINISHED) as part:
        told = {**settings, "steps": steps, "files": sorted(files)}
        part.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def check(folder: Path, settings: dict[str, Any]) -> None:
    """Ask whether the folder has the finished model of a run of these settings, each file of it.

    Raises:
        RunIsFinished: if so.
    """
    try:
        found = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    steps, files = found.pop("steps", 0), found.pop("files", [])
    if found == settings and all((folder / name).is_file() for name in files):
        raise RunIsFinished(
            f"{folder}: this run is finished, all {steps} steps were made and the model is there; to train on raise "
            "--num_train_epochs, to train anew give another --output_dir"
        )
