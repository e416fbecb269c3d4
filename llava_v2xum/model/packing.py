"""Several samples in one row of the decoder, with attention kept apart and a video's frames there only once.

The tasks of one video begin alike: system prompt, frames, the start of the instruction. In a packed row that common
prefix stands once and every sample goes on from it as a branch:

    prefix of video A | branch A1 | branch A2 | branch A3 | prefix of video B | branch B1 | ...

A branch attends to its own prefix and itself, and its positions go on from the prefix, so losses and gradients are
those of the samples on their own. (Our own addition; the paper trains sample by sample.)

In the text of a row, which prefix and branch a token belongs to stands in `attention_mask`, where LLaVA's splicing only
asks whether a token is padding (0): 1 + BRANCHES * group + branch, with branch 0 for the prefix. An ordinary mask of
ones is thus one group without branches.

Shapes: B rows, S text positions, L positions with the frames.
"""

from __future__ import annotations

import bisect
import logging
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..core.errors import V2XumError
from ..core.tasks import VIDEO_TOKEN
from ..features.upstream import IGNORE_INDEX, IMAGE_TOKEN_INDEX, transformers
from . import tokens  # its names may not be there yet

logger = logging.getLogger(__name__)

ENTRY_IDS = "entry_ids"  # of a sample or row: the ids of the entries that it is made of
BRANCHES = 1 << 16  # more than a row has positions


def shared_length(samples: Sequence[tuple[Tensor, Tensor]]) -> int:
    """How many first tokens all samples share, so that every branch begins with a token that is not learned.

    The first learned token of a sample is predicted at the token before it, which therefore must be its own.

    Args:
        samples: input_ids and labels, int64 [S] each.
    """
    ids = [sample_ids for sample_ids, _ in samples]
    shared = min(len(row) for row in ids) - 1
    for row in ids[1:]:
        differs = (row[:shared] != ids[0][:shared]).nonzero()
        shared = int(differs[0]) if len(differs) else shared
    for _, labels in samples:
        learned = (labels != IGNORE_INDEX).nonzero()
        if len(learned):
            shared = min(shared, int(learned[0]) - 1)
    return max(shared, 0)


def pack_row(groups: Sequence[Sequence[tuple[Tensor, Tensor]]]) -> tuple[Tensor, Tensor, Tensor]:
    """One row of samples; those of a group have the same videos.

    Args:
        groups: of each sample input_ids and labels, int64 [S] each.

    Returns:
        input_ids, labels and attention_mask (see the module), int64 [S] each. A group's placeholders stand once, so
        it needs its videos once, unless its samples differ before them.
    """
    ids, labels, codes = [], [], []
    for number, samples in enumerate(groups):
        shared = shared_length(samples) if len(samples) > 1 else 0
        code = 1 + BRANCHES * number
        if shared:
            ids.append(samples[0][0][:shared])
            labels.append(torch.full((shared,), IGNORE_INDEX))
            codes.append(torch.full((shared,), code))
        for branch, (sample_ids, sample_labels) in enumerate(samples, 1):
            ids.append(sample_ids[shared:])
            labels.append(sample_labels[shared:])
            codes.append(torch.full((len(sample_ids) - shared,), code + branch))
    return torch.cat(ids), torch.cat(labels), torch.cat(codes)


def is_packed(attention_mask: Tensor | None) -> bool:
    """Whether a mask [B, S] is one of packed rows."""
    return attention_mask is not None and attention_mask.ndim == 2 and bool((attention_mask > 1).any())


def check_attention(config) -> None:
    """Refuse packed rows where the model's attention cannot keep their samples apart.

    Raises:
        V2XumError: if it takes no mask of its own, as FlashAttention.
    """
    implementation = getattr(config, "_attn_implementation", None)
    if implementation not in ("sdpa", "eager", None):
        raise V2XumError(
            f"packed rows need the attention implementation 'sdpa' or 'eager', got {implementation!r}: give "
            "--attn_implementation sdpa, or leave out --pack"
        )


