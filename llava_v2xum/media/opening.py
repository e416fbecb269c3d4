"""A video file is opened, and its track that counts is chosen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import filterfalse
from pathlib import Path

import av

from ..core.errors import V2XumError

# Metadata that is no UTF-8 must not keep a file from being read. PyAV 19 takes no such argument and lets it pass.
_ANY_METADATA = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


class VideoError(V2XumError):
    """A video that cannot be read; the message names the file and says what is wrong with it."""


@contextmanager
def opened(path: Path, track: int | None = None) -> Iterator[tuple]:
    """The container and its video stream.

    Args:
        track: which of the file's video tracks, counted from 0 in the file's order without cover pictures; None is the
            default one, of several the largest, as players choose.

    Raises:
        VideoError: if FFmpeg cannot open the file, or it has no such track.
    """
    try:
        # "file:" keeps a colon in the name from being read as a protocol.
        container = av.open(f"file:{path}", **_ANY_METADATA)
    except (av.FFmpegError, UnicodeError) as error:
        if _lacks_moov(path):
            raise VideoError(
                f"{path}: the mp4 file lacks its index (moov box): cut off, or its recording was not finished"
            ) from error
        raise VideoError(f"{path}: is not a video, or its header is corrupt") from error
    with container:
        if container.format.name == "tty":  # FFmpeg shows any text file as a film of a terminal
            raise VideoError(f"{path}: is a text file, not a video")
        tracks = list(filterfalse(is_cover, container.streams.video))
        if not tracks:
            what = "sound only" if container.streams.audio else "no video stream"
            raise VideoError(f"{path}: holds {what}, expected a video")
        if track is not None and track >= len(tracks):
            raise VideoError(f"{path}: has no video track {track}; it has {'; '.join(_listed(tracks))}")
        stream = max(tracks, key=_rank) if track is None else tracks[track]
        if stream.codec_context is None:
            raise VideoError(f"{path}: FFmpeg has no decoder for the codec of its video")
        try:
            yield container, stream
        finally:
            _end_threads(container)


def announced_seconds(path: Path, track: int | None = None) -> float | None:
    """How long the header says that the video is, which costs no scan of the file; None where it does not say.

    Raises:
        VideoError: as `opened`.
    """
    with opened(path, track) as (container, stream):
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        return container.duration / av.time_base if container.duration else None


def _end_threads(container: av.container.InputContainer) -> None:
    """Let frame threads end that are still at work, because whoever decoded has had enough.

    Freeing a decoder waits for them, and PyAV holds Python's lock meanwhile, which they want for what they log: that
    hangs now and then. This waits without the lock.
    """
    for stream in container.streams:
        context = getattr(stream, "codec_context", None)
        if context is not None and context.is_open:
            context.flush_buffers()


def is_cover(stream: av.VideoStream) -> bool:
    """Whether a video stream is the cover picture of a music file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _rank(stream: av.VideoStream) -> tuple[bool, int]:
    context = stream.codec_context
    return _is_default(stream), context.width * context.height if context else 0


def _is_default(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.default)


def _listed(tracks: Iterable[av.VideoStream]) -> Iterator[str]:
    """The video tracks for people: number, size, codec, and whether players take it to be meant."""
    for number, stream in enumerate(tracks):
        context = stream.codec_context
        what = f"{context.width} x {context.height}, {context.name}" if context else "of an unknown codec"
        yield f"track {number}: {what}, {'default' if _is_default(stream) else 'not default'}"


def _lacks_moov(path: Path) -> bool:
    """Whether a file is built of mp4 boxes, `ftyp` first, and has no whole `moov` (ISO 14496-12)."""
    size, position = path.stat().st_size, 0
    with open(path, "rb") as file:
        while position + 8 <= size:
            file.seek(position)
            header = file.read(16)
            length, kind = int.from_bytes(header[:4], "big"), header[4:8]
            if kind == b"moov":
                return position + length > size
            if position == 0 and kind != b"ftyp":
                return False
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            if length < 8:  # 0: up to the end of the file; else damage
                break
            position += length
    return position > 0
