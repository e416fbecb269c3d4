"""Sampled tokens: drawn with noise that is known before the logits are.

The largest of logits / temperature + Gumbel noise is a draw from their softmax (arXiv 1411.0030). Here the noise of a
token depends on the job's seed and the token's place in its answer alone, so a sampled answer is as fixed as a greedy
one: the same beside any neighbours, and drafts are checked in the same way.

Shapes: Q tokens to be chosen, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ...core.errors import V2XumError

TOP_K = 50  # transformers' own choice where a caller of `generate` has none, as LLaVA's inference

Place = tuple[int, int]  # the seed of a job, and how many tokens of the answer come before


class Sampler:
    """Draws tokens from the softmax of logits / temperature over the `TOP_K` likeliest.

    Args:
        temperature: above 0.

    Raises:
        V2XumError: if it is not.
    """

    def __init__(self, temperature: float) -> None:
        if not temperature > 0:
            raise V2XumError(f"sampling needs a temperature above 0, got {temperature}")
        self.temperature = temperature

    def __call__(self, logits: Tensor, places: Sequence[Place]) -> list[int]:
        """One id for each of the logits [Q, V], at its place."""
        likeliest = logits.topk(min(TOP_K, logits.shape[-1]))
        ids = likeliest.indices.cpu().numpy()
        scores = likeliest.values.double().cpu().numpy() / self.temperature
        noise = [self._noise(place, logits.shape[-1])[row] for place, row in zip(places, ids)]
        return ids[np.arange(len(ids)), (scores + noise).argmax(axis=-1)].tolist()

    @staticmethod
    def _noise(place: Place, vocabulary: int) -> np.ndarray:
        """Gumbel noise float64 [V]: minus the logarithm of what is exponentially distributed."""
        return -np.log(np.random.Generator(np.random.Philox(key=place)).standard_exponential(vocabulary))
