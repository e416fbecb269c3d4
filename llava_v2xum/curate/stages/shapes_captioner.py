"""Captions of rendered clips by the small checkpoint that ships with this package."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...core.endpoint.budget import Budget
from .llava_captioner import LlavaCaptioner

SHAPES = "shapes"
SHAPES_FOLDER = Path(__file__).parents[2] / "shapes" / "captioner"


class ShapesCaptioner(LlavaCaptioner):
    """The LLaVA-1.5 of the rendered world."""

    takes = "'shapes' is the small one of the rendered world that ships with this package"

    @classmethod
    def add_options(cls, add: Callable[..., Any]) -> None:
        """None: it has those of `LlavaCaptioner`."""

    @classmethod
    def from_arguments(cls, args: argparse.Namespace, budget: Budget) -> ShapesCaptioner | None:
        if args.captioner != SHAPES:
            return None
        return cls(SHAPES_FOLDER, args.device, args.dtype, args.caption_batch, args.caption_tokens, name=SHAPES)
