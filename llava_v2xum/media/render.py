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
from ..core.noise import LOOP, numbers_in
from ..core.spans import segments_of
from ..core.summary import Sentence, Summary
from ..core.windows import WINDOWS_KEY
from .figures import Group, frame_ranges, groups_of, time_label
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

    The segments are the parts of the video that its sentences cite (`core.spans.segments_of`): the console, the sheet
    and the clip show them. A sentence begins with its first one and ends with its last: start_seconds and end_seconds,
    null for a sentence that cites nothing.

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
    segments = segments_of(summary.sentences, seconds, duration)
    return {
        "video_id": video_id,
        "video": str(video),
        "duration_seconds": duration,
        "fps": _rounded(video, "fps", fps),
        "num_frames": len(seconds),
        "task": task,
        "answer": answer,
        "text": summary.text,
        "sentences": _timed(summary.sentences, segments),
        "segments": segments,
        "frames": list(summary.frames),
        "frame_seconds": seconds,
        "importance": None if importance is None else [_rounded(video, "importance", score, 8) for score in importance],
        "problems": list(summary.problems),
        "model": str(model),
        "versions": dict(versions),
    }


def _timed(sentences: Sequence[Sentence], segments: list[dict]) -> list[dict]:
    """The sentences with when they begin and end."""
    timed = []
    for number, sentence in enumerate(sentences):
        own = [segment for segment in segments if segment["sentence"] == number]
        timed.append(
            {
                "text": sentence.text,
                "frames": list(sentence.frames),
                "start_seconds": own[0]["start_seconds"] if own else None,
                "end_seconds": own[-1]["end_seconds"] if own else None,
            }
        )
    return timed


def _rounded(video: str | Path, name: str, value: float, places: int = 6) -> float:
    value = float(value)
    if not math.isfinite(value):
        raise V2XumError(f"{video}: {name} must be finite, got {value}")
    return round(value, places)


def groups_for_people(record: dict) -> list[Group]:
    """What of a summary is fit to be shown: of an answer that goes round in circles nothing, else the sentences without
    a row of numbers in them."""
    if any(problem.startswith(LOOP) for problem in record["problems"]):
        return []
    return [group for group in groups_of(record) if not numbers_in(group.text)]


def format_for_people(record: dict) -> str:
    """The summary as it is printed: a header, sentences with their segments' times and key frames, the problems.

    Of an answer that goes round in circles the problem stands alone, and a sentence with a row of numbers in it is left
    out; the record has both.
    """
    duration = record["duration_seconds"]
    length = f"{duration:.1f} s" if duration < 60 else time_label(duration)
    windows = len(record.get(WINDOWS_KEY, ()))
    told = f", in {windows} window{'s'[: windows != 1]}" if windows else ""
    header = f"{record['video_id']}  ({length}, {record['fps']:.4g} fps, {record['task'].upper()} summary{told})"
    lines = [header, "-" * min(len(header), LINE_WIDTH)]
    digits = len(str(record["num_frames"] - 1))
    groups = groups_for_people(record)
    indent = max([len(time) for group in groups for time in group.times], default=0)
    indent += 2 if indent else 0
    for group in groups:
        labels = [time.ljust(indent) for time in group.times] or [" " * indent]
        if group.text:
            lines += _wrapped(group.text, labels[0], indent)
            labels[0] = " " * indent
        for label, frames in zip(labels, group.frames):
            name = "key frame" if len(frames) == 1 else "key frames"
            lines += _wrapped(f"{name} {frame_ranges(frames, digits)}", label, indent)
    if not groups:
        lines.append("(no summary)")
    for problem in record["problems"]:
        lines += _wrapped(problem, "problem: ", 9)
    return "\n".join(line.rstrip() for line in lines)


def _wrapped(text: str, label: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text, max(LINE_WIDTH, indent + 40), initial_indent=label, subsequent_indent=" " * indent, break_on_hyphens=False
    )


def to_json(record: dict) -> str:
    """The record as JSON that people can read too: one key a line, and one sentence or segment a line."""

    def dumped(value: object) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    lines = []
    for key, value in record.items():
        text = dumped(value)
        if key in ("sentences", "segments") and value:
            text = "[\n    " + ",\n    ".join(map(dumped, value)) + "\n  ]"
        lines.append(f"  {dumped(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _write_json(record: dict, frames: np.ndarray, path: Path) -> None:
    with replacing(path) as part:
        part.write_text(to_json(record), encoding="utf-8")


def record_in(path: Path) -> dict:
    """The record of a summary.json; one of an older release gets the segments that it lacks.

    Raises:
        V2XumError: naming the file, if it holds no record.
        OSError: if it cannot be read.
    """
    try:
        return completed(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise V2XumError(f"{path}: expected a summary record in JSON ({error})") from error


def completed(record: dict) -> dict:
    """A record with what older releases did not write: its segments, and its problems.

    Raises:
        V2XumError: saying what else it lacks, for no such record.
    """
    try:
        sentences = [Sentence(one["text"], tuple(one["frames"])) for one in record["sentences"]]
        segments = segments_of(sentences, record["frame_seconds"], record["duration_seconds"])
        for key in ("video_id", "video", "fps", "num_frames", "task", "text", "frames", "importance", "model"):
            record[key]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise V2XumError(str(error)) from error
    return {"segments": segments, "problems": [], **record}


def _read_json(path: Path, frame_seconds: Sequence[float] | None) -> Summary:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        sentences = tuple(Sentence(one["text"], tuple(one["frames"])) for one in record["sentences"])
        return Summary(sentences, tuple(record.get("problems", ())))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise V2XumError(f"{path}: expected a summary record in JSON ({error})") from error


JSON = FileFormat("summary.json", _write_json, by_default=True, read=_read_json)
