"""What a page plays of its source: the file itself where browsers play it, else a small copy beside the page."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import V2XumError
from ...core.sampling import TRACK_KEY
from ..cut import cut_clip
from ..figures import time_label
from ..opening import is_cover, opened

logger = logging.getLogger(__name__)

COPY_SECONDS = 600  # our choice: a copy of a longer video would take minutes of a core
COPY_SIDE = 640  # our choice: the longer side of a copy, to judge a summary by
_LEAST_OFFSET_SECONDS = 0.05  # smaller ones are an encoder's delay
_8BIT, _10BIT = {"yuv420p", "yuvj420p"}, {"yuv420p", "yuvj420p", "yuv420p10le"}
_PICTURES: Mapping[str, set[str]] = {"h264": _8BIT, "vp8": _8BIT, "vp9": _8BIT, "av1": _10BIT}
_SOUNDS = {"aac", "mp3", "opus", "vorbis", "flac"}
_FILES = {  # endings: what FFmpeg calls the container, and the codecs of pictures in it
    ".mp4": ("mp4", set(_PICTURES)),
    ".m4v": ("mp4", set(_PICTURES)),
    ".webm": ("webm", {"vp8", "vp9", "av1"}),
}


@dataclass(frozen=True)
class Source:
    """What the page's player has.

    Attributes:
        path: of the file that it plays; None for none.
        note: for people: which file that is, or why there is none.
        offset_seconds: the player's time of the first video frame, which the record's seconds count from.
    """

    path: Path | None
    note: str
    offset_seconds: float = 0.0


def source_for(record: dict, folder: Path, copy_seconds: float = COPY_SECONDS) -> Source:
    """What plays the source of a summary, made if it must be.

    Args:
        record: a summary record (`render.make_record`).
        folder: of the page, for a copy.
        copy_seconds: the longest video that is copied; 0 for none.

    Raises:
        DiskFullError: if there is no space for the copy.
    """
    video, track = Path(record["video"]), record.get(TRACK_KEY)
    if not video.is_file():
        return Source(None, f"The source cannot be played: {video} is not there any more.")
    try:
        hindrance, offset = _judged(video, track)
        if not hindrance:
            return Source(video, f"The player shows the source itself: {video.name}", offset)
        why = f"Browsers do not play the source, {video.name} ({hindrance})"
        if record["duration_seconds"] > copy_seconds:
            longest = f"it is longer than {time_label(copy_seconds)}" if copy_seconds else "none was asked for"
            return Source(None, f"{why}, and no copy of it was made: {longest}.")
        copy = folder / ("source.mp4" if track is None else f"source.track{track}.mp4")
        if not copy.exists() or copy.stat().st_mtime < video.stat().st_mtime:
            cut_clip(video, [(0.0, record["duration_seconds"])], copy, track, COPY_SIDE)
        return Source(copy, f"{why}: the player shows a small copy of it, made for this page.")
    except V2XumError as error:
        return Source(None, f"The source cannot be played: {error}")


def _judged(video: Path, track: int | None) -> tuple[str, float]:
    """Why browsers do not play a file ("" where they do), and the second at which its pictures begin in a player.

    Raises:
        VideoError: if it cannot be opened.
    """
    form, codecs = _FILES.get(video.suffix.lower(), ("", set()))
    with opened(video, track) as (container, stream):
        codec, pixels = stream.codec.canonical_name, stream.codec_context.pix_fmt
        sounds = [audio.codec.canonical_name for audio in container.streams.audio if audio.codec_context]
        if form not in container.format.name.split(","):
            return f"its container is {container.format.long_name}, in a {video.suffix or 'nameless'} file", 0.0
        if codec not in codecs or pixels not in _PICTURES[codec]:
            return f"its pictures are {codec} in {pixels}", 0.0
        if sounds and sounds[0] not in _SOUNDS:
            return f"its sound is {sounds[0]}", 0.0
        if len([one for one in container.streams.video if not is_cover(one)]) > 1:
            return "it has several video tracks, and browsers choose for themselves", 0.0
        start = container.start_time or 0
        offset = 0.0 if stream.start_time is None else float(stream.start_time * stream.time_base) - start / 1_000_000
        return "", offset if offset >= _LEAST_OFFSET_SECONDS else 0.0

