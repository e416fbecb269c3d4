"""The page of one video: its player, the summary's sentences, clip and key frames, and its importance over time.

All of it comes from the record, whose segments the clip and the sheet show too. Pictures are in the page; the source,
the clip and the other files are beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...core.atomic import replacing
from ...core.spans import Span, key_frame_of, relative_importance
from ...core.tasks import TASKS
from ..cut import CLIP, cited_spans, clip_spans
from ..figures import evenly_chosen, moment_label, time_label
from ..file_format import PAGE_NAME
from ..formats import FORMATS
from ..render import groups_for_people
from .curve import HEIGHT, STRIP, WIDTH, bands, outline
from .html import link, picture, spans_text, write_page
from .source import Source, source_for

THUMBNAIL = "thumbnail.jpg"  # of the video, for the page of the run
LARGE, SMALL, QUALITY = 320, 160, 80  # pixels of the longer side: a segment's picture, the rest of it; of JPEG
MOST_PICTURES = 12  # of a segment
MOST_SEGMENTS = 60  # of a summary that have pictures: a runaway answer must not give a page that no browser opens
MOST_ITEMS = 500  # of a summary that are listed
MOST_CHARACTERS = 400  # of a sentence in the list; the whole of it can be unfolded
PLAIN_FRAMES = 12  # of the whole video, where nothing is cited
TASK_NAMES = {"video": "Key frames", "text": "Text", "both": "Text and key frames"}


@dataclass(frozen=True)
class Made:
    """A summary with the folder of its files."""

    record: dict
    folder: Path


def frames_shown(made: Sequence[Made]) -> list[int]:
    """The numbers of the frames whose pictures a page of these summaries has, ascending."""
    found = set()
    for one in made:
        found |= {frame for run in _runs(one.record) for frame in evenly_chosen(run, MOST_PICTURES)}
        found |= {key_frame_of(run, one.record["importance"]) for run in _runs(one.record)}
        found.add(_most_important(one.record))
        if not one.record["frames"]:
            found |= set(_plain(one.record))
    return sorted(found)


def write_video_page(
    made: Sequence[Made],
    frames: Mapping[int, np.ndarray],
    run_page: Path | None = None,
    warnings: Sequence[str] = (),
    copy_seconds: float = 0.0,
) -> list[Path]:
    """Write the page of a video into the folder of each of its summaries, with all of them as tabs, and its thumbnail.

    Args:
        made: the summaries of one video, each of another task, whose files are there.
        frames: uint8 [H, W, 3] by their numbers, those of `frames_shown`; the page says so where some are missing.
        run_page: the page of the run, to which it leads.
        warnings: what was wrong with the file and did not stop it from being read.
        copy_seconds: as for `source_for`.

    Returns:
        the pages.

    Raises:
        DiskFullError, OSError: if a file cannot be written.
    """
    first = made[0]
    source = source_for(first.record, first.folder, copy_seconds)
    pictures = {number: Image.fromarray(frame) for number, frame in frames.items()}
    cited = [_most_important(one.record) for one in made if _most_important(one.record) in pictures]
    drawn = [_tab(one.record, pictures) for one in made]
    for one in made:
        if cited:
            with replacing(one.folder / THUMBNAIL) as part:
                _shrunk(pictures[cited[0]], SMALL).convert("RGB").save(part, "JPEG", quality=QUALITY)
        tabs = [{**tab, **_files(other, one.folder)} for tab, other in zip(drawn, made)]
        write_page(
            one.folder / PAGE_NAME, "video.html", "video.js", title=first.record["video_id"], tabs=tabs,
            facts=_facts(first.record), player=_player(source, first.record, one.folder), warnings=list(warnings),
            chosen=one.record["task"], run_page=None if run_page is None else link(run_page, one.folder),
            model=first.record["model"], lacking=not cited, width=WIDTH, height=HEIGHT, strip=STRIP,
            marks=[time_label(first.record["duration_seconds"] * part / 4) for part in range(5)],
        )  # fmt: skip
    return [one.folder / PAGE_NAME for one in made]


def _facts(record: dict) -> str:
    duration = record["duration_seconds"]
    length = f"{duration:.1f} seconds" if duration < 60 else time_label(duration)
    return f"{length}, {record['fps']:.4g} frames a second"


def _player(source: Source, record: dict, folder: Path) -> dict[str, Any]:
    url = None if source.path is None else link(source.path, folder)
    return {
        "url": url, "note": source.note, "offset": source.offset_seconds, "seconds": record["duration_seconds"],
    }  # fmt: skip


def _files(made: Made, folder: Path) -> dict[str, Any]:
    """Where a summary's files are, seen from a page."""
    there = [form.file_name for form in FORMATS.values() if (made.folder / form.file_name).is_file()]
    clip = CLIP.file_name if CLIP.file_name in there and made.record["frames"] else None
    return {
        "clip": clip and link(made.folder / clip, folder),
        "files": [{"name": name, "url": link(made.folder / name, folder)} for name in there],
    }


