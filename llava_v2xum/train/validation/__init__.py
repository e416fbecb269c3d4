"""Validation while training: the loss and the answers of held-out entries by task, and what follows from them."""

from .callback import Validation

__all__ = ["Validation"]
