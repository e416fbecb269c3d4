"""Videos and features looked at before a run, in parallel: what is damaged is known before any card works."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import torch
from tqdm import tqdm

from ..core.errors import V2XumError
from .frame_sources import FrameSource

CHECKS = {  # --check
    "sample": "of features the head, shape and size, and whether some frames' are finite; of videos the head",
    "full": "every number of the features; videos are decoded",
    "none": "only that they are there",
}
_WORKERS = 16  # our choice: most of the time is a disk's or a network's


def find_damaged(
    video_ids: Iterable[str], source: FrameSource, check: str = "sample", quiet: bool | None = None
) -> dict[str, str]:
    """The damaged ones of those videos that the source has.

    Processes of one run, where they know of each other, look at a share each and tell the others.

    Args:
        check: of `CHECKS`.
        quiet: no progress bar; None leaves it out where the output is no terminal.

    Returns:
        id -> what is wrong, which names the file.

    Raises:
        V2XumError: if there is no such check.
    """
    if check not in CHECKS:
        raise V2XumError(f"--check: expected one of {', '.join(CHECKS)}, got {check!r}")
    if check == "none":
        return {}
    there = [video_id for video_id in sorted(set(video_ids)) if source.problem(video_id) is None]
    in_group = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if in_group else (0, 1)
    share = there[rank::world]
    with ThreadPoolExecutor(min(_WORKERS, 4 * (os.cpu_count() or 1))) as pool:
        looked = pool.map(lambda video_id: source.damage(video_id, check == "full"), share)
        bar = tqdm(looked, "looking at the videos", len(share), disable=quiet, delay=2)
        found = {video_id: told for video_id, told in zip(share, bar) if told is not None}
    if world > 1:
        parts: list[dict[str, str]] = [{}] * world
        torch.distributed.all_gather_object(parts, found)
        found = {video_id: told for part in parts for video_id, told in part.items()}
    return found


def limit_of(written: str, total: int) -> float:
    """How many of the entries may be left out.

    Args:
        written: as `--max_rejected` has it: a share such as `1%`, or a number of entries.
        total: all entries.

    Raises:
        V2XumError: if it is neither.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(%?)\s*", written)
    if match is None or not (value := float(match[1])) < math.inf or (match[2] and value > 100):
        raise V2XumError(f"--max_rejected: expected a share such as 1%, or a number of entries, got {written!r}")
    return value / 100 * total if match[2] else value