def _tab(record: dict, pictures: Mapping[int, Image.Image]) -> dict[str, Any]:
    """What the page has of one task's summary, but for its files."""
    groups = groups_for_people(record)
    items, left = [], MOST_SEGMENTS
    for group in groups[:MOST_ITEMS]:
        parts = [
            _part(record, time, span, run if number < left else (), pictures)
            for number, (time, span, run) in enumerate(zip(group.times, group.spans, group.frames))
        ]
        left -= len(parts)
        items.append(
            {
                "text": _excerpt(group.text),
                "whole": group.text if len(group.text) > MOST_CHARACTERS else "",
                "parts": parts,
                "spans": spans_text(group.spans),
            }
        )
    spans, duration = cited_spans(record), record["duration_seconds"]
    steps = relative_importance(record["importance"], record["frame_seconds"], duration)
    shown_seconds = sum(end - start for start, end in spans)
    return {
        "task": record["task"],
        "name": TASK_NAMES.get(record["task"], record["task"]),
        "items": items,
        "more": len(groups) - len(items),
        "is_loop": bool(record["sentences"]) and not groups,
        "answer": record["answer"],
        "problems": record["problems"],
        "facts": _cited(record, shown_seconds),
        "clip_spans": spans_text(clip_spans(record)),
        "outline": outline(steps, duration),
        "bands": bands(spans, duration),
        "curve": _curve_words(steps, spans),
        "plain": [] if record["frames"] else _stills(record, _plain(record), pictures, LARGE),
    }


def _part(
    record: dict, time: str, span: Span, run: Sequence[int], pictures: Mapping[int, Image.Image]
) -> dict[str, Any]:
    """A segment: its time, its most important frame, and the others, small."""
    chosen = evenly_chosen(run, MOST_PICTURES)
    first = key_frame_of(run, record["importance"]) if run else None
    return {
        "time": time,
        "start": f"{span[0]:.6f}",
        "spans": spans_text([span]),
        "picture": next(iter(_stills(record, [] if first is None else [first], pictures, LARGE)), None),
        "others": _stills(record, [frame for frame in chosen if frame != first], pictures, SMALL),
        "untold": len({*run} - {*chosen, first}),
    }


def _stills(
    record: dict, numbers: Sequence[int], pictures: Mapping[int, Image.Image], side: int
) -> list[dict[str, Any]]:
    """Frames as the page shows them."""
    found = []
    for number in numbers:
        if number in pictures:
            image, second = _shrunk(pictures[number], side), record["frame_seconds"][number]
            found.append(
                {
                    "jpeg": picture(image, QUALITY), "width": image.width, "height": image.height,
                    "time": moment_label(second), "start": f"{second:.6f}", "frame": number,
                }
            )  # fmt: skip
    return found


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    small = image.copy()
    small.thumbnail((side, side))
    return small


def _excerpt(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1].rstrip() + "\u2026"


def _cited(record: dict, seconds: float) -> str:
    if not record["frames"]:
        return "No frame is cited: there is no clip, and nothing is known of the importance of frames."
    share = seconds / record["duration_seconds"] if record["duration_seconds"] else 1.0
    cited = f"{len(record['frames'])} of {record['num_frames']} frames are cited"
    return f"{cited}; the summary shows {seconds:.1f} seconds, {share:.0%} of the video."


def _curve_words(steps: Sequence[tuple[Span, float]], spans: Sequence[Span]) -> str:
    """The curve for those who do not see it."""
    if not steps:
        return "Nothing is known of the importance of frames."
    (start, _), _ = max(steps, key=lambda step: step[1])
    return f"Importance over time: highest at {moment_label(start)}; the summary shows {len(spans)} parts of the video."


def _most_important(record: dict) -> int:
    """The frame that stands for the video."""
    return key_frame_of(record["frames"], record["importance"]) if record["frames"] else record["num_frames"] // 2


def _runs(record: dict) -> list[tuple[int, ...]]:
    """The frames of the segments that have pictures."""
    return [run for group in groups_for_people(record) for run in group.frames][:MOST_SEGMENTS]


def _plain(record: dict) -> list[int]:
    return evenly_chosen(range(record["num_frames"]), PLAIN_FRAMES)


def in_order(made: Mapping[str, Made]) -> list[Made]:
    """Summaries by their tasks, as the tabs have them: what the user most likely wants first."""
    return [made[task] for task in ("both", *(task for task in TASKS if task != "both")) if task in made]
