"""What a LLaVA checkout with the patch of `patches/` asks of this plugin, so that LLaVA's own commands know videos.

The patched LLaVA wraps three of its functions in these; each hands everything that is not the video type's to the
function it wraps. Importing this module loads neither torch nor llava.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ..core.errors import V2XumError
from ..features.llava_found import UnfitLlava
from ..features.upstream import mend_llava
from ..media.reading import Request, read
from ..media.video import VIDEO_EXTENSIONS
from ..model import plugin

logger = logging.getLogger(__name__)

MODEL_TYPE = "llava_v2xum"
OWN_FLAGS = ("--feature_folder", "--video_folder")  # arguments of training that LLaVA's own parser does not have


def register() -> ModuleType:
    """Teach LLaVA the video type (`model.plugin.register`): what the entry point `llava.plugins` calls.

    In a LLaVA that cannot take it a warning says so, and all that is not the video type's goes on as before.

    Returns:
        This module, which a LLaVA that took the patch of `patches/` asks for the functions below.
    """
    mend_llava()  # a checkout's train.py imports LLaVA's trainer before anything else of this package
    try:
        plugin.register()
    except UnfitLlava as error:
        logger.warning("the video type is off: %s", error)
    return sys.modules[__name__]


def around_load(stock: Callable) -> Callable:
    """`llava.model.builder.load_pretrained_model`, which loads a checkpoint of this plugin by its config.

    Forks differ in what it takes beside path, base and name: ours is found in it by name, and stock's is handed on as
    it came.
    """

    @functools.wraps(stock)
    def load_pretrained_model(*args, **kwargs) -> tuple:
        given = _by_name(stock, args, kwargs)
        if not _is_own_checkpoint(given.get("model_path")):
            return stock(*args, **kwargs)
        plugin.register()
        from ..model.checkpoint import load_pretrained

        tokenizer, model, encoder = load_pretrained(
            given["model_path"],
            given.get("model_base"),
            device=_device(given),
            load_8bit=bool(given.get("load_8bit")),
            load_4bit=bool(given.get("load_4bit")),
        )
        encoder.load()
        context_len = getattr(model.config, "tokenizer_model_max_length", None) or 2048  # LLaVA's default
        return tokenizer, model, FrameProcessor(encoder, model.config.timeline), context_len

    return load_pretrained_model


def around_train(stock: Callable) -> Callable:
    """`llava.train.train.train`, which trains the video type where one of `OWN_FLAGS` is given."""

    @functools.wraps(stock)
    def train(*args, **kwargs) -> None:
        if not any(argument.split("=")[0] in OWN_FLAGS for argument in sys.argv[1:]):
            return stock(*args, **kwargs)
        plugin.register()
        from .loop import train as train_videos

        return train_videos(attn_implementation=_by_name(stock, args, kwargs).get("attn_implementation"))

    return train


def around_load_image(stock: Callable) -> Callable:
    """`llava.serve.cli.load_image`, which takes a video file too."""

    @functools.wraps(stock)
    def load_image(*args, **kwargs) -> Any:
        file = next(iter(_by_name(stock, args, kwargs).values()), None)
        if isinstance(file, (str, Path)) and Path(file).suffix.lower() in VIDEO_EXTENSIONS and Path(file).exists():
            return VideoFile(Path(file))
        return stock(*args, **kwargs)

    return load_image


def _by_name(stock: Callable, args: tuple, kwargs: dict) -> dict[str, Any]:
    """The arguments of a call by the names that the function has for them, its own defaults among them."""
    signature = inspect.signature(stock)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return {}  # no call that it takes, as it says itself
    bound.apply_defaults()
    rest = next((one.name for one in signature.parameters.values() if one.kind is one.VAR_KEYWORD), "")
    more = bound.arguments.pop(rest, {})
    return {**bound.arguments, **more}


def _device(given: dict[str, Any]) -> Any:
    """The device that LLaVA's loader was asked for: its `device` where it has one, or the one that its map names."""
    placed = given.get("device_map", "auto")
    if isinstance(placed, dict):
        places = set(placed.values())
        if len(places) != 1:
            raise V2XumError(f"device_map: a checkpoint of this plugin goes to one device, got {placed}")
        placed = places.pop()
    if placed not in ("auto", "balanced", "balanced_low_0", "sequential", None):
        return placed
    return given.get("device", "auto")


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
        import torch

        request = Request(first.path, self._timeline, self._encoder.batch_size, thumbnails=False)
        return {"pixel_values": torch.cat(read(request, self._encoder.preprocess)[1])[None]}

    preprocess = __call__


def _is_own_checkpoint(model_path: Any) -> bool:
    """Whether the config, in a folder or on the hub, is of this plugin's model type."""
    if not isinstance(model_path, (str, Path)):
        return False
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
