"""Summary -> the record of it, as JSON and as text for people."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.atomic import replacing
from ..core.errors import V2XumError
from ..core.noise import LOOP
from ..core.summary import Summary
from .cut import frame_spans
from .figures import frame_ranges, groups_of, time_label
from .file_format import FileFormat

LINE_WIDTH = 100  # of the text for people


def make_record(
    summary: Summary,
    *,
    video_id: str,
    video: str | Path,
    duration_seconds: float,
    fps: float,
    frame_seconds: Sequence[float],
    task: str,
    answer: str,
    importance: Sequence[float] | None,
    model: str,
    versions: Mapping[str, str],
) -> dict:
    """Make the record of one summary: what summary.json and a line of summaries.jsonl hold, ready for JSON.

    A sentence's start_seconds is the second of its earliest cited frame; its end_seconds is where its latest
    one gives way to the next sampled frame (the last of all lasts a mean step), at most the duration. Both
    are null for a sentence that cites nothing.

    Args:
        summary: the parsed answer; its problems go into the record.
        frame_seconds: float [N], ascending.
        answer: the text as generated.
        importance: float [N], or None where there is none.
        versions: of the packages that made it.

    Raises:
        V2XumError: if a number is not finite, importance has another length than frame_seconds, or a frame
            lies outside.
    """
    seconds = [_rounded(video, "frame_seconds", second) for second in frame_seconds]
    outside = [frame for frame in summary.frames if not 0 <= frame < len(seconds)]
    if outside:
        raise V2XumError(f"{video}: frames must lie in 0..{len(seconds) - 1}, got {outside}")
    if importance is not None and len(importance) != len(seconds):
        raise V2XumError(f"{video}: expected {len(seconds)} importance scores, one a frame, got {len(importance)}")
    duration = _rounded(video, "duration_seconds", duration_seconds)
    return {
        "video_id": video_id,
        "video": str(video),
        "duration_seconds": duration,
        "fps": _rounded(video, "fps", fps),
        "num_frames": len(seconds),
        "task": task,
        "answer": answer,
        "text": summary.text,
        "sentences": _timed(summary, seconds, duration),
        "frames": list(summary.frames),
        "frame_seconds": seconds,
        "importance": None if importance is None else [_rounded(video, "importance", score, 8) for score in importance],
        "problems": list(summary.problems),
        "model": str(model),
        "versions": dict(versions),
    }


def _timed(summary: Summary, seconds: list[float], duration: float) -> list[dict]:
    """The sentences with when they begin and end."""
    spans = frame_spans(seconds, duration)
    return [
        {
            "text": sentence.text,
            "frames": list(sentence.frames),
            "start_seconds": seconds[min(sentence.frames)] if sentence.frames else None,
            "end_seconds": round(min(spans[max(sentence.frames)][1], duration), 6) if sentence.frames else None,
        }
        for sentence in summary.sentences
    ]


def _rounded(video: str | Path, name: str, value: float, places: int = 6) -> float:
    value = float(value)
    if not math.isfinite(value):
        raise V2XumError(f"{video}: {name} must be finite, got {value}")
    return round(value, places)


def format_for_people(record: dict) -> str:
    """The summary as it is printed: a header, each sentence with its time and key frames, the problems.

    Of an answer that goes round in circles the problem stands alone; the record has the answer.
    """
    duration = record["duration_seconds"]
    length = f"{duration:.1f} s" if duration < 60 else time_label(duration)
    header = f"{record['video_id']}  ({length}, {record['fps']:.4g} fps, {record['task'].upper()} summary)"
    lines = [header, "-" * min(len(header), LINE_WIDTH)]
    digits = len(str(record["num_frames"] - 1))
    groups = groups_of(record)
    indent = max([len(group.time) for group in groups], default=0)
    indent += 2 if indent else 0
    is_noise = any(problem.startswith(LOOP) for problem in record["problems"])
    for group in () if is_noise else groups:
        label = group.time.ljust(indent)
        if group.text:
            lines += _wrapped(group.text, label, indent)
            label = " " * indent
        if group.frames:
            name = "key frame" if len(group.frames) == 1 else "key frames"
            lines += _wrapped(f"{name} {frame_ranges(group.frames, digits)}", label, indent)
    if is_noise or not record["sentences"]:
        lines.append("(no summary)")
    for problem in record["problems"]:
        lines += _wrapped(problem, "problem: ", 9)
    return "\n".join(line.rstrip() for line in lines)


def _wrapped(text: str, label: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text, max(LINE_WIDTH, indent + 40), initial_indent=label, subsequent_indent=" " * indent, break_on_hyphens=False
    )


def to_json(record: dict) -> str:
    """The record as JSON that people can read too: one key a line, and one sentence a line."""

    def dumped(value: object) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    lines = []
    for key, value in record.items():
        text = dumped(value)
        if key == "sentences" and value:
            text = "[\n    " + ",\n    ".join(dumped(sentence) for sentence in value) + "\n  ]"
        lines.append(f"  {dumped(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _write_json(record: dict, frames: np.ndarray, path: Path) -> None:
    with replacing(path) as part:
        part.write_text(to_json(record), encoding="utf-8")


JSON = FileFormat("summary.json", _write_json, by_default=True)
