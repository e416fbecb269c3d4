"""Which videos: files, folders and lists of paths -> sources with ids that are unique."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..core.errors import V2XumError
from ..media.video import VideoError, find_videos
from .store.stage import Source


def find_sources(paths: Iterable[str | os.PathLike[str]], lists: Iterable[str | os.PathLike[str]] = ()) -> list[Source]:
    """The videos, in the order of their ids; a file named twice comes once.

    Args:
        paths: video files, and folders whose video files directly in them are taken.
        lists: text files in UTF-8 with one such path a line, from the working directory; empty lines and those that
            begin with # are passed over. A file of a list may be missing: it is told at the end, and ends nothing.

    Raises:
        V2XumError: naming the file and the line, if a path names no video, or two files have the same id.
        OSError: if a list cannot be read.
    """
    named = [("", Path(path)) for path in paths] + [place for file in lists for place in _lines(Path(file))]
    found: dict[Path, None] = {}
    for where, path in named:
        try:
            videos = [path] if where and not path.is_dir() else find_videos([path])
        except VideoError as error:
            raise V2XumError(f"{where}{error}") from error
        found.update(dict.fromkeys(Path(os.path.abspath(video)) for video in videos))
    by_id: dict[str, Path] = {}
    for path in found:
        if os.fsencode(path) != str(path).encode(errors="replace"):
            raise V2XumError(f"{str(path)!r}: its name is not UTF-8, and no JSON record can hold it")
        first = by_id.setdefault(path.stem, path)
        if first != path:
            raise V2XumError(f"{path}: {first} has the same id {path.stem!r}, and ids name the videos: rename one")
    return [Source(video_id, by_id[video_id]) for video_id in sorted(by_id)]


def _lines(file: Path) -> list[tuple[str, Path]]:
    """Each path with where it stands, for messages."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise V2XumError(f"{file}: expected a list of paths in UTF-8 ({error})") from error
    named = [(f"{file}:{number}: ", line.strip()) for number, line in enumerate(lines, 1)]
    kept = [(where, Path(line)) for where, line in named if line and not line.startswith("#")]
    if not kept:
        raise V2XumError(f"{file}: expected one path a line, got none")
    return kept
