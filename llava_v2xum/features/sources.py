"""Which file a video's stored features were made of: a line of JSON for each video."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.atomic import append_line, cut_torn_line
from ..core.clock import FrameTimes
from ..core.errors import V2XumError
from ..core.sampling import TRACK_KEY, FrameSampling

if TYPE_CHECKING:
    from ..media.video import Video

logger = logging.getLogger(__name__)

NOTE = "features.json"  # of a feature folder: what its features are


def file_source(
    path: str | os.PathLike,
    track: int | None = None,
    total_frames: int | None = None,
    intact: bool | None = None,
) -> dict:
    """What is known of a video's file: its size, and, once it has been read, its frames and whether all was well.

    Args:
        track: the video track that was asked for (`opening.opened`).
    """
    source: dict = {"bytes": os.stat(path).st_size}
    if track is not None:
        source[TRACK_KEY] = track
    if intact is not None:
        source["intact"] = intact
    return source if total_frames is None else {"total_frames": total_frames, **source}


def video_source(video: Video) -> dict:
    """`file_source` of a video that has been read, and when its N frames are shown.

    It is intact if nothing was wrong with its file.
    """
    return {**file_source(video.path, video.track, video.total_frames, not video.warnings), **frame_times(video)}


def frame_times(video: Video) -> dict:
    """When the N frames of a video are shown, as its source tells it (`SourceLog.times`)."""
    return {
        "duration_seconds": round(video.duration_seconds, 6),
        "frame_seconds": [round(second, 6) for second in video.frame_seconds.tolist()],
    }


def same_source(found: dict, expected: dict) -> bool:
    """Whether two sources can be the same track of the same file, by what both know of it."""
    both = (found.keys() & expected.keys()) | {TRACK_KEY}  # where no track is named, it is the one of players
    return all(found.get(key) == expected.get(key) for key in both)


def stored_times(folder: Path, sampling: FrameSampling) -> Callable[[str], FrameTimes | None]:
    """What tells, by a video's id, when the frames are shown that a folder has the features of; loads no torch.

    Raises:
        V2XumError: naming the folder, if it holds no such features or they are of other frames.
    """
    note = folder / NOTE
    if not note.is_file():
        raise V2XumError(f"{folder}: expected a folder of features with {NOTE}, which says what they are")
    try:
        found = FrameSampling.of_fields(json.loads(note.read_text(encoding="utf-8")))
    except (ValueError, AttributeError) as error:
        raise V2XumError(f"{note}: expected JSON that says what the features are ({error})") from error
    wanted = FrameSampling(sampling.num_frames, rule=sampling.rule)
    if found != wanted:
        raise V2XumError(f"{note}: expected features of {wanted}, got those of {found}")
    return SourceLog(folder).times


class SourceLog:
    """The sources of a feature folder: `sources.jsonl`, or `sources.R.jsonl` of the process of rank R.

    Each process appends to a file of its own, so that none writes into another's line. The folders of older releases
    have one `ID.json` a video, which are read too.

    Args:
        folder: the feature folder.
        rank: of this process among those that write.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder = folder
        self.file = folder / (f"sources.{rank}.jsonl" if rank else "sources.jsonl")
        self._known: dict[str, dict] | None = None
        self._is_whole = False  # whether the own file's last line is known to be

    def get(self, video_id: str) -> dict | None:
        """The source that was recorded last, or None.

        Raises:
            V2XumError: for an `ID.json` that is none.
        """
        if self._known is None:
            self._known = self._read()
        if video_id in self._known:
            return self._known[video_id]["source"]
        note = self.folder / f"{video_id}.json"
        if note.name == NOTE or not note.exists():
            return None
        try:
            source = json.loads(note.read_text(encoding="utf-8"))
        except ValueError as error:
            raise V2XumError(f"{note}: expected JSON that says which file it was made of ({error})") from error
        if not isinstance(source, dict):
            raise V2XumError(f"{note}: expected a JSON object, got a {type(source).__name__}")
        return source

    def times(self, video_id: str) -> FrameTimes | None:
        """When the frames are shown that the features are of; None where nobody kept it, as older releases did not.

        Raises:
            V2XumError: naming the folder and the video, for what are no such times.
        """
        source = self.get(video_id) or {}
        if "frame_seconds" not in source:
            return None
        try:
            return FrameTimes.of(source["frame_seconds"], source.get("duration_seconds"))
        except V2XumError as error:
            raise V2XumError(f"{self.folder}: the source of {video_id!r}: {error}") from error

    def append(self, video_id: str, source: dict) -> None:
        """Record a source; it is on disk when this returns."""
        record = {"id": video_id, "source": source, "saved": round(time.time(), 3)}
        if not self._is_whole and cut_torn_line(self.file):
            logger.warning("%s: its last line was left half written; it is taken off", self.file)
        self._is_whole = True
        append_line(self.file, json.dumps(record))
        if self._known is not None:
            self._known[video_id] = record

    def _read(self) -> dict[str, dict]:
        """The records of all processes, the latest of each video."""
        known: dict[str, dict] = {}
        for file in sorted(self.folder.glob("sources*.jsonl")):
            for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
                if not line:
                    continue
                try:
                    record = json.loads(line)
                    video_id, saved = record["id"], record["saved"]
                    record["source"].keys()
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    logger.warning("%s:%d: not a whole record, left out (%s)", file, number, error)
                    continue
                if video_id not in known or known[video_id]["saved"] <= saved:
                    known[video_id] = record
        return known
