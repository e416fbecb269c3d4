"""Keys and values of several rows, each with its own length, in the form that Llama's attention takes.

A row's slot p holds its position p. What a pass computes for a position overwrites the slot, so a rejected draft needs
no bookkeeping: its slots are written again by the tokens that stand there, and a query at position p sees slots 0..p.

Shapes: R rows, n rows of a pass, W positions of each in a pass, H key heads, K slots, E width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import transformers
from torch import LongTensor, Tensor
from transformers.cache_utils import Cache

BLOCK = 256  # slots are made so many at a time: growing copies everything, spare ones are memory
ALIGNMENT = 8  # slots that attention is given, as memory-efficient kernels want a multiple of 8


def additive_mask(may: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask [n, 1, W, K] of what may be seen, as the installed transformers' Llama takes it.

    4.37 takes 1 and 0 and inverts them itself; later releases add what they are given to the scores.
    """
    if transformers.__version__.startswith("4.37."):
        return may.to(dtype)
    return torch.zeros_like(may, dtype=dtype).masked_fill(~may, torch.finfo(dtype).min)


class RowCache(Cache):
    """The cache of up to `rows` rows; `aim` says before each pass which rows and positions it is about.

    Tensors are made where each layer first brings its keys, so layers may stand on several devices.

    Args:
        rows: R.
        block: slots are added so many at a time.
    """

    is_compileable = False

    def __init__(self, rows: int, block: int = BLOCK) -> None:
        self.layers: list = []  # transformers 5 asks which of its own kinds a layer is; ours are of none
        self.rows = rows
        self.block = block
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self._slots: list[int] = []
        self._opening = True
        self._positions: LongTensor = torch.zeros(0, 0, dtype=torch.long)
        self._used = 0

    def aim(
        self, slots: Sequence[int], starts: Sequence[int], width: int, device, dtype: torch.dtype
    ) -> tuple[LongTensor, Tensor | None]:
        """Say what the next pass is about: `width` positions of each row, from `starts` on.

        Args:
            slots: n different row numbers.
            starts: how many positions of each row hold already.

        Returns:
            position_ids [n, W] and the attention mask [n, 1, W, K]; None for rows that begin, where causal attention
            within the pass is all there is.
        """
        self._slots = list(slots)
        self._opening = not any(starts)
        self._positions = torch.tensor(starts)[:, None] + torch.arange(width)
        self._used = -(-(max(starts) + width) // ALIGNMENT) * ALIGNMENT
        position_ids = self._positions.to(device)
        if self._opening:
            return position_ids, None
        may = torch.arange(self._used, device=device) <= position_ids[:, None, :, None]
        return position_ids, additive_mask(may, dtype)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, cache_kwargs: dict | None = None
    ) -> tuple[Tensor, Tensor]:
        """Write a layer's keys and values [n, H, W, E]; returns what its queries may look at, [n, H, K, E]."""
        if layer_idx == len(self.keys):
            self.keys.append(key_states.new_zeros(self.rows, key_states.shape[1], 0, key_states.shape[3]))
            self.values.append(value_states.new_zeros(self.rows, value_states.shape[1], 0, value_states.shape[3]))
        if self.keys[layer_idx].shape[2] < self._used:
            self._grow(layer_idx)
        return self._write(self.keys[layer_idx], key_states), self._write(self.values[layer_idx], value_states)

    def _grow(self, layer: int) -> None:
        capacity = -(-self._used // self.block) * self.block
        for tensors in (self.keys, self.values):
            old = tensors[layer]
            tensors[layer] = old.new_zeros(*old.shape[:2], capacity, old.shape[3])
            tensors[layer][:, :, : old.shape[2]] = old

    def _write(self, store: Tensor, states: Tensor) -> Tensor:
        if self._opening:
            width = states.shape[2]
            for slot, state in zip(self._slots, states):
                store[slot, :, :width] = state
                store[slot, :, width:] = 0  # not what a row before left: a NaN would come through any mask
            return states
        if self._positions.device != store.device:
            self._positions = self._positions.to(store.device)
        rows = torch.tensor(self._slots, device=store.device)
        store[rows[:, None], :, self._positions] = states.transpose(1, 2)
        first, count = self._slots[0], len(self._slots)
        if self._slots == list(range(first, first + count)):
            return store[first : first + count, :, : self._used]
        return store[rows, :, : self._used]

    def copy(self, source: int, targets: Sequence[int]) -> None:
        """Give other rows what a row holds."""
        for store in (*self.keys, *self.values):
            for target in targets:
                store[target] = store[source]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Positions before those of the pass, as the attention's mask counts them."""
        return 0 if self._opening else self._used - self._positions.shape[1]

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """transformers 5: how many slots a pass looks at and where they begin."""
        return (query_length if self._opening else self._used), 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """transformers 5: where the positions of the pass begin."""
        return self.get_seq_length(layer_idx)

    def get_max_length(self) -> None:
        """transformers 4.37: there is no limit."""
        return None
