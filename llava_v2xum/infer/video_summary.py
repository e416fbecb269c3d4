"""A summary of one video: the parsed answer, its record, and what its pictures are drawn from."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__
from ..core.answers import parse_answer
from ..core.citations import excerpt
from ..core.noise import LOOP
from ..core.sampling import LINSPACE, SAMPLING_KEY, TRACK_KEY
from ..core.summary import Summary
from ..core.timeline import Timeline
from ..media.formats import DEFAULT_FORMATS, write_files
from ..media.render import make_record
from ..media.video import Video

if TYPE_CHECKING:
    from .engine import Answer


@dataclass(frozen=True)
class VideoSummary:
    """A video's summary with all that its files are made of.

    Attributes:
        summary: the parsed answer.
        record: what `summary.json` holds.
        thumbnails: uint8 [N, h, w, 3], the frames, made small; [0, ...] where none were wanted.
        warnings: what was wrong with the file and did not stop it from being read.
    """

    summary: Summary
    record: dict
    thumbnails: np.ndarray
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, video: Video, task: str, answer: Answer, timeline: Timeline, model: str) -> VideoSummary:
        """What an answer says about a video.

        Args:
            video: its frames become the thumbnails.
            model: what the record calls the model.
        """
        summary = parse_answer(answer.text, timeline.num_frames, task, timeline.citations)
        problems = summary.problems
        if answer.loop is not None:
            problems = (*(one for one in problems if not one.startswith(LOOP)), f"{LOOP}: {excerpt(answer.loop)}")
        if not answer.finished:
            why = "max_new_tokens" if answer.loop is None else "it would go on as it does"
            problems = (*problems, f"the answer was cut off after {len(answer.token_ids)} tokens ({why})")
        summary = replace(summary, problems=problems)
        record = make_record(
            summary,
            video_id=video.path.stem,
            video=video.path,
            duration_seconds=video.duration_seconds,
            fps=video.fps,
            frame_seconds=video.frame_seconds.tolist(),
            task=task,
            answer=answer.text,
            importance=None if answer.importance is None else answer.importance.tolist(),
            model=model,
            versions=_versions(),
        )
        if timeline.rule != LINSPACE:  # scores take indexes to be N frames at even distances, and refuse this key
            record[SAMPLING_KEY] = timeline.rule
        if video.track is not None:
            record[TRACK_KEY] = video.track
        return cls(summary, record, video.frames, video.warnings)

    def save(self, directory: str | os.PathLike, formats: Iterable[str] = DEFAULT_FORMATS) -> list[Path]:
        """Write its files (`formats.write_files`)."""
        return write_files(self.record, self.thumbnails, directory, tuple(formats))


def model_name(model_path: str | os.PathLike | None) -> str:
    """What the records call the model of that path; None is the demo."""
    return "llava_v2xum shapes demo" if model_path is None else str(model_path)


def _versions() -> dict[str, str]:
    """The versions that an answer depends on."""
    import torch

    from ..features.upstream import transformers

    return {"llava_v2xum": __version__, "torch": torch.__version__, "transformers": transformers.__version__}
