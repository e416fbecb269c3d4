"""What a LLaVA checkout with the patch of `patches/` asks of this plugin, so that LLaVA's own commands know videos.

The patched LLaVA wraps three of its functions in these; each hands everything that is not the video type's to the
function it wraps. Importing this module loads neither torch nor llava.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ..media.video import VIDEO_EXTENSIONS, read_video
from ..model import plugin

MODEL_TYPE = "llava_v2xum"
OWN_FLAGS = ("--feature_folder", "--video_folder")  # arguments of training that LLaVA's own parser does not have


def register() -> ModuleType:
    """Teach LLaVA the video type (`model.plugin.register`): what the entry point `llava.plugins` calls.

    Returns:
        This module, which a LLaVA that took the patch of `patches/` asks for the functions below.
    """
    plugin.register()
    return sys.modules[__name__]


def around_load(stock: Callable) -> Callable:
    """`llava.model.builder.load_pretrained_model`, which loads a checkpoint of this plugin by its config."""

    @functools.wraps(stock)
    def load_pretrained_model(
        model_path: str,
        model_base: str | None,
        model_name: str,
        load_8bit: bool = False,
        load_4bit: bool = False,
        device_map: Any = "auto",
        device: str = "cuda",
        use_flash_attn: bool = False,
        **kwargs,
    ) -> tuple:
        if not _is_own_checkpoint(model_path):
            return stock(
                model_path, model_base, model_name, load_8bit, load_4bit, device_map, device, use_flash_attn, **kwargs
            )
        from ..model.checkpoint import load_pretrained

        tokenizer, model, encoder = load_pretrained(
            model_path, model_base, device=device, load_8bit=load_8bit, load_4bit=load_4bit
        )
        encoder.load()
        context_len = getattr(model.config, "tokenizer_model_max_length", None) or 2048  # LLaVA's default
        return tokenizer, model, FrameProcessor(encoder, model.config.timeline), context_len

    return load_pretrained_model


def around_train(stock: Callable) -> Callable:
    """`llava.train.train.train`, which trains the video type where one of `OWN_FLAGS` is given."""

    @functools.wraps(stock)
    def train(attn_implementation: str | None = None) -> None:
        if not any(argument.split("=")[0] in OWN_FLAGS for argument in sys.argv[1:]):
            return stock(attn_implementation)
        from .loop import train as train_videos

        return train_videos(attn_implementation=attn_implementation)

    return train


def around_load_image(stock: Callable) -> Callable:
    """`llava.serve.cli.load_image`, which takes a video file too."""

    @functools.wraps(stock)
    def load_image(image_file: str) -> Any:
        if Path(image_file).suffix.lower() in VIDEO_EXTENSIONS and Path(image_file).exists():
            return VideoFile(Path(image_file))
        return stock(image_file)

    return load_image


class VideoFile:
    """Stands for an image on the way from `load_image` to the image processor."""

    size = (1, 1)  # a square, which LLaVA does not pad

    def __init__(self, path: Path) -> None:
        self.path = path


class FrameProcessor:
    """The tower's image processor, which also turns a `VideoFile` into the pixels of its N frames."""

    def __init__(self, encoder, timeline) -> None:
        self._encoder = encoder
        self._timeline = timeline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder.tower.image_processor, name)

    def __call__(self, images, **kwargs) -> dict:
        """pixel_values: [B, 3, H, W] for images, [1, N, 3, H, W] for a video."""
        first = images[0] if isinstance(images, (list, tuple)) else images
        if not isinstance(first, VideoFile):
            return self._encoder.tower.image_processor(images, **kwargs)
        pixels = self._encoder.preprocess(read_video(first.path, self._timeline).frames)
        return {"pixel_values": pixels[None]}

    preprocess = __call__


def _is_own_checkpoint(model_path: str) -> bool:
    """Whether the config, in a folder or on the hub, is of this plugin's model type."""
    file = Path(model_path) / "config.json"
    if file.is_file():
        try:
            return json.loads(file.read_text()).get("model_type") == MODEL_TYPE
        except (ValueError, AttributeError):
            return False  # LLaVA says what is wrong with it
    if Path(model_path).is_dir():
        return False
    from ..features.upstream import PretrainedConfig

    try:
        return PretrainedConfig.get_config_dict(model_path)[0].get("model_type") == MODEL_TYPE
    except (OSError, ValueError):  # no such repository, or no network
        return False
