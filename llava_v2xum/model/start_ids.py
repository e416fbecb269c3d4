"""What transformers' `generate` puts before the new ids when it is given embeddings.

4.37 puts one id there (BOS), later releases none.
"""

from __future__ import annotations

from torch import LongTensor, Tensor

from ..features.upstream import LogitsProcessor


class StartIds(LogitsProcessor):
    """Counts them at the first step; changes no logits.

    Attributes:
        count: how many, None before the first step.
    """

    def __init__(self) -> None:
        self.count: int | None = None

    def __call__(self, input_ids: LongTensor, scores: Tensor) -> Tensor:
        if self.count is None:
            self.count = input_ids.shape[1]
        return scores
