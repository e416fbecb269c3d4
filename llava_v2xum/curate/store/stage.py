"""What a stage is: a video and what the stages before it found -> what it finds, or why the video falls out.

    Source, {"select": {...}, "caption": {...}, ...}  --Stage.work-->  a JSON object   (or Rejected, or Failed)

Every stage's result is a JSON object; its keys are told in the docstring of the stage's `work`. Seconds are of the
video; a frame is its number at 1 FPS, so frame i is the picture shown at second i.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...core.endpoint.outcomes import NoResult
from ...core.endpoint.store import Ledger


@dataclass(frozen=True)
class Source:
    """A video file.

    Args:
        video_id: its name in the data set, unique there.
        path: the file.
    """

    video_id: str
    path: Path


class Rejected(NoResult):
    """The video falls out of the data set, for good as long as the settings stay.

    Args:
        kind: a word or two, to count by, such as "too short" or "duplicate".
        reason: what was expected and what came; names no path and no key.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


WAITS = "nothing"  # it waits for endpoints, or is done in no time
CPU = "a CPU"  # as many processes as there are CPUs
GPU = "a GPU"  # as many as there are GPUs, or what --ray-captioners and --ray-gpus say
GPU_SHARE = "a share of a GPU"  # beside those


class Stage(ABC):
    """One stage. It is sent to other processes before its first use: what it loads, it loads in `work`.

    Attributes:
        name: of the stage.
        workers: how many videos one process works on at a time; `work` is then called by as many threads.
        only_selects: whether its settings decide which videos go on and nothing else: what it finds of a content does
            not depend on them, and neither does what later stages find.
        reads_video: whether it reads the file, which must then stay as it is.
        needs: what one of its processes takes of a cluster: WAITS, CPU, GPU or GPU_SHARE.
    """

    name: ClassVar[str]
    only_selects: ClassVar[bool] = False
    reads_video: ClassVar[bool] = False
    needs: ClassVar[str] = WAITS
    workers: int = 1

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that the results depend on, as JSON: models, options, hashes of prompts; no key, no address."""

    @abstractmethod
    def work(self, source: Source, before: Mapping[str, Any], ledger: Ledger) -> dict[str, Any]:
        """The stage's result for one video; the same again for the same video, settings and stored parts.

        Args:
            before: the results of the stages before this one, by their names.
            ledger: where parts that cost something are stored as they come, and looked up first.

        Raises:
            Rejected: if the video falls out here.
            Failed: if it cannot be worked on now.
            Stop: if no video can be.
        """

    def settle(self, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Rejected]:
        """Videos that fall out when all are known; called once all are done, in the caller's process.

        Args:
            results: video_id -> result, in the order of the ids.

        Returns:
            video_id -> why it falls out.
        """
        return {}


def fingerprints(stages: Sequence[Stage]) -> list[str]:
    """One for each stage: it changes when the stage's settings, or those that its results depend on, change."""
    found, before = [], ""
    for stage in stages:
        text = json.dumps([before, stage.name, stage.settings()], sort_keys=True)
        found.append(hashlib.sha256(text.encode()).hexdigest()[:16])
        before = before if stage.only_selects else found[-1]
    return found
