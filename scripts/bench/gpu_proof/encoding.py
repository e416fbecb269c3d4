"""Frames to features by a tower of random weights in the shape of LLaVA-1.5's."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from bench_infer_inputs import write_processor
from torch import Tensor
from torch.nn.functional import interpolate

from gpu_proof.card import best_seconds, flop_limit
from gpu_proof.rows import FLOPS, Row, measured, peak_gigabytes
from gpu_proof.setting import Setting
from llava_v2xum.features import FrameEncoder
from llava_v2xum.features.encoder import pad_to_square, resize
from llava_v2xum.features.upstream import CLIPImageProcessor, CLIPVisionConfig, build_vision_tower

FRAMES = 100  # of a video
RATE = "frames a second"


def run(setting: Setting) -> Iterator[Row]:
    """Batches of several sizes, from pixels of the tower's size; then resizing, on the CPU and on the device."""
    config = CLIPVisionConfig(**dict(setting.tower))
    encoder = _encoder(config, setting)
    limit, frames = flop_limit(setting), _frames(setting)
    for batch in setting.frame_batches:
        yield measured(f"encode, batches of {batch}", _encode, encoder, batch, config, limit, setting)
    yield measured("resize on the CPU", _timed, lambda: resize(frames, encoder.tower.image_processor, "pad"))
    yield measured("resize on the device", _resize_there, frames, encoder, setting)
    yield measured("frames to features, resized on the CPU", _timed, lambda: encoder(frames).cpu())


def _encoder(config, setting: Setting) -> FrameEncoder:
    """LLaVA's tower, its weights made on the device."""
    from transformers import CLIPVisionModel

    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        write_processor(Path(folder), config.image_size)
        names = {"mm_vision_select_layer": -2, "mm_vision_select_feature": "patch"}
        tower = build_vision_tower(SimpleNamespace(mm_vision_tower=folder, **names), delay_load=True)
        tower.image_processor = CLIPImageProcessor.from_pretrained(folder)
    with torch.device(setting.device):
        tower.vision_tower = CLIPVisionModel(config).to(getattr(torch, setting.dtype)).eval().requires_grad_(False)
    tower.is_loaded = True
    return FrameEncoder(tower, "pad", {}, batch_size=setting.frame_batches[-1])


def _frames(setting: Setting) -> np.ndarray:
    """uint8 [100, H, W, 3]."""
    return np.random.default_rng(0).integers(0, 256, (FRAMES, *setting.frame_size, 3), dtype=np.uint8)


def _encode(encoder: FrameEncoder, batch: int, config, limit: float, setting: Setting) -> Row:
    """From pixels of the tower's size in memory that the device can fetch, as the package hands them on."""
    size = config.image_size
    pixels = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
    if setting.device == "cuda":
        pixels = pixels.pin_memory()
    rate = batch / best_seconds(lambda: encoder.encode(pixels), setting.device, repeats=5)
    return {RATE: rate, FLOPS: rate * frame_flops(encoder.tower, config) / limit, **peak_gigabytes(setting.device)}


def frame_flops(tower, config) -> float:
    """FLOP of a frame: two for each weight and position, and attention's two products."""
    positions = (config.image_size // config.patch_size) ** 2 + 1
    weights = sum(weight.numel() for name, weight in tower.vision_tower.named_parameters() if "embedding" not in name)
    patches = 3 * config.patch_size**2 * config.hidden_size
    attention = 4 * config.num_hidden_layers * positions**2 * config.hidden_size
    return 2 * positions * (weights + patches) + attention


def _timed(work) -> Row:
    work()
    began = time.perf_counter()
    work()
    return {RATE: FRAMES / (time.perf_counter() - began)}


def _resize_there(frames: np.ndarray, encoder: FrameEncoder, setting: Setting) -> Row:
    """What resizing on the device would take, and how far its pixels are from the CPU's."""
    processor, size = encoder.tower.image_processor, encoder.tower.config.image_size

    def there() -> Tensor:
        color = tuple(int(mean * 255) for mean in processor.image_mean)
        pixels = torch.from_numpy(pad_to_square(frames, color)).to(setting.device).permute(0, 3, 1, 2)
        resized = interpolate(pixels.float(), (size, size), mode="bicubic", antialias=True)
        return resized.round().clamp(0, 255).to(torch.uint8)

    rate = FRAMES / best_seconds(there, setting.device, repeats=3)
    here = resize(frames, processor, "pad").int()
    return {RATE: rate, "grey levels from the CPU's, mean": float((there().cpu().int() - here).abs().float().mean())}
