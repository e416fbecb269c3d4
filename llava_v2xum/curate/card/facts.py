"""What a made data set is like and how it was made: the facts of its card, from the results of its videos.

Everything but the seconds among the costs follows from the results alone: the same set has the same card.

Shapes: V videos.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...core.timeline import Timeline
from ..data_set.entries import ENTRY_TASKS, sentences_of
from ..data_set.splits import SPLITS
from ..stages import registry

# paper, section 3; its 16.39 % are 30 frames of 183 seconds
PAPER = {"duration_seconds": 183.0, "text_tokens": 239.0, "key_frames": 30.0, "compression": 0.1639}

_TOKEN = re.compile(r"\w+(?:['\u2019-]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class VideoRow:
    """One video of the set.

    Args:
        video_id: its id.
        split: of `splits.SPLITS`.
        duration_seconds: of the source.
        sampled_frames: T, at 1 FPS.
        key_frames: how many are kept; each has a sentence.
        dropped: how many chosen captions the filter took out.
        text_tokens: of the text summary, by `count_tokens`.
        indexes: how many different indexes of N = 100 the key frames fall on.
        refined: whether the sentences were refined.
    """

    video_id: str
    split: str
    duration_seconds: float
    sampled_frames: int
    key_frames: int
    dropped: int
    text_tokens: int
    indexes: int
    refined: bool

    @property
    def compression(self) -> float:
        """The share of the sampled frames that is kept."""
        return self.key_frames / self.sampled_frames


@dataclass(frozen=True)
class CardFacts:
    """All that a card tells.

    Args:
        rows: [V], of the videos that are in the set.
        rejected: stage -> kind -> how many videos.
        failed: how many videos could not be worked on, and are tried again by the next run.
        models: what for -> name, such as {"caption": "llava-hf/..."}.
        prompts: name -> hash.
        options: those of the run, as JSON; no key, no address.
        costs: stage -> {"calls", "prompt_tokens", "completion_tokens", "seconds", "videos"}.
        quality: `quality.quality_before_after`'s, or None where it was not measured.
        tasks: those that each video has an entry of.
        name: of the data set.
    """

    rows: tuple[VideoRow, ...]
    rejected: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    failed: int = 0
    models: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    quality: Mapping[str, Any] | None = None
    tasks: tuple[str, ...] = ENTRY_TASKS
    name: str = "Instruct-V2Xum-style cross-modal video summarization"

    def splits(self) -> dict[str, int]:
        """How many videos each split has."""
        found = Counter(row.split for row in self.rows)
        return {name: found[name] for name in SPLITS}

    def figures(self) -> dict[str, dict[str, float] | None]:
        """mean, median, min and max over the videos of the quantities of `PAPER`; None without videos."""
        return {name: _figures([value(row) for row in self.rows]) for name, value in QUANTITIES.items()}

    def compression_of_means(self) -> float | None:
        """Kept frames of all videos over sampled frames of all videos: how the paper's figures go together."""
        sampled = sum(row.sampled_frames for row in self.rows)
        return sum(row.key_frames for row in self.rows) / sampled if sampled else None

    def rejected_in_order(self) -> dict[str, dict[str, int]]:
        """`rejected` in the order of the stages, kinds with the most videos first."""
        stages = sorted(self.rejected, key=lambda stage: ((*registry.NAMES, "write", stage).index(stage), stage))
        ranked = {stage: sorted(self.rejected[stage].items(), key=lambda one: (-one[1], one[0])) for stage in stages}
        return {stage: dict(kinds) for stage, kinds in ranked.items()}

    def to_record(self) -> dict[str, Any]:
        """The facts as JSON; single videos are in the set itself."""
        return {
            "name": self.name,
            "videos": len(self.rows),
            "entries": len(self.rows) * len(self.tasks),
            "splits": self.splits(),
            "key_frames": sum(row.key_frames for row in self.rows),
            "dropped_captions": sum(row.dropped for row in self.rows),
            "unrefined_videos": sum(not row.refined for row in self.rows),
            "key_frames_that_share_an_index": sum(row.key_frames - row.indexes for row in self.rows),
            "figures": self.figures(),
            "compression_of_means": self.compression_of_means(),
            "paper": PAPER,
            "rejected": self.rejected_in_order(),
            "failed": self.failed,
            "models": dict(self.models),
            "prompts": dict(self.prompts),
            "options": dict(self.options),
            "costs": {stage: dict(cost) for stage, cost in self.costs.items()},
            "quality": self.quality,
        }


QUANTITIES: dict[str, Callable[[VideoRow], float]] = {  # the keys of PAPER
    "duration_seconds": lambda row: row.duration_seconds,
    "text_tokens": lambda row: row.text_tokens,
    "key_frames": lambda row: row.key_frames,
    "compression": lambda row: row.compression,
}


def row_of(video_id: str, results: Mapping[str, Any], split: str, timeline: Timeline | None = None) -> VideoRow:
    """A video's row, of its stages' results by their names; its text is counted as it is written.

    Raises:
        Rejected, V2XumError: as `entries.sentences_of`.
    """
    texts = sentences_of(video_id, results)
    timeline = timeline or Timeline()
    duration, frames = float(results["select"]["duration"]), results["filter"]["frames"]
    return VideoRow(
        video_id,
        split,
        duration,
        results["select"]["sampled_frames"],
        len(frames),
        len(results["filter"]["dropped"]),
        count_tokens(" ".join(texts)),
        len({timeline.index_at(frame, duration) for frame in frames}),
        bool(results["refine"]["refined"]),
    )


def count_tokens(text: str) -> int:
    """How many words and punctuation marks a text has; the paper does not say how it counts its 239."""
    return len(_TOKEN.findall(text))


def _figures(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    mean, median = statistics.fmean(values), statistics.median(values)
    return {"mean": mean, "median": float(median), "min": float(min(values)), "max": float(max(values))}
