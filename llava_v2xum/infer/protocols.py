"""What summarizes videos, to the command: in this process or by another engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..core.errors import V2XumError
from ..core.windows import AUTO

if TYPE_CHECKING:
    from .engine import EngineStats
    from .video_summary import VideoSummary


Summaries = Generator["VideoSummary | dict[str, VideoSummary]", None, None]  # of each video, or of each by task


class VideoSummarizer(Protocol):
    """`Summarizer`, and every class whose summaries are the same.

    Attributes:
        note: what people are to know about the model, or None.
        stats: of the decoders, over all that was summarized so far.
        seconds: by part, likewise.
    """

    note: str | None

    @property
    def seconds(self) -> Mapping[str, float]: ...

    @property
    def stats(self) -> EngineStats: ...

    def summarize_many(
        self,
        paths: Iterable[str | os.PathLike],
        task: str = "both",
        *,
        on_error: Callable[[Path, V2XumError], None] | None = None,
        workers: int | None = None,
        thumbnails: bool = True,
        video_track: int | None = None,
        window: str | float = AUTO,
        **options: Any,
    ) -> Summaries:
        """The summary of every video that has one; see `Summarizer.summarize_many`."""
        ...

    def save_draft_table(self, path: str | os.PathLike) -> None:
        """Write what the answers so far have taught, if it is kept; see `Summarizer.save_draft_table`."""
        ...
