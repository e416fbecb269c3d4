"""LLaVA's CLIP tower whose weights lie inside a checkpoint of transformers' own LLaVA."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

from .clip_tower import load_clip_tower, quiet_loading
from .hf_llava import clip_config, hf_llava_folder
from .upstream import CLIPImageProcessor, CLIPVisionModel, CLIPVisionTower, build_vision_tower


class NestedClipTower(CLIPVisionTower):
    """As LLaVA's `CLIPVisionTower`, which would look for the files of a tower alone.

    Args:
        name: a folder or hub name, by which the tower is known.
        folder: where its files are.
        args: as in LLaVA: with `mm_vision_select_layer`, and perhaps `mm_vision_select_feature`.
        delay_load: leave the weights to `load_model`.
    """

    def __init__(self, name: str, folder: Path, args, delay_load: bool = False) -> None:
        selected = getattr(args, "mm_vision_select_feature", "patch")
        args = SimpleNamespace(mm_vision_select_layer=args.mm_vision_select_layer, mm_vision_select_feature=selected)
        with quiet_loading():  # LLaVA's reads a config there, and releases before 5 warn that it is another's
            super().__init__(str(folder), args, delay_load=True)
        self.is_loaded = False
        self.vision_tower_name, self.folder, self.cfg_only = name, folder, clip_config(folder)
        if not delay_load:
            self.load_model()

    def load_model(self, device_map=None) -> None:
        """Load the weights, once.

        Raises:
            FileNotFoundError, V2XumError, OSError: naming the folder, if it lacks some, or has no image processor.
        """
        if self.is_loaded:
            return
        self.image_processor = CLIPImageProcessor.from_pretrained(self.folder)
        self.vision_tower = CLIPVisionModel(self.cfg_only).requires_grad_(False).eval()
        self.is_loaded = True
        load_clip_tower(self)


def in_checkpoint(config, name: str | None) -> str | None:
    """A tower's path: a relative one counts from the folder that the config was read from, where it leads to something.

    Args:
        config: transformers writes into `name_or_path` where `from_pretrained` found it.
    """
    folder = getattr(config, "name_or_path", None)
    if name and folder and not Path(name).is_absolute() and (Path(folder) / name).exists():
        return str(Path(folder) / name)
    return name


def build_tower(config, **kwargs):
    """LLaVA's `build_vision_tower`, which also takes a checkpoint of transformers' own LLaVA for its tower, and finds a
    tower that lies in the checkpoint's own folder."""
    name = str(getattr(config, "mm_vision_tower", None) or getattr(config, "vision_tower", None))
    inside = in_checkpoint(config, name) or name
    if inside != name:
        config, name = copy.copy(config), inside  # the config that is saved keeps the relative path
        config.mm_vision_tower = inside
    folder = hf_llava_folder(name)
    if folder is None:
        return build_vision_tower(config, **kwargs)
    return NestedClipTower(name, folder, config, **kwargs)
