"""What one frame becomes: the kinds of frame feature, and how many visual tokens a frame has.

Shapes: T frames, m visual tokens of a frame, P patches, C feature width, H and W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.errors import V2XumError

if TYPE_CHECKING:  # options name the kinds before torch is needed
    from torch import Tensor

PATCH_MEAN = "patch_mean"  # LLaVA-1.5's own tower: mean over the patch features of its layer -2
CLASS_TOKEN = "class_token"  # the same tower and layer, its class token
CLIP_EMBEDDING = "clip_embedding"  # released V2Xum-LLM: the image embedding of OpenAI's CLIP ViT-L/14
FRAME_FEATURES = (PATCH_MEAN, CLASS_TOKEN, CLIP_EMBEDDING)
DEFAULT_TOWER = "openai/clip-vit-large-patch14-336"  # LLaVA-1.5's
DEFAULT_SELECT_LAYER = -2  # LLaVA-1.5's


@dataclass(frozen=True)
class FrameFeature:
    """The kind of a frame's feature and its visual tokens.

    Args:
        kind: one of `FRAME_FEATURES`.
        tokens: m; more than one come from means over the cells of a square grid of patches, so a square number.

    Raises:
        V2XumError: for a kind that is not known, or tokens that the kind cannot give.
    """

    kind: str = PATCH_MEAN
    tokens: int = 1

    def __post_init__(self) -> None:
        if self.kind not in FRAME_FEATURES:
            raise V2XumError(f"frame_feature must be one of {FRAME_FEATURES}, got {self.kind!r}")
        if self.tokens < 1 or math.isqrt(self.tokens) ** 2 != self.tokens:
            raise V2XumError(f"frame_tokens must be a square number such as 1, 4 or 9, got {self.tokens}")
        if self.tokens > 1 and self.kind != PATCH_MEAN:
            raise V2XumError(f"only {PATCH_MEAN!r} gives more than one token a frame, got {self.kind!r}")

    def shape(self, num_frames: int, width: int) -> tuple[int, ...]:
        """The shape of a video's features: (N, C), or (N, m, C) for more than one token a frame."""
        return (num_frames, width) if self.tokens == 1 else (num_frames, self.tokens, width)

    def of(self, tower, pixels: Tensor) -> Tensor:
        """Frame features [T, C], or [T, m, C], of pixels [T, 3, H, W].

        Args:
            tower: LLaVA's `CLIPVisionTower`, or one of `towers.py` for "clip_embedding"; loaded.
        """
        if self.kind == CLASS_TOKEN:
            return _class_token(tower, pixels)
        return pool_patches(tower(pixels), self.tokens)


def _class_token(tower, pixels: Tensor) -> Tensor:
    """[T, 3, H, W] -> [T, C]: what LLaVA's tower computes and leaves out (`feature_select`)."""
    import torch

    with torch.no_grad():
        layers = tower.vision_tower(pixels.to(tower.device, tower.dtype), output_hidden_states=True).hidden_states
    return layers[tower.select_layer][:, 0].to(pixels.dtype)


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
