"""The summary clip as a cut of the source, for editors: CMX 3600 EDL, and OpenTimelineIO.

Both count the source's frames from its first one on, at the record's frame rate; of a video whose rate varies the cuts
are as exact as its mean rate is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from ...core.atomic import replacing, write_whole
from ...core.errors import V2XumError
from ...core.extras import require
from ...core.summary import Sentence, Summary
from ..cut import clip_spans
from ..file_format import FileFormat

OWN = "llava_v2xum"  # the key of what only this package reads
EXTRA = "edit"


@dataclass(frozen=True)
class Shot:
    """A part of the source, frames [first, end), and the sentences that it is of."""

    first: int
    end: int
    sentences: tuple[int, ...]
    text: str


def shots_of(record: dict) -> list[Shot]:
    """What the clip shows, span by span; none is shorter than a frame."""
    shots = []
    for start, end in clip_spans(record):
        first, last = round(start * record["fps"]), round(end * record["fps"])
        within = [one for one in record["segments"] if one["start_seconds"] < end and one["end_seconds"] > start]
        numbers = tuple(sorted({one["sentence"] for one in within}))
        texts = [record["sentences"][number]["text"] for number in numbers]
        shots.append(Shot(first, max(last, first + 1), numbers, " / ".join(text for text in texts if text)))
    return shots


def has_sound(path: str | Path) -> bool:
    """Whether the source has sound; a source that is not there any more counts as one without."""
    try:
        with av.open(str(path)) as source:
            return bool(source.streams.audio)
    except (OSError, av.FFmpegError):
        return False


def timecode(frame: int, rate: int) -> str:
    """hh:mm:ss:ff, non-drop."""
    seconds, rest = divmod(frame, rate)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{rest:02d}"


def write_edl(record: dict, frames: np.ndarray, path: Path) -> None:
    """CMX 3600, non-drop, at the whole rate next to the source's (30 for 29.97); the cut begins at 00:00:00:00."""
    rate, name = max(round(record["fps"]), 1), Path(record["video"]).name
    channels = "B    " if has_sound(record["video"]) else "V    "  # both, or video alone
    lines, at = [f"TITLE: {_line(record['video_id'])}", "FCM: NON-DROP FRAME", ""], 0
    for number, shot in enumerate(shots_of(record), 1):
        length = shot.end - shot.first
        codes = (timecode(frame, rate) for frame in (shot.first, shot.end, at, at + length))
        lines.append(f"{number:03d}  AX       {channels} C        {' '.join(codes)}")
        lines.append(f"* FROM CLIP NAME: {_line(name)}")
        if shot.text:
            lines.append(f"* COMMENT: {_line(shot.text)}")
        at += length
    write_whole(path, "\n".join(lines) + "\n")


def _line(text: str) -> str:
    return " ".join(text.split())


def write_otio(record: dict, frames: np.ndarray, path: Path) -> None:
    """An OpenTimelineIO timeline: a track of pictures, and one of sound if the source has any.

    Raises:
        MissingExtra: if OpenTimelineIO is not installed.
    """
    otio = require("opentimelineio", EXTRA)
    kinds = [otio.schema.TrackKind.Video]
    kinds += [otio.schema.TrackKind.Audio] if has_sound(record["video"]) else []
    timeline = otio.schema.Timeline(record["video_id"])
    for kind in kinds:
        track = otio.schema.Track(kind, kind=kind)
        track.extend([_clip(otio, record, shot) for shot in shots_of(record)])
        timeline.tracks.append(track)
    sentences = [{"text": one["text"], "frames": one["frames"]} for one in record["sentences"]]
    timeline.metadata[OWN] = {"num_frames": record["num_frames"], "task": record["task"], "sentences": sentences}
    with replacing(path) as part:
        otio.adapters.write_to_file(timeline, str(part))


def _clip(otio: Any, record: dict, shot: Shot) -> Any:
    def span(first: int, length: int) -> Any:
        return otio.opentime.TimeRange(*(otio.opentime.RationalTime(count, record["fps"]) for count in (first, length)))

    source = otio.schema.ExternalReference(
        Path(record["video"]).absolute().as_uri(), span(0, round(record["duration_seconds"] * record["fps"]))
    )
    clip = otio.schema.Clip(shot.text or Path(record["video"]).name, source, span(shot.first, shot.end - shot.first))
    clip.metadata[OWN] = {"sentences": list(shot.sentences)}
    return clip


def read_otio(path: Path, frame_seconds: Sequence[float] | None) -> Summary:
    """The sentences and frames that `write_otio` noted in the timeline.

    Raises:
        MissingExtra: if OpenTimelineIO is not installed.
        V2XumError: naming the file, if it is no such timeline.
    """
    otio = require("opentimelineio", EXTRA)
    try:
        timeline = otio.adapters.read_from_file(str(path))  # which owns its metadata
        noted = timeline.metadata[OWN]["sentences"]
        return Summary(tuple(Sentence(one["text"], tuple(one["frames"])) for one in noted))
    except (otio.exceptions.OTIOError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise V2XumError(f"{path}: expected a timeline that this package wrote ({error})") from error


def _is_cited(record: dict) -> bool:
    return bool(record["frames"])


EDL = FileFormat("summary.edl", write_edl, is_of=_is_cited, help="the cut as a CMX 3600 edit decision list")
OTIO = FileFormat(
    "summary.otio", write_otio, is_of=_is_cited, help="the cut as an OpenTimelineIO timeline", read=read_otio,
    needs=("opentimelineio", EXTRA),
)  # fmt: skip
