"""Frames of a video -> their features.

Shapes: T frames, m visual tokens of a frame, C feature width, H and W pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .kinds import FrameFeature


class FrameEncoder:
    """Frames of a video -> their features, with the tower that the model was trained on.

    Args:
        tower: LLaVA's `CLIPVisionTower` or one of `towers.py`; loaded at first use.
        aspect_ratio: "pad" pads frames to a square with the mean colour, as LLaVA-1.5 does with images; anything
            else leaves the processor's centre crop.
        description: what the features are, recorded beside stored features.
        feature: the kind of feature.
        batch_size: frames in one pass of the tower.
    """

    def __init__(
        self,
        tower,
        aspect_ratio: str | None,
        description: dict,
        feature: FrameFeature = FrameFeature(),  # noqa: B008 (frozen)
        batch_size: int = 32,
    ) -> None:
        self.tower = tower
        self.aspect_ratio = aspect_ratio
        self.description = description
        self.feature = feature
        self.batch_size = batch_size
        self._device: torch.device | None = None
        self._dtype: torch.dtype | None = None

    def to(self, device: torch.device | str, dtype: torch.dtype) -> FrameEncoder:
        """Where and in which dtype the tower is to run."""
        self._device, self._dtype = torch.device(device), dtype
        if self.tower.is_loaded:
            self.tower.to(device=self._device, dtype=self._dtype)
        return self

    def load(self) -> None:
        """Load the tower now rather than at first use."""
        if not self.tower.is_loaded:
            self.tower.load_model()
            if self._device is not None:
                self.tower.to(device=self._device, dtype=self._dtype)

    def preprocess(self, frames: np.ndarray) -> Tensor:
        """uint8 [T, H, W, 3] -> the tower's pixels, float32 [T, 3, h, w]."""
        self.load()
        processor = self.tower.image_processor
        return normalize(resize(frames, processor, self.aspect_ratio), processor)

    @torch.no_grad()
    def encode(self, resized: Tensor) -> Tensor:
        """uint8 [T, 3, h, w], as `resize` gives them -> frame features [T, C] or [T, m, C], on the tower's device."""
        self.load()
        pixels = normalize(resized.to(self.tower.device, non_blocking=True), self.tower.image_processor)
        return self.feature.of(self.tower, pixels.to(self.tower.dtype))

    def __call__(self, frames: np.ndarray) -> Tensor:
        """uint8 [T, H, W, 3] RGB -> frame features [T, C] or [T, m, C] in the tower's dtype and on its device."""
        self.load()
        processor = self.tower.image_processor
        batches = [frames[start : start + self.batch_size] for start in range(0, len(frames), self.batch_size)]
        return torch.cat([self.encode(resize(batch, processor, self.aspect_ratio)) for batch in batches])


def resize(frames: np.ndarray, processor, aspect_ratio: str | None) -> Tensor:
    """uint8 [T, H, W, 3] -> uint8 [T, 3, h, w] of the tower's size; needs no tower, and a quarter of float32's memory.

    Args:
        processor: the tower's image processor.
        aspect_ratio: see `FrameEncoder`.
    """
    if aspect_ratio == "pad":
        red, green, blue = (int(mean * 255) for mean in processor.image_mean)
        frames = pad_to_square(frames, (red, green, blue))
    return processor(images=list(frames), do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"]


def normalize(resized: Tensor, processor) -> Tensor:
    """uint8 [T, 3, h, w] -> float32 of the same shape, with the processor's scale, mean and deviation."""
    pixels = resized.float()
    if processor.do_rescale:
        pixels = pixels * processor.rescale_factor
    if processor.do_normalize:
        mean, deviation = (
            torch.tensor(values, device=pixels.device)[:, None, None]
            for values in (processor.image_mean, processor.image_std)
        )
        pixels = (pixels - mean) / deviation
    return pixels


def pad_to_square(frames: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """[T, H, W, 3] -> [T, S, S, 3] with S the longer side, the frames in the middle (LLaVA's `expand2square`)."""
    count, height, width, _ = frames.shape
    if height == width:
        return frames
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    squares = np.empty((count, side, side, 3), dtype=np.uint8)
    squares[:] = color
    squares[:, top : top + height, left : left + width] = frames
    return squares
