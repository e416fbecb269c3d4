"""What the entries of an epoch are like, by task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...core.timeline import Timeline
from ...data.entries import Entry
from .samples import task_of


@dataclass(frozen=True)
class TaskStatistics:
    """Of the entries of one task.

    Args:
        entries: how many an epoch has.
        positions: least, mean and most positions of one.
        learned: the same of learned tokens.
        citations: mean number of cited indexes in its answers.
        cited: mean share of the frames shown that is cited; None where nothing is cited.
    """

    entries: int
    positions: tuple[int, float, int]
    learned: tuple[int, float, int]
    citations: float
    cited: float | None


def by_task(entries: Sequence[Entry], timeline: Timeline) -> dict[str, TaskStatistics]:
    """task -> what its entries are like."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[task_of(entry)].append(entry)
    return {task: _of(groups[task], timeline) for task in sorted(groups)}


def _of(entries: Sequence[Entry], timeline: Timeline) -> TaskStatistics:
    counts, shares = [], []
    for entry in entries:
        answers = (turn["value"] for turn in entry.turns[1::2])
        found = [one for text in answers for one in timeline.citations.find(text, timeline.num_frames, [])]
        cited = [frame for one in found for frame in one.frames]
        counts.append(len(cited))
        if entry.videos and cited:
            shown = sum(timeline.num_frames if one is None else len(one) for one in entry.frame_indices)
            shares.append(len(set(cited)) / shown)
    return TaskStatistics(
        len(entries),
        _spread([entry.length for entry in entries]),
        _spread([entry.learned for entry in entries]),
        float(np.mean(counts)),
        float(np.mean(shares)) if shares else None,
    )


def _spread(values: Sequence[int]) -> tuple[int, float, int]:
    return min(values), float(np.mean(values)), max(values)


def table(statistics: dict[str, TaskStatistics]) -> list[list[str]]:
    """Rows of text, the first one the head."""
    rows = [["task", "entries", "positions", "learned tokens", "citations", "of the video cited"]]
    for task, one in statistics.items():
        spreads = [f"{low} / {mean:.0f} / {high}" for low, mean, high in (one.positions, one.learned)]
        share = "-" if one.cited is None else f"{one.cited:.1%}"
        rows.append([task.upper(), f"{one.entries:,}", *spreads, f"{one.citations:.1f}", share])
    return rows
