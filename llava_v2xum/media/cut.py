"""Which seconds of a video its summary cites, and the clip cut from them.

Seconds are those of the first video frame on, as in `video.py`; spans are half open, [start, end).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..core.atomic import replacing
from ..core.errors import V2XumError
from .cut_streams import Pictures, Sound
from .demux import DEMUX_ERRORS, opened
from .file_format import FileFormat

logger = logging.getLogger(__name__)

Span = tuple[float, float]

PADDING_SECONDS = 0.25  # our choice: a cited frame is a moment, and a cut right at it jars
MIN_SPAN_SECONDS = 0.5  # our choice: shorter pieces cannot be followed
READ_ON_SECONDS = 2.0  # how far beyond a span to look for the rest of its sound
SLOWEST_RATE = Fraction(5)  # our choice: frames a second


class ClipError(V2XumError):
    """A summary clip cannot be cut; the message names the file and what is wrong."""


def frame_spans(frame_seconds: Sequence[float], duration_seconds: float) -> list[Span]:
    """The span that each of the N frames stands for: until the next sampled frame, the last one a mean step.

    Frames repeat where the video has fewer than N: each repeat stands for the same span.
    """
    last = frame_seconds[-1]
    step = (last - frame_seconds[0]) / max(len(frame_seconds) - 1, 1) or duration_seconds
    spans: list[Span] = []
    end = max(last, min(last + step, duration_seconds))
    following = last
    for second in reversed(frame_seconds):
        if second < following:
            end, following = following, second
        spans.append((second, end))
    return spans[::-1]


def clip_spans(record: dict) -> list[Span]:
    """The spans of the source that a summary's clip shows, ascending and apart from each other.

    Args:
        record: a summary record (`render.make_record`).

    Returns:
        [start, end) in seconds: the spans of the cited frames, padded within the video, at least
        MIN_SPAN_SECONDS long (or the whole video, if that is shorter), and merged where they touch. Empty if
        nothing is cited.
    """
    duration = record["duration_seconds"]
    of_frame = frame_spans(record["frame_seconds"], duration)
    merged: list[Span] = []
    for frame in sorted(set(record["frames"])):
        start, end = of_frame[frame]
        padding = max(PADDING_SECONDS, (MIN_SPAN_SECONDS - (end - start)) / 2)
        start, end = start - padding, end + padding
        # What the padding loses at one end of the video it gains at the other side of the frame.
        start, end = (max(min(start, duration - MIN_SPAN_SECONDS), 0.0), min(max(end, MIN_SPAN_SECONDS), duration))
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return [(round(start, 6), round(end, 6)) for start, end in merged]


def cut_clip(video_path: str | Path, spans: Sequence[Span], out_path: str | Path) -> Path | None:
    """Cut spans out of a video into one clip that browsers play: H.264 yuv420p and AAC in MP4, faststart.

    The clip is upright, of even sides and square pixels, keeps the source's frame times (variable rates too)
    and its sound if it has any. One frame at a time is in memory; each span is sought. The file appears only
    when complete.

    Args:
        spans: [start, end) in seconds from the first video frame, ascending and apart.

    Returns:
        out_path, or None (and no file) if there are no spans.

    Raises:
        VideoError: if the source cannot be opened, or is no video.
        ClipError: if no frame of the spans can be decoded, or the clip cannot be encoded or written.
    """
    if not spans:
        return None
    video_path, out_path = Path(video_path), Path(out_path)
    try:
        with replacing(out_path) as temporary, opened(video_path) as (source, video):
            options = {"movflags": "+faststart"}  # the index in front: playing begins before all is loaded
            with av.open(f"file:{temporary}", "w", format="mp4", options=options) as output:
                frames = _Cutter(source, video, output).cut(spans)
            if not frames:
                raise ClipError(f"{video_path}: no frame could be decoded in the seconds {_listed(spans)}")
    except (av.error.FFmpegError, OSError) as error:
        raise ClipError(f"{video_path}: the summary clip {out_path.name} could not be cut: {error}") from error
    return out_path


class _Cutter:
    """Copies spans of one open source into one open output, both streams on the clip's own clock."""

    def __init__(
        self, source: av.container.InputContainer, video: av.VideoStream, output: av.container.OutputContainer
    ) -> None:
        self.source = source
        self.video = video
        self.video.thread_type = "AUTO"
        self.audio = next((s for s in source.streams.audio if s.codec_context and s.codec_context.sample_rate), None)
        # of a film with long pauses the mean is no rate at which to show a clip's last frame
        self.rate: Fraction = max(self.video.average_rate or Fraction(25), SLOWEST_RATE)
        self.origin = float((self.video.start_time or 0) * self.video.time_base)
        first = next((frame for _, _, frames in self._demuxed([video]) for frame in frames), None)
        if first is None:
            raise ClipError(f"{source.name.removeprefix('file:')}: no frame can be decoded")
        # Both streams must be there before the first packet of either is written.
        self.pictures = Pictures(first, self.video, output, self.rate)
        self.sound = Sound(self.audio, output) if self.audio else None

    def cut(self, spans: Sequence[Span]) -> int:
        """Write every span, one behind the other, and return how many frames that gave."""
        clip_seconds, frames = 0.0, 0
        for start, end in spans:
            written = self._cut_span(start, end, clip_seconds)
            if written:  # a span that cannot be decoded takes no time in the clip
                frames += written
                clip_seconds += end - start
                if self.sound:
                    self.sound.fill(clip_seconds)
            else:
                name = self.source.name.removeprefix("file:")
                logger.warning("%s: no frame decodes in the seconds %.2f-%.2f: the clip lacks them", name, start, end)
        self.pictures.close(clip_seconds)
        if self.sound:
            self.sound.close()
        return frames

    def _cut_span(self, start: float, end: float, clip_start: float) -> int:
        """Write the frames and the sound of [start, end) from clip_start on; return the number of frames."""
        held, written = None, 0
        for frame, second in self._decode(start, end):
            if self.sound and isinstance(frame, av.AudioFrame):
                self.sound.write(frame, clip_start, second - start, end - start)
            elif second < start:
                held = frame
            elif second >= end:
                if not written and held is not None:  # between the two, what is seen is the one before
                    self.pictures.write(held, clip_start)
                    written = 1
            else:
                # Where the rate varies, the frame before the span may be what is seen at its start.
                if not written and held is not None and second - start > 1.5 / self.rate:
                    self.pictures.write(held, clip_start)
                self.pictures.write(frame, clip_start + second - start)
                written += 1
        return written

    def _decode(self, start: float, end: float) -> Iterator[tuple[av.VideoFrame | av.AudioFrame, float]]:
        """Yield, with their seconds, the frames of both streams up to the first behind the span."""
        # A wrong index (some old AVI files) leads behind the span, and so does the first stamp of a transport stream,
        # to its second key frame: then everything before the span is read.
        if self._first_second_from(start) <= start:
            self._seek(start)
        else:
            self.source.seek(0)
        streams = [self.video, self.audio] if self.audio else [self.video]
        open_streams = {stream.index for stream in streams}
        for index, packet_second, frames in self._demuxed(streams):
            for frame in frames if index in open_streams else ():
                second = self._second(frame)
                if second is None or index not in open_streams:
                    continue
                if second >= end:
                    open_streams.discard(index)
                if index == self.video.index or second + frame.samples / frame.sample_rate > start:
                    yield frame, second
            late = packet_second is not None and packet_second > end + READ_ON_SECONDS
            if not open_streams or (late and self.video.index not in open_streams):
                break

    def _demuxed(self, streams: list) -> Iterator[tuple[int, float | None, list]]:
        """Yield each packet's stream index, decoding second and frames, up to where damage ends the file."""
        try:
            for packet in self.source.demux(streams):
                second = None if packet.dts is None else float(packet.dts * packet.time_base) - self.origin
                yield packet.stream.index, second, _decoded(packet.decode)
        except DEMUX_ERRORS as error:
            logger.debug("%s: cannot be read on: %s", self.source.name, error)
            for stream in streams:
                yield stream.index, None, _decoded(stream.codec_context.decode)

    def _first_second_from(self, second: float) -> float:
        """Where the first frame lies that decodes after seeking to a second; infinity if none does."""
        self._seek(second)
        stamps = (self._second(frame) for _, _, frames in self._demuxed([self.video]) for frame in frames)
        return next((stamp for stamp in stamps if stamp is not None), float("inf"))

    def _seek(self, second: float) -> None:
        """Go to the key frame at or before a second."""
        offset = int((second + self.origin) / self.video.time_base)
        try:
            self.source.seek(offset, stream=self.video, backward=True)
        except av.error.FFmpegError as error:
            logger.debug("%s: seeking to second %.3f failed: %s", self.source.name, second, error)
            self.source.seek(0)

    def _second(self, frame: av.VideoFrame | av.AudioFrame) -> float | None:
        stamp = frame.pts if frame.pts is not None else frame.dts
        # Rounded as spans are: a frame at 0.4 s must not be lost to 0.39999999.
        return None if stamp is None else round(float(stamp * frame.time_base) - self.origin, 6)


def _decoded(decode: Callable[[], list]) -> list[av.VideoFrame | av.AudioFrame]:
    """The frames that a packet, or a decoder at its end, gives; none if the packet is damaged."""
    try:
        return decode()
    except av.error.FFmpegError as error:
        logger.debug("a damaged packet is left out of the clip: %s", error)
        return []


def _listed(spans: Sequence[Span]) -> str:
    shown = ", ".join(f"{start:.2f}-{end:.2f}" for start, end in spans[:5])
    return shown + (", ..." if len(spans) > 5 else "")


def _write_clip(record: dict, frames: np.ndarray, path: Path) -> None:
    cut_clip(record["video"], clip_spans(record), path)


def _is_cited(record: dict) -> bool:
    return bool(record["frames"])


CLIP = FileFormat("summary.mp4", _write_clip, is_of=_is_cited, is_drawn=True, by_default=True)
