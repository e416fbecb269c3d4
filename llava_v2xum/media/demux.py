"""PyAV behind `video.read_video`: opening a file, its packets, decoding ranges of them, orientation.

Why PyAV: `scripts/bench/bench_decode.py` compares it with decord (slower, no arm64 wheels) and decord2. On a long
film decord2 3.4.0 gave up seeking and handed out other frames with no error; it also fails on damage that
leaves most frames readable, and returns rotated pictures with six channels.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import filterfalse, pairwise
from pathlib import Path

import av
import numpy as np

from ..core.errors import V2XumError
from .nal import is_refresh

_CUT_OFF_SECONDS = 0.25  # containers round durations: what lacks no more than this, or 1 %, is whole
_MATRIX_TOLERANCE = 0.01  # about half a degree: a display matrix this near to a right angle is one
DEMUX_ERRORS = (av.FFmpegError, LookupError)  # LookupError: a packet of a stream that damage has made up
_SKIPS_EXACTLY = frozenset({"h264", "hevc"})  # codecs that mark the frames that nothing refers to


class VideoError(V2XumError):
    """A video that cannot be read; the message names the file and says what is wrong with it."""


@dataclass
class Frames:
    """The frames of a file in presentation order: the name each is known by when decoded, and its time."""

    names: list[int]  # time stamps, or places in the decoder's output where the stamps are of no use
    stamps: Sequence[float] | None  # presentation times in units of the stream's time base
    intact: np.ndarray  # bool [frames]: decodes without damage
    packets: list[int] = field(default_factory=list)  # the packet that holds each; none where decoding named them

    @property
    def total(self) -> int:
        """How many frames there are up to the last intact one."""
        return int(np.flatnonzero(self.intact)[-1]) + 1


@dataclass
class Packets:
    """What demuxing tells about a file's video packets, in the file's order, which is decoding order."""

    stamps: list[int | None]
    decoding_stamps: list[int | None]
    durations: list[int]
    keys: list[bool]
    shown: list[bool]  # whole, and inside the container's edit list
    time_base: float
    rate: float  # the header's frames a second, 0 where it does not say
    header_frames: int  # the header's number of frames, 0 where it does not say
    corrupt: list[int] = field(default_factory=list)  # those that the container marks as damaged
    reorders: bool = False  # whether the codec shows frames in another order than that in which they are stored
    one_each: bool = False  # whether the codec gives a picture for every packet
    refreshes: bool = True  # whether each key frame makes the decoder forget all before it
    announced_seconds: float = 0.0  # the header's duration, 0 where it does not say
    is_cut_off: bool = False  # the packets end before that

    @property
    def may_be_in_storage_order(self) -> bool:
        """Whether the stamps may count what is stored, though B-frames are shown in another order (AVI, raw copies).

        The decoder's output tells: then its stamps do not rise.
        """
        stamps = [-math.inf if stamp is None else stamp for stamp in self.stamps]
        return self.reorders and all(earlier <= later for earlier, later in pairwise(stamps))

    @property
    def has_open_groups(self) -> bool:
        """Whether what is stored after a key frame may need what lies before it."""
        leads = (
            is_key and key is not None and after is not None and after < key
            for is_key, key, after in zip(self.keys[1:], self.stamps[1:], self.stamps[2:], strict=False)
        )
        return not self.refreshes or any(leads)

    def up_to_next_key(self, packets: Iterable[int]) -> set[int]:
        """Those packets and the ones after each, up to the next key frame: what may have been predicted from them."""
        keys = [packet for packet, is_key in enumerate(self.keys) if is_key]
        reached: set[int] = set()
        for packet in packets:
            after = bisect_right(keys, packet)
            reached.update(range(packet, keys[after] if after < len(keys) else len(self.keys)))
        return reached

    def frames(self) -> Frames | None:
        """The frames in presentation order, or None where the time stamps do not tell it."""
        shown = [packet for packet, is_shown in enumerate(self.shown) if is_shown]
        stamps = [stamp for stamp in self.stamps if stamp is not None]
        decoding = [stamp for stamp in self.decoding_stamps if stamp is not None]
        if not shown or not self.keys[0] or len(stamps) < len(self.stamps):
            return None
        if len({stamps[packet] for packet in shown}) < len(shown):
            return None
        if any(later < earlier for earlier, later in pairwise(decoding)):
            return None
        if self.is_cut_off and decoding:
            # What was cut off is shown no earlier than it would have been decoded: up to this moment no frame
            # is missing, and the numbers are right.
            shown = [packet for packet in shown if stamps[packet] <= decoding[-1] + self.durations[-1]]
        shown.sort(key=lambda packet: stamps[packet])
        ordered = [stamps[packet] for packet in shown]
        return Frames(ordered, ordered, np.ones(len(shown), dtype=bool), shown)

    def ranges_for(self, frames: Frames, indices: np.ndarray) -> list[tuple[int, int]]:
        """The packet ranges, both ends included, that must be decoded to show the frames `indices`."""
        keys = [packet for packet, is_key in enumerate(self.keys) if is_key]
        stamps = [stamp for stamp in self.stamps if stamp is not None]  # all of them: else there would be no `frames`
        ranges: list[tuple[int, int]] = []
        for packet in sorted({frames.packets[index] for index in indices.tolist()}):
            place = bisect_right(keys, packet) - 1
            # A picture stored after a key frame and shown before it may refer to what lies before both.
            while place > 0 and stamps[keys[place]] > stamps[packet]:
                place -= 1
            start = keys[place]
            while ranges and start <= ranges[-1][1] + 1:
                start = min(start, ranges.pop()[0])
            ranges.append((start, packet))
        return ranges


# Metadata that is no UTF-8 must not keep a file from being read. PyAV 19 takes no such argument and lets it pass.
_ANY_METADATA = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


@contextmanager
def opened(path: Path) -> Iterator[tuple]:
    """The container and its video stream."""
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
        # the default track, of several the largest, as players do
        videos = sorted(filterfalse(_is_cover, container.streams.video), key=_rank, reverse=True)
        if not videos:
            what = "sound only" if container.streams.audio else "no video stream"
            raise VideoError(f"{path}: holds {what}, expected a video")
        if videos[0].codec_context is None:
            raise VideoError(f"{path}: FFmpeg has no decoder for the codec of its video")
        try:
            yield container, videos[0]
        finally:
            _end_threads(container)


def _end_threads(container: av.container.InputContainer) -> None:
    """Let frame threads end that are still at work, because whoever decoded has had enough.

    Freeing a decoder waits for them, and PyAV holds Python's lock meanwhile, which they want for what they log: that
    hangs now and then. This waits without the lock.
    """
    for stream in container.streams:
        context = getattr(stream, "codec_context", None)
        if context is not None and context.is_open:
            context.flush_buffers()


def _is_cover(stream: av.VideoStream) -> bool:
    """Whether a video stream is the cover picture of a music file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _rank(stream: av.VideoStream) -> tuple[bool, int]:
    context = stream.codec_context
    return bool(stream.disposition & av.stream.Disposition.default), context.width * context.height if context else 0


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


