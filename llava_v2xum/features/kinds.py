"""What one frame becomes: the kinds of frame feature, and how many visual tokens a frame has.

A kind is a class and a line in `FRAME_FEATURES`. What it does not say is as with LLaVA-1.5: its tower, its projector,
a row of features for each visual token.

Shapes: T frames, N frames of a whole video, m visual tokens of a frame, C feature width, D hidden size, H and W pixels.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.errors import V2XumError

if TYPE_CHECKING:  # options name the kinds before torch is needed
    from torch import Tensor, nn

PATCH_MEAN = "patch_mean"  # LLaVA-1.5's own tower: mean over the patch features of its layer -2
CLASS_TOKEN = "class_token"  # the same tower and layer, its class token
CLIP_EMBEDDING = "clip_embedding"  # released V2Xum-LLM: the image embedding of OpenAI's CLIP ViT-L/14
DEFAULT_TOWER = "openai/clip-vit-large-patch14-336"  # LLaVA-1.5's
DEFAULT_SELECT_LAYER = -2  # LLaVA-1.5's
LLAVAS_TOWER, OWN_TOWER = "mm_vision_tower", "frame_tower"  # keys of a config

# kind -> module and class; loaded when it is first asked for
FRAME_FEATURES = {
    PATCH_MEAN: "tower_kinds.PatchMean",
    CLASS_TOKEN: "tower_kinds.ClassToken",
    CLIP_EMBEDDING: "tower_kinds.ClipEmbedding",
}


@dataclass(frozen=True)
class FrameFeature:
    """A frame's feature and its visual tokens; calling this gives an object of the kind's own class.

    Args:
        kind: one of `FRAME_FEATURES`.
        tokens: m.

    Attributes:
        has_own_tower: whether `tower` builds it, in place of LLaVA's.
        has_own_projector: whether `projector` builds one that LLaVA does not know.
        reads_images: whether still images go through tower and projector as in LLaVA-1.5.

    Raises:
        V2XumError: for a kind that is not known, or tokens that the kind cannot give.
    """

    kind: str = PATCH_MEAN
    tokens: int = 1

    has_own_tower: ClassVar[bool] = False
    has_own_projector: ClassVar[bool] = False
    reads_images: ClassVar[bool] = True

    def __new__(cls, kind: str = PATCH_MEAN, tokens: int = 1) -> FrameFeature:
        return object.__new__(_class_of(kind) if cls is FrameFeature else cls)

    def __post_init__(self) -> None:
        if self.tokens != 1:
            raise V2XumError(f"{self.kind!r} gives one visual token a frame, got frame_tokens {self.tokens}")

    @classmethod
    def of_config(cls, fields: Mapping[str, Any]) -> FrameFeature:
        """That of a checkpoint's config.json."""
        return cls(fields.get("frame_feature", PATCH_MEAN), fields.get("frame_tokens", 1))

    @property
    def tower_key(self) -> str:
        """The key of a config that names the tower."""
        return OWN_TOWER if self.has_own_tower else LLAVAS_TOWER

    @property
    def rows(self) -> int:
        """How many rows of features a frame has, before the projector."""
        return self.tokens

    def shape(self, num_frames: int, width: int) -> tuple[int, ...]:
        """The shape of a video's features: (N, C), or (N, rows, C) for more than one row a frame."""
        return (num_frames, width) if self.rows == 1 else (num_frames, self.rows, width)

    def of(self, tower, pixels: Tensor) -> Tensor:
        """Frame features, `shape(T, C)`, of pixels [T, 3, H, W].

        Args:
            tower: LLaVA's `CLIPVisionTower`, or what `tower` gave; loaded.
        """
        raise NotImplementedError

    def tower(self, source: str | None) -> nn.Module:
        """A tower of this kind's own, not yet loaded, behind the interface of `towers.EmbeddingTower`.

        Args:
            source: where its weights are; None where the kind has a place of its own for them.
        """
        raise NotImplementedError

    def layer(self, select_layer: int | None) -> int | None:
        """The tower's layer that the feature comes from, of LLaVA's `mm_vision_select_layer`; None for its end."""
        return None if self.has_own_tower else select_layer

    def projector(self, config) -> nn.Module:
        """A new projector for this feature.

        Args:
            config: with `mm_hidden_size`, C, and `hidden_size`, D.
        """
        from .upstream import build_vision_projector

        return build_vision_projector(config)

    def project(self, projector: nn.Module, features: Tensor) -> Tensor:
        """Frame features, `shape(T, C)` -> visual tokens [T, m, D]."""
        return projector(features.flatten(0, -2)).unflatten(0, (len(features), -1))

    def project_beside(
        self, projector: nn.Module, features: Tensor, stills: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """`project` of features [T, C] or [T, m, C], and patch features [P, C] of still images -> [P, 1, D] each.

        The projector is called once for all; a kind that reads images takes it row by row.
        """
        if not stills:
            return self.project(projector, features), []
        import torch

        sizes = [features.shape[:-1].numel(), *map(len, stills)]
        visual, *images = projector(torch.cat([features.flatten(0, -2), *stills])).split(sizes)
        return visual.unflatten(0, (len(features), -1)), [image[:, None] for image in images]

    def check_images(self) -> None:
        """Refuse still images where they do not go through tower and projector as in LLaVA-1.5."""
        if not self.reads_images:
            raise V2XumError(f"a model whose frames are {self.kind!r} reads no still images")

    def check_projector(self, projector: nn.Module, width: int) -> None:
        """Refuse a projector that is not for this feature.

        Raises:
            V2XumError: if it takes features of another width than `width`.
        """
        from torch import nn

        first = next((layer for layer in projector.modules() if isinstance(layer, nn.Linear)), None)
        if first is not None and first.in_features != width:
            raise V2XumError(
                f"the base's projector takes features of width {first.in_features}, frame_feature {self.kind!r} gives "
                f"{width}: expected a base without a projector, or with one for that feature"
            )


def has_own_tower(fields: Mapping[str, Any]) -> bool:
    """Whether the feature in a config.json has a tower of its own; False for a kind that is none."""
    kind = fields.get("frame_feature", PATCH_MEAN)
    return kind in tuple(FRAME_FEATURES) and _class_of(kind).has_own_tower


def tower_key(fields: Mapping[str, Any]) -> str:
    """The key of a config.json that names the tower of its feature; LLaVA's for a kind that is none."""
    return OWN_TOWER if has_own_tower(fields) else LLAVAS_TOWER


def _class_of(kind: str) -> type[FrameFeature]:
    if kind not in tuple(FRAME_FEATURES):  # a config may hold anything
        raise V2XumError(f"frame_feature must be one of {tuple(FRAME_FEATURES)}, got {kind!r}")
    module, name = FRAME_FEATURES[kind].split(".")
    return getattr(importlib.import_module(f".{module}", __package__), name)
