"""Samples as training sees them: the decoded ids, with the tokens that are learned marked."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ...data.dataset import VideoDataset
from ...data.entries import Entry
from ...features.upstream import IGNORE_INDEX, IMAGE_TOKEN_INDEX

OPENING, CLOSING = "«", "»"  # around what is learned, in text


@dataclass(frozen=True)
class Piece:
    """A stretch of a sample's decoded text; `kind` is "read", "learned" or "media"."""

    text: str
    kind: str


@dataclass(frozen=True)
class Sample:
    """A sample of the data set and its decoded pieces."""

    entry: Entry
    pieces: tuple[Piece, ...]

    @property
    def task(self) -> str:
        return task_of(self.entry)

    def marked(self) -> str:
        """As text, what is learned in « »."""
        return "".join(f"{OPENING}{one.text}{CLOSING}" if one.kind == "learned" else one.text for one in self.pieces)


def task_of(entry: Entry) -> str:
    """The task of an entry's first question; "other" for one that asks for no summary, as LLaVA's own."""
    return entry.tasks[0] or "other"


def decoded(dataset: VideoDataset, position: int) -> Sample:
    """One sample of the data set."""
    entry = dataset.entries[position]
    ids, labels = (row.tolist() for row in dataset.text_of(position))
    shown = iter(entry.frame_indices)
    pieces = []
    kinds = [
        "media" if token == IMAGE_TOKEN_INDEX else "read" if label == IGNORE_INDEX else "learned"
        for token, label in zip(ids, labels)
    ]
    for kind, group in groupby(zip(kinds, ids), key=lambda pair: pair[0]):
        tokens = [token for _, token in group]
        if kind == "media":
            pieces += [Piece(_media(dataset, entry, next(shown, None)), kind) for _ in tokens]
        else:
            pieces.append(Piece(dataset.tokenizer.tokenizer.decode(tokens, skip_special_tokens=False), kind))
    return Sample(entry, tuple(pieces))


def _media(dataset: VideoDataset, entry: Entry, shown: Sequence[int] | None) -> str:
    if entry.image is not None:
        return "<image>"
    count = dataset.num_frames if shown is None else len(shown)
    return f"<video: {count} frames>"


def chosen(dataset: VideoDataset, count: int, seed: int = 0) -> list[Sample]:
    """Random samples, of each task about as many."""
    of_task: dict[str, list[int]] = defaultdict(list)
    for position, entry in enumerate(dataset.entries):
        of_task[task_of(entry)].append(position)
    draw = random.Random(seed)
    queues = [draw.sample(positions, len(positions)) for _, positions in sorted(of_task.items())]
    picked: list[int] = []
    while len(picked) < count and any(queues):
        picked += [queue.pop() for queue in queues if queue][: count - len(picked)]
    return [decoded(dataset, position) for position in picked]