def spread(input_ids: Tensor, attention_mask: Tensor, lengths: Sequence[int], length: int, side: str) -> Tensor:
    """Codes over the expanded rows: frames have that of the placeholder which they stand for.

    Args:
        input_ids: [B, S].
        attention_mask: [B, S], the codes of the text.
        lengths: positions of each placeholder's frames, in order; one more for a row without a placeholder, as LLaVA's
            splicing takes them.
        length: L.
        side: "left" or "right", where padding goes.

    Returns:
        int64 [B, L], 0 for padding.
    """
    queue, rows = iter(lengths), []
    for ids, codes in zip(input_ids, attention_mask):
        ids, codes = ids[codes > 0], codes[codes > 0]
        places = (ids == IMAGE_TOKEN_INDEX).nonzero().flatten()
        taken = [next(queue) for _ in range(max(len(places), 1))][: len(places)]
        repeats = torch.ones_like(ids)
        repeats[places] = torch.tensor(taken, dtype=ids.dtype, device=ids.device)
        row = codes.repeat_interleave(repeats)
        padding = length - len(row)
        rows.append(torch.nn.functional.pad(row, (padding, 0) if side == "left" else (0, padding)))
    return torch.stack(rows)


def positions(codes: Tensor) -> Tensor:
    """Position ids int64 [B, L] of rows with these codes: a prefix counts from 0, its branches go on from it."""
    places = torch.arange(codes.shape[1], device=codes.device).expand_as(codes)
    new = torch.ones_like(codes, dtype=torch.bool)
    new[:, 1:] = codes[:, 1:] != codes[:, :-1]
    start = torch.where(new, places, 0).cummax(dim=1).values
    in_prefix = (codes > 0) & ((codes - 1) % BRANCHES == 0)
    # of the last prefix before a place, how long it is; a group of one sample has none and counts from 0
    group = torch.where(codes > 0, (codes - 1) // BRANCHES, -1)
    same = group[:, :, None] == group[:, None, :]
    prefix = (same & in_prefix[:, None, :]).sum(dim=2)
    return places - start + torch.where(in_prefix, 0, prefix)


def allowed(codes: Tensor) -> Tensor:
    """bool [B, 1, L, L]: whether the position of the row may attend to that of the column."""
    length = codes.shape[1]
    group, branch = (codes - 1) // BRANCHES, (codes - 1) % BRANCHES
    same_group = group[:, :, None] == group[:, None, :]
    same_branch = (branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :])
    causal = torch.ones(length, length, dtype=torch.bool, device=codes.device).tril()
    real = (codes > 0)[:, None, :]
    itself = torch.eye(length, dtype=torch.bool, device=codes.device)  # padding: no row of the mask may be empty
    return ((same_group & same_branch & causal & real) | itself)[:, None]


def attention_mask_of(codes: Tensor, dtype: torch.dtype) -> Tensor:
    """The mask [B, 1, L, L] of `allowed` in the form that the installed transformers' Llama takes.

    4.37 takes 1 and 0 and inverts them itself; later releases add what they are given to the scores.
    """
    may = allowed(codes)
    if transformers.__version__.startswith("4.37."):
        return may.to(dtype)
    return torch.zeros_like(may, dtype=dtype).masked_fill(~may, torch.finfo(dtype).min)


