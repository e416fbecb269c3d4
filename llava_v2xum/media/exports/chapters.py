"""The sentences as chapters of the source: for a description on YouTube, and for FFmpeg."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...core.atomic import write_whole
from ..figures import time_label
from ..file_format import FileFormat
from .cues import cues_of, has_cues

LEAST_SECONDS = 10.0  # YouTube shows chapters only where each lasts that long, and the first begins at 0:00
LONGEST_TITLE = 100  # characters, YouTube's limit


def chapters_of(record: dict) -> list[tuple[float, str]]:
    """Each sentence with the second at which it is first to be seen, ascending."""
    seen: dict[int, tuple[float, str]] = {}
    for cue in cues_of(record):
        seen.setdefault(cue.sentence, (cue.start_seconds, cue.text))
    return list(seen.values())


def write_youtube(record: dict, frames: np.ndarray, path: Path) -> None:
    """Lines for a video's description; what would begin less than ten seconds after a chapter is put to it."""
    chapters: list[tuple[float, list[str]]] = []
    duration = record["duration_seconds"]
    for start, text in chapters_of(record):
        start = float(int(start))  # as the line tells it
        if not chapters and start >= LEAST_SECONDS:
            chapters.append((0.0, ["Start"]))
        if not chapters:
            chapters.append((0.0, [text]))
        elif start - chapters[-1][0] < LEAST_SECONDS or duration - start < LEAST_SECONDS:
            chapters[-1][1].append(text)
        else:
            chapters.append((start, [text]))
    lines = [f"{time_label(start)} {_title(' / '.join(texts))}" for start, texts in chapters]
    write_whole(path, "\n".join(lines) + "\n")


def _title(text: str) -> str:
    return text if len(text) <= LONGEST_TITLE else text[: LONGEST_TITLE - 3].rstrip() + "..."


def write_ffmetadata(record: dict, frames: np.ndarray, path: Path) -> None:
    """FFmpeg's metadata file: `ffmpeg -i video -i chapters.ffmetadata -map_chapters 1 -codec copy out.mp4`.

    What begins at the same time is one chapter: of two the first would last for no time, and never be seen.
    """
    chapters: dict[int, list[str]] = {}
    for start, text in chapters_of(record):
        chapters.setdefault(round(start * 1000), []).append(text)
    lines, ends = [";FFMETADATA1"], [*chapters, round(record["duration_seconds"] * 1000)][1:]
    for (start, texts), end in zip(chapters.items(), ends):
        title = re.sub(r"[=;#\\\n]", r"\\\g<0>", " / ".join(texts))
        lines += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={start}", f"END={end}", f"title={title}"]
    write_whole(path, "\n".join(lines) + "\n")


YOUTUBE = FileFormat("chapters.txt", write_youtube, is_of=has_cues, help="chapters for a description on YouTube")
FFMETADATA = FileFormat("chapters.ffmetadata", write_ffmetadata, is_of=has_cues, help="chapters for FFmpeg")
