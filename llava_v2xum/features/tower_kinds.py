"""Features that a frozen CLIP gives: LLaVA-1.5's tower, by its patches or its class token, or a whole CLIP's embedding.

Shapes: T frames, m visual tokens of a frame, P patches, C feature width, H and W pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from ..core.errors import V2XumError
from .kinds import FrameFeature

if TYPE_CHECKING:  # options check the tokens before torch is needed
    from torch import Tensor, nn


class PatchMean(FrameFeature):
    """LLaVA-1.5's patch features: their mean, or m means over the cells of a square grid; m is a square number."""

    def __post_init__(self) -> None:
        if self.tokens < 1 or math.isqrt(self.tokens) ** 2 != self.tokens:
            raise V2XumError(f"frame_tokens must be a square number such as 1, 4 or 9, got {self.tokens}")

    def of(self, tower, pixels: Tensor) -> Tensor:
        """[T, 3, H, W] -> [T, C], or [T, m, C]."""
        return pool_patches(tower(pixels), self.tokens)


class ClassToken(FrameFeature):
    """The class token that LLaVA's tower computes and leaves out (`feature_select`)."""

    def of(self, tower, pixels: Tensor) -> Tensor:
        """[T, 3, H, W] -> [T, C]."""
        import torch

        with torch.no_grad():
            layers = tower.vision_tower(pixels.to(tower.device, tower.dtype), output_hidden_states=True).hidden_states
        return layers[tower.select_layer][:, 0].to(pixels.dtype)


class ClipEmbedding(FrameFeature):
    """The image embedding of a whole CLIP, as the released V2Xum-LLM takes it from OpenAI's ViT-L/14."""

    has_own_tower: ClassVar[bool] = True
    reads_images: ClassVar[bool] = False

    def of(self, tower, pixels: Tensor) -> Tensor:
        """[T, 3, H, W] -> [T, C]."""
        return tower(pixels)[:, 0]

    def tower(self, source: str | None) -> nn.Module:
        """`towers.embedding_tower`."""
        from .towers import embedding_tower

        return embedding_tower(source)


def pool_patches(features: Tensor, tokens: int = 1) -> Tensor:
    """[T, P, C] -> [T, C], the mean over the patches; or [T, m, C], the means over the cells of a square grid.

    Taken in float32. The grid's cells lie row by row, from the upper left.

    Raises:
        V2XumError: if the patches of the tower form no grid of that many cells.
    """
    from torch.nn.functional import adaptive_avg_pool2d

    if tokens == 1:
        return features.float().mean(dim=1).to(features.dtype)
    side, cells = math.isqrt(features.shape[1]), math.isqrt(tokens)
    if side * side != features.shape[1] or side < cells:
        raise V2XumError(f"{tokens} tokens a frame need a square grid of as many patches, got {features.shape[1]}")
    grid = features.float().transpose(1, 2).unflatten(2, (side, side))
    return adaptive_avg_pool2d(grid, cells).flatten(2).transpose(1, 2).to(features.dtype)
