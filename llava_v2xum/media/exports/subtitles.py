"""The sentences as subtitles of the source: WebVTT, SubRip, and YouTube's json3."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...core.atomic import write_whole
from ...core.citations import CitationGrammar
from ...core.errors import V2XumError
from ...core.summary import Summary
from ..file_format import FileFormat
from .cues import clock_time, cues_of, frames_within, has_cues, seconds_of, summary_of

_ARROW = " --> "
_NAME = re.compile(r"(\d+) \[([\d, ]+)\]")  # of a cue in WebVTT: the sentence's number and the frames


def write_vtt(record: dict, frames: np.ndarray, path: Path) -> None:
    """WebVTT (W3C); a cue is named by its sentence and frames, which players do not show."""
    citations = CitationGrammar(digits=len(str(record["num_frames"] - 1)))
    blocks = ["WEBVTT"]
    for cue in cues_of(record):
        times = f"{clock_time(cue.start_seconds)}{_ARROW}{clock_time(cue.end_seconds)}"
        text = html.escape(cue.text, quote=False)
        blocks.append(f"{cue.sentence} {citations.write(cue.frames)}\n{times}\n{text}")
    write_whole(path, "\n\n".join(blocks) + "\n")


def read_vtt(path: Path, frame_seconds: Sequence[float] | None) -> Summary:
    """The sentences, with the frames that the cues' names tell, else those within their times."""
    cues: list[tuple[int | str, str, list[int]]] = []
    for name, start, end, text in _blocks(path):
        known, text = _NAME.fullmatch(name), html.unescape(text)
        if known:
            cues.append((int(known[1]), text, [int(frame) for frame in known[2].split(",")]))
        else:
            cues.append((text, text, frames_within(start, end, frame_seconds)))
    cues.sort(key=lambda cue: cue[0] if isinstance(cue[0], int) else 0)  # others keep the order of their times
    return summary_of(cues)


def write_srt(record: dict, frames: np.ndarray, path: Path) -> None:
    """SubRip, whose cues have numbers and times alone."""
    blocks = []
    for number, cue in enumerate(cues_of(record), 1):
        times = f"{clock_time(cue.start_seconds, ',')}{_ARROW}{clock_time(cue.end_seconds, ',')}"
        blocks.append(f"{number}\n{times}\n{cue.text}\n")
    write_whole(path, "\n".join(blocks))


def read_srt(path: Path, frame_seconds: Sequence[float] | None) -> Summary:
    """The sentences, by their first times, with the frames within their times; cues of one text are one sentence."""
    cues = [(text, text, frames_within(start, end, frame_seconds)) for _, start, end, text in _blocks(path)]
    return summary_of(cues)


def _blocks(path: Path) -> Iterator[tuple[str, float, float, str]]:
    """The cues of a file of subtitles: each one's name ("" for none), start, end and text.

    Raises:
        V2XumError: naming the file and the line, for a time that is none.
    """
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    for place, line in enumerate(lines):
        if _ARROW not in line or (place and lines[place - 1] and _ARROW in lines[place - 1]):
            continue
        try:
            start, end = (seconds_of(part.split()[0]) for part in line.split(_ARROW, 1))
        except (ValueError, IndexError) as error:
            raise V2XumError(f"{path}:{place + 1}: expected the times of a subtitle, got {line!r}") from error
        text = []
        for following in lines[place + 1 :]:
            if not following.strip():
                break
            text.append(following)
        yield lines[place - 1] if place else "", start, end, " ".join(text)


def write_json3(record: dict, frames: np.ndarray, path: Path) -> None:
    """Captions as YouTube's players and download tools have them: events with milliseconds."""
    events = []
    for cue in cues_of(record):
        start, end = round(cue.start_seconds * 1000), round(cue.end_seconds * 1000)
        events.append({"tStartMs": start, "dDurationMs": end - start, "segs": [{"utf8": cue.text}]})
    write_whole(path, json.dumps({"wireMagic": "pb3", "events": events}, ensure_ascii=False, indent=1) + "\n")


def read_json3(path: Path, frame_seconds: Sequence[float] | None) -> Summary:
    """As `read_srt`; events without text, which say how captions look, are passed over."""
    try:
        cues = []
        for event in json.loads(path.read_text(encoding="utf-8"))["events"]:
            text = "".join(part["utf8"] for part in event.get("segs", ())).strip()
            if text:
                start = event["tStartMs"] / 1000
                end = start + event.get("dDurationMs", 0) / 1000
                cues.append((text, text, frames_within(start, end, frame_seconds)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise V2XumError(f"{path}: expected captions in json3, events with tStartMs and segs ({error})") from error
    return summary_of(cues)


VTT = FileFormat("summary.vtt", write_vtt, is_of=has_cues, help="WebVTT subtitles", read=read_vtt)
SRT = FileFormat("summary.srt", write_srt, is_of=has_cues, help="SubRip subtitles", read=read_srt)
JSON3 = FileFormat("summary.json3", write_json3, is_of=has_cues, help="captions as YouTube has them", read=read_json3)
