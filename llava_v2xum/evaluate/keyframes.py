"""The names of `metrics/keyframes.py`, where README has them."""

from .metrics.keyframes import *  # noqa: F403
