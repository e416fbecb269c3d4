"""Keys and values of several rows, each with its own length.

A row's slot p holds its position p, and a query at position p sees slots 0..p. What a pass computes for a position
overwrites its slot, so a rejected draft needs no bookkeeping: the tokens that come to stand there write over it.

Shapes: R rows, n rows of a pass, W positions of each, H key heads, K slots, E width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import LongTensor, Tensor

BLOCK = 256  # slots are made so many at a time: growing copies everything, spare ones are memory


class RowCache:
    """The keys and values of up to `rows` rows at every layer.

    Tensors are made where each layer first brings its keys, so layers may stand on several devices.

    Args:
        rows: R.

    Attributes:
        reserved: slots that every layer has at least (`reserve`).
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.reserved = 0
        self._stores: list[tuple[Tensor, Tensor]] = []  # of each layer the keys and the values, [R, H, K, E]

    def reserve(self, slots: int) -> None:
        """Give every layer at least so many slots, so that its tensors stay where they are up to there."""
        self.reserved = max(self.reserved, -(-slots // BLOCK) * BLOCK)
        self._stores = [tuple(self._grown(store, self.reserved) for store in stores) for stores in self._stores]

    def write_row(self, layer: int, slot: int, start: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write positions `start`.. of one row; returns what their queries may look at.

        Args:
            keys, values: [H, W, E].

        Returns:
            keys and values [H, start + W, E].
        """
        end = start + keys.shape[1]
        seen = []
        for store, states in zip(self._stores_of(layer, end, keys), (keys, values)):
            if start == 0:
                store[slot, :, end:] = 0  # what another row left: were it NaN, it would come through any mask
            store[slot, :, start:end] = states
            seen.append(store[slot, :, :end])
        return seen[0], seen[1]

    def write_rows(
        self, layer: int, positions: LongTensor, used: int, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Write the same number of positions of each of the first n rows.

        Args:
            positions: int64 [n, W].
            used: K, how many slots attention is given; every position is below it.
            keys, values: [n, W, H, E].

        Returns:
            keys and values [n, H, K, E], of which a query at position p may see p + 1.
        """
        stores = self._stores_of(layer, used, keys[0].transpose(0, 1))
        rows = torch.arange(len(positions), device=keys.device)[:, None]
        for store, states in zip(stores, (keys, values)):
            store[rows, :, positions] = states
        return tuple(store[: len(positions), :, :used] for store in stores)

    def copy(self, source: int, targets: Sequence[int]) -> None:
        """Give other rows what a row holds."""
        for stores in self._stores:
            for store in stores:
                for target in targets:
                    store[target] = store[source]

    def _stores_of(self, layer: int, slots: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's stores, with at least so many slots. `like` [H, any, E] says their other sizes, type and device."""
        if layer == len(self._stores):
            empty = like.new_zeros(self.rows, like.shape[0], 0, like.shape[2])
            self._stores.append((empty, empty))
        self._stores[layer] = tuple(self._grown(store, max(slots, self.reserved)) for store in self._stores[layer])
        return self._stores[layer]

    def _grown(self, store: Tensor, slots: int) -> Tensor:
        if store.shape[2] >= slots:
            return store
        grown = store.new_zeros(*store.shape[:2], -(-slots // BLOCK) * BLOCK, store.shape[3])
        grown[:, :, : store.shape[2]] = store
        return grown