def _packets_of(container: av.container.InputContainer, streams: list) -> Iterator[av.Packet]:
    """The packets of the streams that hold data, up to where the file can no longer be read."""
    packets, got_some = container.demux(streams), True
    while True:
        try:
            packet = next(packets, None)
        except DEMUX_ERRORS:
            if not got_some:  # what follows cannot be reached; the caller sees that frames are missing
                return
            packets, got_some = container.demux(streams), False
            continue
        if packet is None:
            return
        got_some = True
        if packet.size:
            yield packet


def scan(path: Path) -> Packets:
    """Demux the whole file without decoding.

    Raises:
        VideoError: if the file is not a video that FFmpeg opens.
    """
    with opened(path) as (container, stream):
        is_avi = container.format.name == "avi"  # FFmpeg guesses a torn avi's duration from its size
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        packets = Packets([], [], [], [], [], float(stream.time_base), rate, stream.frames)
        packets.reorders = bool(stream.codec_context.has_b_frames)
        packets.one_each = stream.codec_context.name in _SKIPS_EXACTLY
        announced, scanned = 0.0, [stream]
        if is_avi and rate:
            announced = stream.frames / rate
        elif stream.duration:
            announced = stream.duration * packets.time_base
        elif container.duration:
            # The container's duration is that of its longest stream, be it subtitles: all tell if it was reached.
            announced = container.duration / av.time_base
            scanned = list(container.streams)
        start, end = math.inf, -math.inf
        for packet in _packets_of(container, scanned):
            if packet.pts is not None and not packet.is_corrupt:
                start = min(start, packet.pts * float(packet.time_base))
                end = max(end, (packet.pts + (packet.duration or 0)) * float(packet.time_base))
            if packet.stream.index == stream.index:
                packets.stamps.append(packet.pts)
                packets.decoding_stamps.append(packet.dts)
                packets.durations.append(packet.duration or 0)
                packets.keys.append(packet.is_keyframe)
                if packet.is_keyframe and packets.one_each and packets.refreshes:
                    packets.refreshes = is_refresh(packet, stream.codec_context)
                packets.shown.append(not packet.is_discard and not packet.is_corrupt)
                if packet.is_corrupt:
                    packets.corrupt.append(len(packets.keys) - 1)
        if announced and start < end:
            if "matroska" in container.format.name:  # there it is when the video ends, however late it begins
                announced -= max(start, 0.0)
            packets.announced_seconds = announced
            packets.is_cut_off = announced - (end - start) > max(_CUT_OFF_SECONDS, 0.01 * announced)
    return packets


