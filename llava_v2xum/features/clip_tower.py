"""LLaVA's CLIP vision tower, loaded so that no weight of it is left random."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from ..core.errors import V2XumError
from .checkpoint_files import find_folder, some
from .hf_llava import TOWER, config_in, is_hf_llava, weights_in


def load_clip_tower(tower, tuned: dict[str, Tensor] | None = None) -> None:
    """Load LLaVA's CLIP tower, every weight of it from its folder (or from `tuned`, a checkpoint that trained it).

    Releases name the same weights with and without `vision_model.`, and a release that does not know the other's
    names starts from random weights with only a warning.

    Raises:
        FileNotFoundError, V2XumError: naming the tower's folder.
    """
    folder = find_folder(tower.vision_tower_name, "the vision tower")
    stored = dict(tower_weights(folder)) if not tuned else {}
    for name, tensor in (tuned or {}).items():
        stored[tower_name(name.split(".vision_tower.vision_tower.")[-1])] = tensor
    with quiet_loading():
        try:
            if not tower.is_loaded:  # LLaVA's would print that it is
                tower.load_model()
        except (OSError, RuntimeError, ValueError) as error:
            raise V2XumError(f"{folder}: expected a CLIP vision tower, got what cannot be loaded ({error})") from error
    names = {name: tower_name(name) for name in tower.vision_tower.state_dict() if not name.endswith("position_ids")}
    missing = sorted(name for name in names.values() if name not in stored)
    if missing:
        raise V2XumError(f"{folder}: expected all weights of the CLIP vision tower, got none for {some(missing)}")
    tower.vision_tower.load_state_dict({name: stored[plain] for name, plain in names.items()}, strict=False)


def tower_name(name: str) -> str:
    """A weight's name as transformers 5 has it; 4.37 puts `vision_model.` before it."""
    return name.removeprefix("vision_model.")


def tower_weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """The vision weights, without `vision_model.`, of the folder of a tower, a whole CLIP or transformers' LLaVA."""
    is_nested = is_hf_llava(config_in(folder))
    others = ("text_model.", "text_projection", "visual_projection", "logit_scale")
    files = [*weights_in(folder, lambda name: name.startswith(TOWER) if is_nested else not name.startswith(others))]
    if not files:
        raise FileNotFoundError(
            f"{folder}: expected the vision tower's weights, model.safetensors or pytorch_model.bin"
        )
    for _, tensors in files:
        for name, tensor in tensors:
            yield tower_name(name.removeprefix(TOWER)), tensor


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """No progress bars and no load reports from transformers while it is open."""
    from .upstream import transformers_logging as hf_logging

    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()
