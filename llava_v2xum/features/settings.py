"""The tower that features are made with: named on its own, or as a checkpoint's files say, without its decoder."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import SimpleNamespace

import torch

from ..core.errors import V2XumError
from ..core.sampling import FrameSampling
from .description import describe
from .encoder import FrameEncoder
from .kinds import CLIP_EMBEDDING, DEFAULT_SELECT_LAYER, DEFAULT_TOWER, FrameFeature

logger = logging.getLogger(__name__)


def encoder_of_tower(
    vision_tower: str = DEFAULT_TOWER,
    feature: FrameFeature = FrameFeature(),  # noqa: B008 (frozen)
    sampling: FrameSampling = FrameSampling(),  # noqa: B008 (frozen)
    select_layer: int = DEFAULT_SELECT_LAYER,
    aspect_ratio: str = "pad",
) -> FrameEncoder:
    """The encoder that a model with these settings has; its tower is loaded, on the CPU.

    Args:
        vision_tower: a CLIP's folder or hub name; for "clip_embedding" also OpenAI's file `ViT-L-14.pt`.
        sampling: which frames stand for a video, for the description.

    Raises:
        FileNotFoundError, V2XumError: naming the tower, if it is not there, not whole, or cannot give the feature.
    """
    fields = {"mm_vision_tower": vision_tower, "mm_vision_select_layer": select_layer}
    return _encoder(fields, feature, sampling, aspect_ratio, tuned={})


def encoder_of_checkpoint(model_path: str | os.PathLike, vision_tower: str | None = None) -> FrameEncoder:
    """The encoder that the checkpoint's model has (`load_pretrained`); of its weights only the tower's are read.

    Args:
        model_path: a folder or hub name of any layout that `load_pretrained` takes.
        vision_tower: in place of the tower that the config names.

    Raises:
        FileNotFoundError, V2XumError: naming the file, as `load_pretrained`.
    """
    from .checkpoint_files import CONFIG
    from .checkpoint_layouts import Layout, find_tower, trained_its_tower

    folder = _folder_of(model_path)
    config = _config_in(folder)
    feature = FrameFeature.of_config(config)
    tower = vision_tower or config.get(feature.tower_key)
    if tower is not None:
        layout = Layout(folder, config, folder / CONFIG, folder, None, (), vision_tower)
        tower = find_tower(str(tower), layout)
    elif not feature.has_own_tower:
        raise V2XumError(f"{folder / CONFIG}: expected mm_vision_tower, the CLIP tower's folder or hub name, got none")
    # loaded below, and only there
    fields = {**config, "mm_vision_tower": tower, "unfreeze_mm_vision_tower": False, "mm_tunable_parts": ""}
    tuned = _tuned_tower(folder) if trained_its_tower(config) else {}
    encoder = _encoder(fields, feature, FrameSampling.of_fields(config), config.get("image_aspect_ratio"), tuned)
    expected = config.get("mm_hidden_size", encoder.tower.hidden_size)
    if encoder.tower.hidden_size != expected:
        raise V2XumError(
            f"{tower}: expected a tower whose features are {expected} wide, as {folder / CONFIG} has it, "
            f"got {encoder.tower.hidden_size}"
        )
    return encoder


def _encoder(
    fields: dict, feature: FrameFeature, sampling: FrameSampling, aspect_ratio: str | None, tuned
) -> FrameEncoder:
    """The encoder of a model whose config has these fields."""
    name = fields["mm_vision_tower"]
    if feature.has_own_tower:
        tower = feature.tower(name)
        tower.load_model()
    else:
        from .checkpoint_files import find_folder
        from .clip_tower import load_clip_tower, quiet_loading
        from .nested_tower import build_tower

        find_folder(name, "the vision tower")  # where it is missing, this names it
        with quiet_loading():
            try:
                tower = build_tower(SimpleNamespace(**fields), delay_load=True)
            except (OSError, ValueError, AttributeError) as error:
                raise V2XumError(f"{name}: expected a CLIP vision tower ({error})") from error
        load_clip_tower(tower, tuned)
    tower.requires_grad_(False).eval()
    description = describe(
        feature,
        name,
        fields.get("mm_vision_select_layer"),
        aspect_ratio,
        sampling,
        tower.hidden_size,
        tower,
    )
    return FrameEncoder(tower, aspect_ratio, description, feature)


def _folder_of(model_path: str | os.PathLike) -> Path:
    """The folder with the checkpoint's config; of a hub repository only what says and holds the tower is fetched."""
    from .checkpoint_files import ADAPTER_CONFIG, CONFIG, find_folder
    from .hf_llava import config_in, is_hf_llava

    path = Path(model_path).expanduser()
    if not path.exists() and "/" in str(model_path):
        fetched = _fetch_small_files(str(model_path))
        path = fetched if fetched is not None and not is_hf_llava(config_in(fetched)) else path
    folder = find_folder(path, "model_path")
    if (folder / CONFIG).is_file() or (folder / ADAPTER_CONFIG).is_file():
        return folder
    adapters = sorted(file.parent for file in folder.glob(f"*/{ADAPTER_CONFIG}"))
    if len(adapters) != 1:
        names = ", ".join(adapter.name for adapter in adapters) or "none"
        raise V2XumError(f"{folder}: expected {CONFIG}, or one folder of a released V2Xum-LLM's stage 2, got {names}")
    return adapters[0]


def _fetch_small_files(name: str) -> Path | None:
    """A hub repository without its decoder, or None if there is none of that name."""
    from .hub import fetch

    try:
        return fetch(name, ["*.json", "vision_tower/*", "clip/*.pt"])
    except FileNotFoundError as error:  # `find_folder` says so
        logger.debug("%s: %s", name, error)
        return None


def _config_in(folder: Path) -> dict:
    """The config's fields; of a released stage 2 what its model is known to have."""
    from .checkpoint_files import ADAPTER_CONFIG, CONFIG
    from .checkpoint_layouts import LLAVA, OURS, RELEASED_CLIP
    from .hf_llava import config_in, is_hf_llava, llava_fields

    config = config_in(folder)
    if is_hf_llava(config):
        return llava_fields(config, folder)
    if config.get("model_type") in (OURS, *LLAVA):
        return config
    if not (folder / ADAPTER_CONFIG).is_file():
        raise V2XumError(
            f"{folder / CONFIG}: expected model_type {OURS}, {' or '.join(LLAVA)}, got {config.get('model_type')!r}"
        )
    clip = folder.parent / RELEASED_CLIP
    return {"frame_feature": CLIP_EMBEDDING, "frame_tower": str(clip) if clip.is_file() else None}


def _tuned_tower(folder: Path) -> dict[str, torch.Tensor]:
    """The tower's weights of a checkpoint that was trained together with it."""
    from .checkpoint_files import read_tensors, weight_files

    files = weight_files(folder)
    if not files:
        raise FileNotFoundError(f"{folder}: its config says that it trained its tower; expected weights here, got none")
    return {name: tensor for file in files for name, tensor in read_tensors(file) if ".vision_tower." in name}
