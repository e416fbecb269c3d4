"""The report of a dry run: printed, as report.txt, and as one page with the frames."""

from __future__ import annotations

import argparse
import json
import logging
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

from ...core.errors import V2XumError
from ...core.extras import MissingExtra
from ...core.timeline import Timeline
from ...data.damage import limit_of
from ...data.frame_sources import VideoFiles
from ...data.mixing import REJECTED, WARNED
from ...media.figures import evenly_chosen
from ...media.page.static import picture, write_static_page
from ...media.video import VideoError, read_video
from ...model.packing import PackedDataset
from . import plan, samples, statistics

logger = logging.getLogger(__name__)

FOLDER, TEXT, PAGE = "inspection", "report.txt", "page.html"  # in the output folder
_SAMPLES = 12
_PRINTED = 3  # samples in the text
_PICTURES = 12  # of a sample
_PIXELS = 200


def write_report(asked: argparse.Namespace, model, dataset, world: int, allowed: str) -> Path:
    """Write the report into `OUTPUT_DIR/inspection`, and print its text.

    Args:
        asked: the arguments of training.
        model: loaded, its timeline bound.
        dataset: of an epoch, packed or not; rejected.jsonl and warned.jsonl of it lie in the output folder.
        world: processes of the run.
        allowed: `--max_rejected`.

    Returns:
        The folder.
    """
    folder = Path(asked.output_dir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    plain = dataset.dataset if isinstance(dataset, PackedDataset) else dataset
    timeline = model.config.timeline
    table = statistics.table(statistics.by_task(plain.entries, timeline))
    found = _found(Path(asked.output_dir), len(plain.entries), allowed)
    planned = list(plan.lines(asked, model, dataset, world))
    drawn = samples.chosen(plain, _SAMPLES)
    blocks = ["\n".join(f"{one.entry.id} ({one.task.upper()})\n{one.marked()}" for one in drawn[:_PRINTED])]
    blocks += ["\n".join(_aligned(table)), "\n".join(found), "\n".join(planned)]
    heads = (f"samples (what is learned in {samples.OPENING} {samples.CLOSING})", "an epoch", "faults", "plan")
    text = "\n\n".join(f"== {head}\n{block}" for head, block in zip(heads, blocks)) + "\n"
    (folder / TEXT).write_text(text, encoding="utf-8", errors="replace")
    print(text)
    template = (resources.files(__package__) / "page.html").read_text("utf-8")
    values = {
        "title": f"{', '.join(Path(path).name for path in asked.data_path)}, as training sees it",
        "table": table, "found": found, "plan": planned,
        "samples": (_shown(one, asked, timeline, plain.source) for one in drawn),
    }  # fmt: skip
    try:
        write_static_page(folder / PAGE, template, values)
        print(f"written: {folder / TEXT}, {folder / PAGE}")
    except MissingExtra as error:
        print(f"written: {folder / TEXT}; no page: {error}")
    return folder


def _found(output_dir: Path, kept: int, allowed: str) -> list[str]:
    """What was left out and what is doubtful, by kind, with the first of each kind named."""
    lines = []
    for name, what in ((REJECTED, "left out"), (WARNED, "doubtful, and let pass")):
        file = output_dir / name
        records = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []
        lines.append(f"{len(records)} {what}" + (f" (all of them: {file})" if records else ""))
        first: dict[str, dict[str, Any]] = {}
        for record in records:
            first.setdefault(record["kind"], record)
        for kind, count in Counter(record["kind"] for record in records).most_common():
            one = first[kind]
            task = f", {one['task'].upper()}" if one["task"] else ""
            where = f"{Path(one['file']).name}, place {one['place']}, id {one['id']}{task}"
            lines.append(f"  {kind}: {count}; the first: {where}: {one['reason']}")
        if name == REJECTED and len(records) > limit_of(allowed, kept + len(records)):
            lines.append(f"  TRAINING WOULD NOT BEGIN: that is more than --max_rejected {allowed}")
    return lines


def _aligned(table: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table]


def _shown(sample: samples.Sample, asked: argparse.Namespace, timeline: Timeline, source) -> dict[str, Any]:
    """What the page tells of a sample."""
    entry = sample.entry
    pictures, problem = _pictures(entry, asked, timeline, source)
    facts = f"{sample.task.upper()}, {entry.length} positions, {entry.learned} learned tokens"
    return {
        "id": entry.id, "facts": facts, "pieces": sample.pieces, "pictures": pictures, "problem": problem,
        "warnings": [f"{one.kind}: {one.reason}" for one in entry.warnings],
    }  # fmt: skip


def _pictures(entry, asked: argparse.Namespace, timeline: Timeline, source) -> tuple[list[dict[str, Any]], str]:
    """Frames of a sample's first video, the cited ones or some of all, where the videos themselves are given."""
    if not entry.videos or not isinstance(source, VideoFiles):
        return [], ""
    answers = " ".join(turn["value"] for turn in entry.turns[1::2])
    cited = {frame for one in timeline.citations.find(answers, timeline.num_frames, []) for frame in one.frames}
    frames = evenly_chosen(sorted(cited) or list(range(timeline.num_frames)), _PICTURES)
    try:
        video = read_video(source.file(entry.videos[0]), timeline, asked.video_track)
    except (VideoError, V2XumError) as error:
        return [], str(error)
    label = timeline.citations.index
    return [{"label": label(frame), **picture(video.frames[frame], _PIXELS)} for frame in frames], ""