def decode(
    path: Path,
    ranges: list[tuple[int, int]] | None,
    wanted: set[int] | None = None,
    errors: list[int] | None = None,
    is_strict: bool = False,
) -> Iterator[av.VideoFrame]:
    """Decode the packet ranges, or the whole file (None), in presentation order.

    Args:
        wanted: frames of other time stamps that nothing refers to may be left out.
        errors: gets the packet, or with ranges one soon after, at which something did not decode, and is left out.
        is_strict: whether what a decoder would otherwise patch up counts as not decoded.
    """
    with opened(path) as (container, stream):
        context = stream.codec_context
        # Frame threads are faster, but report an error late and drop intact frames with the damaged one.
        context.thread_type = "SLICE" if ranges is None else "AUTO"
        if is_strict:
            context.options = {"err_detect": "explode"}
        kept = wanted if context.name in _SKIPS_EXACTLY else None
        remaining: Iterator[tuple[float, float]] = iter([(0, math.inf)] if ranges is None else ranges)
        start, end = next(remaining)
        place = 0

        def attempt(decode: Callable, *arguments: object) -> list[av.VideoFrame]:
            try:
                return decode(*arguments)
            except av.FFmpegError:
                if errors is not None:
                    errors.append(place)
                return []

        for place, packet in enumerate(_packets_of(container, [stream])):
            if place > end:
                yield from attempt(context.decode, None)
                context.flush_buffers()
                start, end = next(remaining, (math.inf, math.inf))
                if start == math.inf:
                    return
            if place >= start:
                if kept is not None:
                    context.skip_frame = "DEFAULT" if packet.pts in kept else "NONREF"
                yield from attempt(packet.decode)
        yield from attempt(context.decode, None)


def orientation(frame: av.VideoFrame) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """How to turn a stored picture [H, W, 3] upright, and what is odd about its display matrix, or "".

    The matrix (ISO 14496-12, 8.3.2; FFmpeg's display.h) takes pixel (x, y) to (a x + c y, b x + d y).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return np.ascontiguousarray, ""
    a, b, _, c, d = np.frombuffer(bytes(data), dtype=np.int32)[:5] / 65536
    largest = max(abs(a), abs(b), abs(c), abs(d))
    if abs(a * d - b * c) <= _MATRIX_TOLERANCE * largest**2:
        return np.ascontiguousarray, "the rotation flag is broken (its display matrix flattens the picture)"
    if max(abs(b), abs(c)) <= _MATRIX_TOLERANCE * largest:
        across, down, swap = a, d, False
    elif max(abs(a), abs(d)) <= _MATRIX_TOLERANCE * largest:
        across, down, swap = c, b, True
    else:
        angle = math.degrees(math.atan2(b, a))
        return np.ascontiguousarray, f"the rotation flag of {angle:.0f} degrees clockwise is no right angle"

    def turn(picture: np.ndarray) -> np.ndarray:
        picture = picture.swapaxes(0, 1) if swap else picture
        return np.ascontiguousarray(picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])

    return turn, ""
