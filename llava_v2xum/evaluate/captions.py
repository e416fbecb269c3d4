"""The names of `metrics/captions.py`, where README has them."""

from .metrics.captions import *  # noqa: F403
