"""The names of `metrics/crossmodal.py`, where README has them."""

from .metrics.crossmodal import *  # noqa: F403
