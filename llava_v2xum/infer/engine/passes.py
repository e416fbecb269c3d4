"""How a pass over the rows at work is laid out: end to end, or as a block that is as wide as the widest row.

Shapes: n rows at work, Q ids that they are fed together, W ids of a row of a block, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..drafting import worthwhile_lengths
from .cache import RowCache
from .decoder import Segment, run_block, run_segments
from .drafts import block_width
from .sampling import Sampler
from .work import Row

ROW_POSITIONS = 4  # positions that take as long as reading one row's keys and values, at 600 positions
ALIGNMENT = 64  # slots that attention over padded rows is given: efficient kernels want a multiple of 8

Chosen = tuple[list[int], Tensor]


class RaggedPass:
    """Rows laid end to end: no position is computed in vain, and attention is called row by row.

    Args:
        model: a `LlavaV2XumForCausalLM`.
        cache: what the rows have read.
        digit_ids: the digits' ids, whose logits are wanted.
        free_positions: positions that take as long as reading the weights once.
        sampler: chooses among the logits; None takes the largest.

    Attributes:
        in_front: whether the rows at work must be the first ones of the cache.
    """

    in_front = False

    def __init__(
        self,
        model,
        cache: RowCache,
        digit_ids: Sequence[int],
        free_positions: float,
        sampler: Sampler | None = None,
    ) -> None:
        self.sampler = sampler
        self.model, self.llama, self.cache = model, model.get_model(), cache
        self.free_positions = free_positions
        self.device = model.get_input_embeddings().weight.device
        self.digit_ids = torch.tensor(digit_ids, device=model.lm_head.weight.device)

    def make_room(self, positions: int) -> None:
        """Be told, before it is read, what a row will have at its end: at most so many positions."""

    def lengths(self, chances: Sequence[Sequence[float]]) -> list[int]:
        """How much of each row's draft is worth checking, from the chances of its tokens (`draft`)."""
        return worthwhile_lengths(chances, self._free(len(chances)))

    def choose(self, slots: Sequence[int], rows: Sequence[Row], fed: Sequence[Sequence[int]]) -> Chosen:
        """What the model writes behind each id that rows are fed.

        Args:
            slots: of the n rows in the cache, ascending.
            fed: of each row its last token and as much of a draft as `lengths` said.

        Returns:
            Q ids, the rows' one behind the other, and the digits' logits float32 [Q, 10] on the CPU.
        """
        ids = torch.tensor([token for tokens in fed for token in tokens], device=self.device)
        segments = [Segment(slot, row.length, len(tokens)) for slot, row, tokens in zip(slots, rows, fed)]
        hidden = run_segments(self.llama, self.llama.embed_tokens(ids), segments, self.cache)
        return self._chosen(hidden, rows, fed)

    def _free(self, rows: int) -> float:
        return self.free_positions + ROW_POSITIONS * rows

    def choose_first(self, hidden: Tensor, rows: Sequence[Row]) -> Chosen:
        """The same behind the last hidden state [n, D] of each row's prompt."""
        return self._chosen(hidden, rows, [[None]] * len(rows))

    def _chosen(self, hidden: Tensor, rows: Sequence[Row], fed: Sequence[Sequence]) -> Chosen:
        """What is written behind each of the last hidden states [Q, D], which are those of `fed`."""
        logits = self.model.lm_head(hidden).float()
        digits = logits.index_select(-1, self.digit_ids).cpu()
        if self.sampler is None:
            return logits.argmax(dim=-1).tolist(), digits
        places = [(row.work.seed, len(row.ids) + n) for row, tokens in zip(rows, fed) for n in range(len(tokens))]
        return self.sampler(logits, places), digits


class PaddedPass(RaggedPass):
    """Every row as wide as the widest, for one call of attention; what is behind a row's own ids is not looked at."""

    in_front = True

    def lengths(self, chances: Sequence[Sequence[float]]) -> list[int]:
        return [block_width(chances, self._free(len(chances)))] * len(chances)

    def choose(self, slots: Sequence[int], rows: Sequence[Row], fed: Sequence[Sequence[int]]) -> Chosen:
        width = max(map(len, fed))
        ids = torch.tensor([padded(tokens, width) for tokens in fed], device=self.device)
        starts = torch.tensor([row.length for row in rows], device=self.device)
        used = -(-(max(row.length for row in rows) + width) // ALIGNMENT) * ALIGNMENT
        hidden = run_block(self.llama, self.llama.embed_tokens(ids), starts, used, self.cache)
        return self._chosen(hidden[own_places(fed, width).to(hidden.device)], rows, fed)


def padded(tokens: Sequence[int], width: int) -> list[int]:
    """As many ids as the width says; those behind the tokens may be any of the vocabulary."""
    return [*tokens, *list(tokens[:1]) * (width - len(tokens))]


def own_places(fed: Sequence[Sequence[int]], width: int) -> Tensor:
    """bool [n, W]: where rows of a block have ids of their own."""
    return torch.arange(width) < torch.tensor([len(tokens) for tokens in fed])[:, None]
