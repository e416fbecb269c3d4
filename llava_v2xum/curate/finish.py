"""What the stages found -> the data set: its files, checked, with their card and a page to judge them by."""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.sampling import TRACK_KEY
from .card import card
from .card.card import CardFacts, row_of, write_card
from .card.quality import quality_before_after
from .data_set.entries import RejectedVideo, entries_of, write_entries, write_rejected
from .data_set.preview import Sample, choose, write_preview
from .data_set.splits import SPLITS, split
from .rounds import Curated
from .stages.duplicates import contents_of
from .store.stage import Rejected, Source
from .validate import check_files

REJECTED_FILE = "rejected.jsonl"
PREVIEW_FILE = "preview.html"
FILES = (*(f"{name}.json" for name in SPLITS), REJECTED_FILE, *card.FILES, PREVIEW_FILE)
_UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Making:
    """How the set is made of what was found.

    Args:
        tasks: of `tasks.TASKS`, the instructions of each video.
        proportions: of train, val and test.
        seed: of the splits and of the preview.
        previewed: videos on the preview.
        models, prompts, options: of the run, for the card.
        grammar, plausibility, device: see `card.quality.quality_before_after`.
    """

    tasks: Sequence[str]
    proportions: tuple[int, int, int]
    seed: int = 0
    previewed: int = 24
    models: Mapping[str, str] | None = None
    prompts: Mapping[str, str] | None = None
    options: Mapping[str, Any] | None = None
    grammar: Sequence[str] = ()
    plausibility: Sequence[str] = ()
    device: str | None = None


def write_data_set(folder: Path, sources: Sequence[Source], curated: Curated, making: Making) -> CardFacts:
    """Write train.json, val.json, test.json, rejected.jsonl, the card and preview.html.

    All of them are written and checked before the first takes its place, so that after an error the set of an earlier
    run is still there as a whole, and no video is in two of its splits.

    Returns:
        what the card tells.

    Raises:
        RuntimeError: if a file that was written is not valid, which is a fault of this package.
        V2XumError, OSError: as `quality_before_after` raises; if a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / _UNFINISHED
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    part.mkdir()
    try:
        facts = _write(part, sources, curated, making)
        for name in FILES:
            if (part / name).exists():
                os.replace(part / name, folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(part)
    return facts


def _write(folder: Path, sources: Sequence[Source], curated: Curated, making: Making) -> CardFacts:
    entries, out = _entries(curated, making)
    finished = {video_id: curated.finished[video_id] for video_id in entries}
    contents = contents_of({video_id: found["select"] for video_id, found in finished.items()})
    splits = split(contents, making.proportions, making.seed)
    for name in SPLITS:
        of_split = (video_id for video_id in finished if splits[video_id] == name)
        write_entries(folder / f"{name}.json", (entry for video_id in of_split for entry in entries[video_id]()))
    written = [path for name in SPLITS if (path := folder / f"{name}.json").exists()]
    if problems := [problem for checked in check_files(written) for problem in checked.problems]:
        raise RuntimeError(f"what was written is not valid: {problems[0]}")
    left = [*curated.rejected, *curated.failed, *out]
    write_rejected(folder / REJECTED_FILE, left)
    facts = _facts(finished, splits, left, curated, making)
    write_card(folder, facts)
    paths = {source.video_id: source for source in sources}
    track = (making.options or {}).get(TRACK_KEY)
    samples = [Sample(paths[name], finished[name], track) for name in choose(finished, making.previewed, making.seed)]
    write_preview(folder / PREVIEW_FILE, samples, len(finished))
    return facts


def _entries(curated: Curated, making: Making) -> tuple[dict[str, Callable[[], list[dict]]], list[RejectedVideo]]:
    """What makes each video's entries, so that they need not all be in memory; and the videos that have none."""
    makers: dict[str, Callable[[], list[dict]]] = {}
    out: list[RejectedVideo] = []
    for video_id, found in curated.finished.items():

        def make(video_id: str = video_id, found: Mapping[str, Any] = found) -> list[dict]:
            return entries_of(video_id, found, making.tasks)

        try:
            make()
            makers[video_id] = make
        except Rejected as error:
            out.append(RejectedVideo(video_id, "write", error.kind, str(error)))
    return makers, out


def _facts(finished, splits, left: Sequence[RejectedVideo], curated: Curated, making: Making) -> CardFacts:
    rejected: dict[str, Counter] = defaultdict(Counter)
    failed = {(one.video_id, one.stage) for one in curated.failed}
    for one in left:
        if (one.video_id, one.stage) not in failed:
            rejected[one.stage][one.kind] += 1
    return CardFacts(
        rows=tuple(row_of(video_id, found, splits[video_id]) for video_id, found in finished.items()),
        rejected=rejected,
        failed=len(curated.failed),
        models=making.models or {},
        prompts=making.prompts or {},
        options=making.options or {},
        costs={stage: {**asdict(cost), "videos": curated.videos[stage]} for stage, cost in curated.costs.items()},
        quality=quality_before_after(finished.items(), making.grammar, making.plausibility, making.device),
        tasks=tuple(making.tasks),
    )
