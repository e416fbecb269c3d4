"""The page of a run: a table of its videos, to be sorted and searched, and what could not be summarized and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..cut import cited_spans
from ..figures import time_label
from ..file_format import PAGE_NAME
from ..render import groups_for_people
from .html import link, write_page
from .video_page import MOST_ITEMS, THUMBNAIL, Made, in_order

MOST_CHARACTERS = 1000  # of a video's text in the table; its own page has all


def write_run_page(
    folder: Path, videos: Sequence[Mapping[str, Made]], failures: Sequence[str], old: int = 0
) -> Path:
    """Write the page of a run.

    Args:
        folder: the output folder.
        videos: the summaries of each, by their tasks; never none of them.
        failures: what is said of each video that could not be summarized.
        old: summaries that an older release has written, which are not shown.

    Returns:
        the page.

    Raises:
        DiskFullError, OSError: if it cannot be written.
    """
    rows = [_row(in_order(made), folder) for made in videos]
    problems = sum(bool(row["problems"]) for row in rows)
    told = [f"{len(rows):,} video{'s'[: len(rows) != 1]} summarized"]
    if old:
        told.append(f"{old:,} of an older release not shown (--overwrite makes them anew)")
    if problems:
        told.append(f"{problems:,} with problems")
    page = folder / PAGE_NAME
    write_page(
        page, "run.html", "run.js", title=f"Summaries in {folder.absolute().name}", told=", ".join(told),
        rows=rows, failures=failures,
    )  # fmt: skip
    return page


def _row(made: Sequence[Made], folder: Path) -> dict[str, Any]:
    """What the table has of a video: of the first of its summaries that has it, in the order of the tabs."""
    record = next((one.record for one in made if one.record["segments"]), made[0].record)
    paged = next((one.folder for one in made if (one.folder / PAGE_NAME).is_file()), None)
    thumbnail = next((one.folder / THUMBNAIL for one in made if (one.folder / THUMBNAIL).is_file()), None)
    groups = {one.record["task"]: groups_for_people(one.record) for one in made}
    texts = [" ".join(group.text for group in groups[task][:MOST_ITEMS]).strip() for task in groups]
    duration = record["duration_seconds"]
    share = sum(end - start for start, end in cited_spans(record)) / duration if duration else 0.0
    return {
        "name": record["video_id"],
        "url": None if paged is None else link(paged / PAGE_NAME, folder),
        "thumbnail": None if thumbnail is None else link(thumbnail, folder),
        "seconds": duration,
        "length": time_label(duration),
        "sentences": max(sum(bool(group.text) for group in found) for found in groups.values()),
        "share": round(share, 4),
        "share_text": f"{share:.0%}" if record["segments"] else "\u2013",
        "problems": [_of_task(one, made, problem) for one in made for problem in one.record["problems"]],
        "texts": [_excerpt(text) for text in dict.fromkeys(texts) if text],
    }


def _of_task(one: Made, made: Sequence[Made], problem: str) -> str:
    return problem if len(made) == 1 else f"{one.record['task'].upper()}: {problem}"


def _excerpt(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "\u2026"