def plan_rows(
    lengths: Sequence[int], keys: Sequence[Hashable], shared: Sequence[int], max_length: int, seed: int
) -> list[list[list[int]]]:
    """Which samples go into one row: those of one video together, then as many videos as fit (best fit, largest first).

    Args:
        lengths: positions of each sample with its frames, none longer than `max_length`.
        keys: equal for samples of the same videos.
        shared: for each sample a number of first positions that it surely shares with others of its key.
        max_length: positions of a row.
        seed: of the order among videos of equal length.

    Returns:
        Rows of groups of sample numbers; every sample stands in one row.
    """
    of_key: dict[Hashable, list[int]] = defaultdict(list)
    for sample, key in enumerate(keys):
        of_key[key].append(sample)
    groups = [group for samples in of_key.values() for group in _fitting(samples, lengths, shared, max_length)]
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed)).tolist()
    order.sort(key=lambda number: -groups[number][1])
    rows: list[list[list[int]]] = []
    room: list[tuple[int, int]] = []  # (positions left, row), ascending
    for samples, length in (groups[number] for number in order):
        place = bisect.bisect_left(room, (length, -1))
        left, row = room.pop(place) if place < len(room) else (max_length, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(samples)
        bisect.insort(room, (left - length, row))
    return rows


def _fitting(samples, lengths, shared, max_length: int) -> list[tuple[list[int], int]]:
    """The samples of one video in groups that fit into a row, with the length of each group."""
    groups: list[tuple[list[int], int]] = []
    for sample in samples:
        more = lengths[sample] - shared[sample]
        if groups and groups[-1][1] + more <= max_length:
            groups[-1] = ([*groups[-1][0], sample], groups[-1][1] + more)
        else:
            groups.append(([sample], lengths[sample]))
    return groups


class PackedDataset(Dataset):
    """A data set's samples in packed rows. The rows are planned once; an epoch goes through them in its own order.

    Args:
        dataset: a `dataset.VideoDataset`.
        frame_positions: k + m, the positions that one frame takes.
        max_length: positions of a row.
        seed: of the plan.
    """

    def __init__(self, dataset, frame_positions: int, max_length: int, seed: int) -> None:
        self.dataset = dataset
        self.frame_positions = frame_positions
        self._before: dict[str, int] = {}  # tokens before the first placeholder, by the text that they are of
        shared = [self._surely_shared(position) for position in range(len(dataset))]
        keys = [self._key(position) for position in range(len(dataset))]
        self.rows = plan_rows(dataset.lengths, keys, shared, max_length, seed)
        self.lengths = [
            sum(sum(dataset.lengths[i] - shared[i] for i in group) + shared[group[0]] for group in row)
            for row in self.rows
        ]
        filled = sum(self.lengths) / (len(self.rows) * max_length)
        logger.info("%d samples in %d rows, %.0f %% filled", len(dataset), len(self.rows), 100 * filled)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def modality_lengths(self) -> list[int]:
        """Under the name that LLaVA's length-grouped sampler asks for."""
        return self.lengths

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One row, with the keys of a sample, and its codes as attention_mask."""
        groups, media, indices = [], [], []
        for members in self.rows[number]:
            samples = [self.dataset.text_of(position) for position in members]
            shared = shared_length(samples) if len(samples) > 1 else 0
            once = int((samples[0][0][:shared] == IMAGE_TOKEN_INDEX).sum())
            shown, places = self.dataset.media_of(members[0])
            media += shown[:once] + shown[once:] * len(samples)
            indices += places[:once] + places[once:] * len(samples)
            groups.append(samples)
        input_ids, labels, codes = pack_row(groups)
        return {
            "input_ids": input_ids,
            "labels": labels,
            "attention_mask": codes,
            "media": media,
            "video_indices": indices,
            ENTRY_IDS: [self.dataset.entries[position].id for group in self.rows[number] for position in group],
        }

    def _text_before(self, position: int) -> str | None:
        """What stands before the first placeholder, or None if there is none in the first turn."""
        asked = tokens.as_inference_asks(self.dataset.entries[position].turns[0]["value"])
        before, token, _ = asked.partition(VIDEO_TOKEN)
        return before if token else None

    def _key(self, position: int) -> Hashable:
        """Equal for samples that begin with the same text and the same video."""
        entry, before = self.dataset.entries[position], self._text_before(position)
        return position if before is None else (entry.videos, entry.frame_indices, before)

    def _surely_shared(self, position: int) -> int:
        """Positions up to the end of the first video, which samples of one key have in common."""
        entry, before = self.dataset.entries[position], self._text_before(position)
        if before is None:
            return 0
        if before not in self._before:
            ids, _ = self.dataset.text_of(position)
            self._before[before] = int((ids == IMAGE_TOKEN_INDEX).nonzero()[0])
        first = entry.frame_indices[0]
        frames = self.dataset.num_frames if first is None else len(first)
        return self._before[before] + frames * self.frame_positions
