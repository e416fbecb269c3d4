"""A kind of frame feature with a projector of its own, for tests of all that must ask the kind: queries, as a Q-former
has them, that look at a grid of a frame's patches.

Shapes: T frames, m queries, R patches after pooling, C feature width, D hidden size.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from llava_v2xum.core.errors import V2XumError
from llava_v2xum.features.kinds import FRAME_FEATURES, FrameFeature
from llava_v2xum.features.tower_kinds import pool_patches

PATCHES = 4


class Queries(nn.Module):
    """[T, R, C] -> [T, m, D]."""

    def __init__(self, queries: int, width: int, hidden: int) -> None:
        super().__init__()
        self.widen = nn.Linear(width, hidden)
        self.queries = nn.Parameter(torch.randn(queries, hidden) * hidden**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        patches = self.widen(features)
        return (self.queries @ patches.transpose(1, 2)).softmax(dim=-1) @ patches


class QueryTokens(FrameFeature):
    has_own_projector = True
    reads_images = False

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise V2XumError(f"frame_tokens must be at least 1, got {self.tokens}")

    @property
    def rows(self) -> int:
        return PATCHES

    def of(self, tower, pixels: Tensor) -> Tensor:
        return pool_patches(tower(pixels), PATCHES)

    def projector(self, config) -> nn.Module:
        return Queries(self.tokens, config.mm_hidden_size, config.hidden_size)

    def project(self, projector: nn.Module, features: Tensor) -> Tensor:
        return projector(features)

    def check_projector(self, projector: nn.Module, width: int) -> None:
        if not isinstance(projector, Queries):
            raise V2XumError(f"expected a base without a projector, or with queries, got a {type(projector).__name__}")
        super().check_projector(projector, width)


def add_queries(monkeypatch) -> None:
    """Register the kind under the name "queries" for the length of a test."""
    monkeypatch.setitem(sys.modules, "llava_v2xum.features.query_kind", sys.modules[__name__])
    monkeypatch.setitem(FRAME_FEATURES, "queries", "query_kind.QueryTokens")
