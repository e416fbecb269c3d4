"""What every CLIP model here does: frames and sentences -> unit vectors, in batches, no text cut.

Shapes: K frames, M texts or parts of texts, D width of the embedding, H and W pixels.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import V2XumError

if TYPE_CHECKING:
    from torch import Tensor

BATCH_SIZE = 64  # frames or texts in one pass; our choice
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class ClipModel(ABC):
    """Frames and sentences -> unit vectors.

    Args:
        name: what the user called it.
        digest: changes with the weights, or with the name where the weights come by name; for caches.
        device: None is the first GPU, or the CPU where there is none.
        batch_size: frames or texts in one pass.
    """

    def __init__(self, name: str, digest: str, device: str | None = None, batch_size: int = BATCH_SIZE) -> None:
        self.name = name
        self.digest = digest
        self.batch_size = batch_size
        self._device = device

    def embed_frames(self, frames: np.ndarray) -> np.ndarray:
        """uint8 [K, H, W, 3] RGB -> unit vectors, float32 [K, D].

        Raises:
            V2XumError: if the frames are of another shape or type, or the weights give NaN.
        """
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise V2XumError(f"expected frames uint8 [K, H, W, 3], got {frames.dtype} of shape {frames.shape}")
        return self._in_batches(frames, self._frame_features)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> unit vectors, float32 [M, D]; as many for each as `split` gives parts, in order.

        Raises:
            V2XumError: if a text is blank, or the weights give NaN.
        """
        return np.concatenate(self.embed_each_text(texts)) if len(texts) else self._in_batches([], self._text_features)

    def embed_each_text(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Texts -> for each its parts' unit vectors, float32 [m, D] (m = 1 unless it is longer than the context).

        Raises:
            V2XumError: as `embed_texts`.
        """
        parts = [self.split(text) for text in texts]
        rows = self._in_batches([part for some in parts for part in some], self._text_features)
        return np.split(rows, np.cumsum([len(some) for some in parts])[:-1]) if parts else []

    def split(self, text: str) -> list[str]:
        """The parts of a text that each fit into the model's context; the text itself where it fits.

        Raises:
            V2XumError: if it is blank.
        """
        if not text.strip():
            raise V2XumError(f"expected a text to embed, got {text!r}")
        return split_text(text, self._fits)

    @cached_property
    def device(self) -> str:
        """Where the model runs."""
        import torch

        return self._device or ("cuda" if torch.cuda.is_available() else "cpu")

    @cached_property
    def model(self) -> Any:
        """The loaded model, float32, on its device."""
        return self._load().float().eval().requires_grad_(False).to(self.device)

    def _in_batches(self, items: Sequence, features: Callable[[Sequence], Tensor]) -> np.ndarray:
        import torch

        rows = [np.zeros((0, self._width()), dtype=np.float32)]
        with torch.inference_mode():
            for start in range(0, len(items), self.batch_size):
                batch = torch.nn.functional.normalize(features(items[start : start + self.batch_size]).float(), dim=-1)
                rows.append(batch.cpu().numpy())
        if not all(np.isfinite(batch).all() for batch in rows):
            raise V2XumError(f"{self.name}: the embeddings are not finite; its weights are damaged")
        return np.concatenate(rows)

    @abstractmethod
    def _load(self) -> Any:
        """Read the weights."""

    @abstractmethod
    def _width(self) -> int:
        """D."""

    @abstractmethod
    def _fits(self, text: str) -> bool:
        """Whether the context holds all of a text."""

    @abstractmethod
    def _frame_features(self, frames: np.ndarray) -> Tensor:
        """uint8 [k, H, W, 3] -> [k, D], of any length."""

    @abstractmethod
    def _text_features(self, texts: Sequence[str]) -> Tensor:
        """Texts that fit -> [m, D], of any length."""


def split_text(text: str, fits: Callable[[str], bool]) -> list[str]:
    """A text in the fewest parts of about equal length that fit.

    Parts end at sentence ends; where a sentence alone does not fit, between words, and where a word does not, inside.

    Args:
        fits: whether a part can be embedded whole.

    Raises:
        V2XumError: if not even a character fits.
    """
    if fits(text):
        return [text]
    for units, glue in ((_SENTENCE_END.split(text.strip()), " "), (text.split(), " "), (list(text.strip()), "")):
        for count in range(1, len(units) + 1):
            edges = [len(units) * part // count for part in range(count + 1)]
            parts = [glue.join(units[start:end]) for start, end in pairwise(edges)]
            if all(map(fits, parts)):
                return parts
    raise V2XumError(f"no part of the text fits into the model's context: {text[:40]!r}")
