"""The clip that is cut from the segments of a video that its summary cites.

Seconds are those of the first video frame on, as in `video.py`; spans are half open, [start, end).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from ..core.atomic import DiskFullError, replacing
from ..core.errors import V2XumError
from ..core.lengths import EDIT_KEY, LEAST_CLIP_SECONDS
from ..core.sampling import TRACK_KEY
from ..core.spans import Span, joined, widened
from .cut_streams import MAX_SIDE, Pictures, Sound
from .demux import DECODE_ERRORS, DEMUX_ERRORS, choose_threads, decode
from .file_format import FileFormat
from .heard import heard
from .opening import opened
from .video import decoded_seconds

logger = logging.getLogger(__name__)

# a stream's index, the second at which the packet is decoded, and a frame with its second, if it gave one
_Decoded = tuple[int, float | None, av.VideoFrame | av.AudioFrame | None, float | None]

READ_ON_SECONDS = 2.0  # how far beyond a span to look for the rest of its sound
SLOWEST_RATE = Fraction(5)  # our choice: frames a second


class ClipError(V2XumError):
    """A summary clip cannot be cut; the message names the file and what is wrong."""


def cited_spans(record: dict) -> list[Span]:
    """The spans of the source that a summary cites: its segments, ascending, merged where they touch.

    Args:
        record: a summary record (`render.make_record`).

    Returns:
        [start, end) in seconds; empty if nothing is cited.
    """
    return joined((segment["start_seconds"], segment["end_seconds"]) for segment in record["segments"])


def clip_spans(record: dict) -> list[Span]:
    """The spans of the source that a summary's clip shows: what is cited, and around it what makes a clip of half a
    second one that can be watched; of an edited summary its segments, whose length is as it was asked for."""
    spans = cited_spans(record)
    return spans if EDIT_KEY in record else widened(spans, record["duration_seconds"], LEAST_CLIP_SECONDS)


def cut_clip(
    video_path: str | Path,
    spans: Sequence[Span],
    out_path: str | Path,
    track: int | None = None,
    max_side: int = MAX_SIDE,
) -> Path | None:
    """Cut spans out of a video into one clip that browsers play: H.264 yuv420p and AAC in MP4, faststart.

    The clip is upright, of even sides and square pixels, keeps the source's frame times (variable rates too)
    and its sound if it has any. One frame at a time is in memory; each span is sought. The file appears only
    when complete.

    Args:
        spans: [start, end) in seconds from the first video frame, ascending and apart.
        track: the video track that they are of, as `opening.opened`.
        max_side: larger pictures are made so small that no side has more pixels.

    Returns:
        out_path, or None (and no file) if there are no spans.

    Raises:
        VideoError: if the source cannot be opened, or is no video.
        ClipError: if no frame of the spans can be decoded, or the clip cannot be encoded or written.
        DiskFullError: if there is no space for it.
    """
    if not spans:
        return None
    video_path, out_path = Path(video_path), Path(out_path)
    try:
        with replacing(out_path) as temporary:
            try:
                frames = _cut(video_path, spans, temporary, track, max_side)
            except _NoClock:
                frames = _cut(video_path, spans, temporary, track, max_side, decoded_seconds(video_path, track))
            if not frames:
                raise ClipError(f"{video_path}: no frame could be decoded in the seconds {_listed(spans)}")
    except DiskFullError:
        raise
    except (av.error.FFmpegError, OSError) as error:
        raise ClipError(f"{video_path}: the summary clip {out_path.name} could not be cut: {error}") from error
    return out_path


class _NoClock(Exception):
    """The stamps of frames are missing, do not rise, or cannot be sought: they do not lead to what is to be shown."""


def _cut(
    path: Path,
    spans: Sequence[Span],
    out_path: Path,
    track: int | None,
    max_side: int,
    clock: Sequence[float] | None = None,
) -> int:
    """Cut the spans, and return how many frames that gave; see `_Cutter` for the clock."""
    options = {"movflags": "+faststart"}  # the index in front: playing begins before all is loaded
    with (
        heard() as said,
        opened(path, track) as (source, video),
        av.open(f"file:{out_path}", "w", format="mp4", options=options) as output,
    ):
        return _Cutter(path, track, source, video, output, max_side, clock, said).cut(spans)


class _Cutter:
    """Copies spans of one open source into one open output, both streams on the clip's own clock.

    Args:
        clock: the second of each frame as the decoder gives them out, for a source that is read once, from end to
            end. Without, frames have stamps, and each span is sought.
        said: what FFmpeg says (`heard`).
    """

    def __init__(
        self,
        path: Path,
        track: int | None,
        source: av.container.InputContainer,
        video: av.VideoStream,
        output: av.container.OutputContainer,
        max_side: int,
        clock: Sequence[float] | None,
        said: list,
    ) -> None:
        self.path = path
        self.source = source
        self.video = video
        # where a clock counts the frames, all that it counts must come out
        choose_threads(video.codec_context, tell_where=clock is not None)
        self.audio = next((s for s in source.streams.audio if s.codec_context and s.codec_context.sample_rate), None)
        # of a film with long pauses the mean is no rate at which to show a clip's last frame
        self.rate: Fraction = max(self.video.average_rate or Fraction(25), SLOWEST_RATE)
        self.clock = None if clock is None else iter(clock)
        self.said = said
        self.step = float(1 / self.rate)  # between two frames, in seconds: the mean, or the shortest so far
        self.origin, self.is_damaged, self.is_under_way = 0.0, False, False
        first = next(decode(path, None, track=track), None)
        if first is None:
            raise ClipError(f"{path}: no frame can be decoded")
        # of a transport stream that begins in the middle, it is not the first that is stored
        # In a program stream FFmpeg gives frames the stamps of others, the more so after seeking.
        if clock is None and (first.pts is None or source.format.name == "mpeg"):
            raise _NoClock
        self.origin = float((first.pts or 0) * self.video.time_base)
        self.rest: Iterator[_Decoded] = self._demuxed()  # of the source, where it is read once
        # Both streams must be there before the first packet of either is written.
        self.pictures = Pictures(first, self.video, output, self.rate, max_side)
        self.sound = Sound(self.audio, output) if self.audio else None

    def cut(self, spans: Sequence[Span]) -> int:
        """Write every span, one behind the other, and return how many frames that gave."""
        clip_seconds, frames = 0.0, 0
        for start, end in spans:
            self.is_damaged = False
            written = self._cut_span(start, end, clip_seconds)
            if written:  # a span that cannot be decoded takes no time in the clip
                frames += written
                clip_seconds += end - start
                if self.sound:
                    self.sound.fill(clip_seconds)
                if self.is_damaged:
                    logger.warning("%s: damaged in the seconds %.2f-%.2f: the clip may show it", self.path, start, end)
            else:
                lacks = f"no frame decodes in the seconds {start:.2f}-{end:.2f}: the clip lacks them"
                logger.warning("%s: %s", self.path, lacks)
        self.pictures.close(clip_seconds)
        if self.sound:
            self.sound.close()
        return frames

    def _cut_span(self, start: float, end: float, clip_start: float) -> int:
        """Write the frames and the sound of [start, end) from clip_start on; return the number of frames."""
        held, before, written = None, start, 0
        for frame, second in self._decode(start, end):
            if self.sound and isinstance(frame, av.AudioFrame):
                self.sound.write(frame, clip_start, second - start, end - start)
            elif second < start:
                held, before = frame, second
            elif second < end or not written:
                # What is seen at the span's start is the frame before it, but for a moment.
                moment = 0.6 * min(self.step, second - before)
                if not written and held is not None and (second >= end or second - start > moment):
                    self.pictures.write(held, clip_start)
                    written = 1
                if second < end:
                    is_near = not written and held is not None and not clip_start  # else what is there already stays
                    self.pictures.write(frame, clip_start + (0 if is_near else second - start))
                    written += 1
        return written

    def _decode(self, start: float, end: float) -> Iterator[tuple[av.VideoFrame | av.AudioFrame, float]]:
        """Yield, with their seconds, the frames of both streams up to the first behind the span."""
        decoded = self.rest if self.clock is not None else self._sought(start)
        open_streams = {self.video.index, *([self.audio.index] if self.audio else [])}
        last, before, behind = -math.inf, [], []
        for one in decoded:
            index, packet_second, frame, second = one
            if index == self.video.index and frame is not None:
                if second is None or second <= last:
                    raise _NoClock
                self.step = min(self.step, second - last)
                last = second
                self.is_damaged |= frame.is_corrupt and start <= second < end
            if frame is not None and second is not None:
                is_behind = second >= end
                if self.clock is not None:
                    if is_behind:
                        behind.append(one)
                    elif index == self.video.index:
                        before = [one]
                if index in open_streams and (
                    index == self.video.index or second + frame.samples / frame.sample_rate > start
                ):
                    yield frame, second
                if is_behind:
                    open_streams.discard(index)
            late = packet_second is not None and packet_second > end + READ_ON_SECONDS
            if not open_streams or (late and self.video.index not in open_streams):
                break
        self.rest = chain(before, behind, decoded)

    def _sought(self, second: float) -> Iterator[_Decoded]:
        """What is decoded from the key frame at or before a second on."""
        # A wrong index (some old AVI files) leads behind the second, and so does the first stamp of a transport stream,
        # to its second key frame.
        for seek in (lambda: self._seek(second), lambda: self.source.seek(0)):
            seek()
            decoded, passed = self._demuxed(), []
            for one in decoded:
                passed.append(one)
                if one[0] == self.video.index and one[2] is not None:
                    break
            *_, frame, first = passed[-1] if passed else (None, None)
            if frame is not None and first is not None and frame.key_frame and first <= second:
                return chain(passed, decoded)
        raise _NoClock

    def _demuxed(self) -> Iterator[_Decoded]:
        """Yield what each packet gives, be it nothing, up to where damage ends the file."""
        streams = [self.video, self.audio] if self.audio else [self.video]
        self.is_under_way = False
        try:
            for packet in self.source.demux(streams):
                packet_second = None if packet.dts is None else float(packet.dts * packet.time_base) - self.origin
                frames = self._decoded(packet.stream, packet.decode)
                yield from self._timed(packet.stream, packet_second, frames)
        except DEMUX_ERRORS as error:
            logger.debug("%s: cannot be read on: %s", self.path, error)
            for stream in streams:
                yield from self._timed(stream, None, self._decoded(stream, stream.codec_context.decode))

    def _decoded(self, stream: av.stream.Stream, decode: Callable[[], list]) -> list[av.VideoFrame | av.AudioFrame]:
        """The frames that a packet, or a decoder at its end, gives; none if the packet is damaged."""
        before, frames, is_whole = len(self.said), [], True
        try:
            frames = decode()
        except DECODE_ERRORS as error:
            logger.debug("%s: a damaged packet is left out of the clip: %s", self.path, error)
            is_whole = False
        if stream is self.video:
            # At first a decoder misses what lies before the key frame from which it was to begin.
            self.is_damaged |= self.is_under_way and (not is_whole or len(self.said) > before)
            self.is_under_way |= bool(frames)
        return frames

    def _timed(self, stream: av.stream.Stream, packet_second: float | None, frames: list) -> Iterator[_Decoded]:
        if not frames:
            yield stream.index, packet_second, None, None
        for frame in frames:
            second = None
            if stream is self.video and self.clock is not None:
                second = next(self.clock, None)
            elif frame.pts is not None:
                second = float(frame.pts * frame.time_base) - self.origin
            # Rounded as spans are: a frame at 0.4 s must not be lost to 0.39999999.
            yield stream.index, packet_second, frame, None if second is None else round(second, 6)

    def _seek(self, second: float) -> None:
        """Go to the key frame at or before a second."""
        offset = int((second + self.origin) / self.video.time_base)
        try:
            self.source.seek(offset, stream=self.video, backward=True)
        except av.error.FFmpegError as error:
            logger.debug("%s: seeking to second %.3f failed: %s", self.path, second, error)
            self.source.seek(0)


def _listed(spans: Sequence[Span]) -> str:
    shown = ", ".join(f"{start:.2f}-{end:.2f}" for start, end in spans[:5])
    return shown + (", ..." if len(spans) > 5 else "")


def _write_clip(record: dict, frames: np.ndarray, path: Path) -> None:
    cut_clip(record["video"], clip_spans(record), path, record.get(TRACK_KEY))


def _is_cited(record: dict) -> bool:
    return bool(record["frames"])


CLIP = FileFormat("summary.mp4", _write_clip, is_of=_is_cited, is_drawn=True, by_default=True)
