"""CLIP's metrics in the commands: the model and the videos found before anything is scored, then its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ...core.errors import V2XumError
from ...core.extras import check_device
from ..formats.cases import Case
from ..metrics.measures import Measure
from .options import Settings

CLIP_CACHE = "embeddings.sqlite"


class ClipScoring:
    """What CLIP's metrics need; a model or folder that is not there is told at once.

    Args:
        settings: with `clip` and `videos`.
        out: the folder where embeddings are kept if the settings name no other file.

    Raises:
        V2XumError, OSError: naming the model, the device, or the folder of videos.
        ImportError: if a package that CLIP or the decoder needs is not installed.
    """

    def __init__(self, settings: Settings, out: Path) -> None:
        from ..models.clip_models import load_clip

        check_device(settings.clip_device)
        if settings.clip is None or settings.videos is None:
            raise V2XumError("CLIP's metrics need a model and the videos")
        self.videos = videos_by_id(settings.videos)
        self.model = load_clip(settings.clip, settings.clip_weights, settings.clip_device)
        self.cache = settings.clip_cache or out / CLIP_CACHE
        self.seeds, self.has_baselines = settings.seeds, not settings.no_clip_baselines

    def rows(
        self, cases: Sequence[Case], baselines: bool, progress: Callable[[Iterable], Iterable] | None
    ) -> dict[str, list[Measure]]:
        """The rows of `v2vt.v2vt_rows`, with random, uniform and human ones if both the caller and the settings ask."""
        from ..groups.v2vt import v2vt_rows
        from ..models.embeddings import EmbeddingCache

        with EmbeddingCache(self.cache) as cache:
            return v2vt_rows(
                cases,
                self.videos,
                self.model,
                cache,
                seeds=self.seeds,
                baselines=baselines and self.has_baselines,
                progress=progress,
            )


def videos_by_id(folder: Path) -> dict[str, Path]:
    """The video files directly in a folder, by their names without endings.

    Raises:
        V2XumError: if the folder holds none, or two of one name.
    """
    from ...media.video import find_videos  # here, because it loads the decoder

    found: dict[str, Path] = {}
    for path in find_videos(folder):
        first = found.setdefault(path.stem, path)
        if first is not path:
            raise V2XumError(f"{path}: {first} has the same id {path.stem!r}")
    return found
