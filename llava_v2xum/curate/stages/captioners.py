"""The captioners of the command."""

from __future__ import annotations

import argparse

from ...core.endpoint.budget import Budget
from .captioner import Captioner
from .llava_captioner import LlavaCaptioner
from .shapes_captioner import ShapesCaptioner
from .vision_endpoint import EndpointCaptioner

# the last that takes the arguments captions: so the first takes what no other does
CAPTIONERS: tuple[type[Captioner], ...] = (LlavaCaptioner, ShapesCaptioner, EndpointCaptioner)


def captioner_of(args: argparse.Namespace, budget: Budget) -> Captioner:
    """The captioner that the arguments ask for; see `Captioner.from_arguments`."""
    made = (captioner.from_arguments(args, budget) for captioner in reversed(CAPTIONERS))
    return next(captioner for captioner in made if captioner is not None)
