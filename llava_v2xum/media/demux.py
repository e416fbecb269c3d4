"""PyAV behind `video.read_video`: the packets of a file, decoding ranges of them, orientation.

Why PyAV: `scripts/bench/bench_decode.py` compares it with decord (slower, no arm64 wheels) and decord2. On a long
film decord2 3.4.0 gave up seeking and handed out other frames with no error; it also fails on damage that
leaves most frames readable, and returns rotated pictures with six channels.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from .heard import heard
from .nal import FrameNumbers, is_refresh
from .opening import opened

_CUT_OFF_SECONDS = 0.25  # containers round durations: what lacks no more than this, or 1 %, is whole
_MATRIX_TOLERANCE = 0.01  # about half a degree: a display matrix this near to a right angle is one
DEMUX_ERRORS = (av.FFmpegError, LookupError)  # LookupError: a packet of a stream that damage has made up
DECODE_ERRORS = (av.FFmpegError, ValueError)  # ValueError: damage has changed the codec to one that FFmpeg has not
_SKIPS_EXACTLY = frozenset({"h264", "hevc"})  # codecs that mark the frames that nothing refers to
_ANNOUNCE_NOTHING = frozenset({"mpeg", "mpegts"})  # a duration of theirs is FFmpeg's guess, the same for all streams
_THREADS = min(os.cpu_count() or 1, 16) + 1  # by as many packets, at most, a decoder is late to tell of an error
_ONLY_SLICES = frozenset({"mpeg1video", "mpeg2video"})  # codecs of which FFmpeg cannot decode several frames at a time
_MUTE_IN_SLICES = _ONLY_SLICES | {"h264", "hevc"}  # threads of slices keep their errors to themselves


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
    corrupt: list[int] = field(default_factory=list)  # those that are marked as damaged, or come twice or after a loss
    reorders: bool = False  # whether the codec shows frames in another order than that in which they are stored
    is_h264: bool = False
    one_each: bool = False  # whether the codec gives a picture for every packet
    refreshes: bool = True  # whether each key frame makes the decoder forget all before it
    announced_seconds: float = 0.0  # the header's duration, 0 where it does not say
    is_cut_off: bool = False  # the packets end before that
    missing: int = 0  # frames that an avi's header counts and its packets, which are numbered as they come, do not
    track: int | None = None  # as `opening.opened` takes it

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

    def may_miss_references(self, packet: int, starts: Sequence[int]) -> bool:
        """Whether decoding that begins at these key frames fails around a packet though all is well.

        What is stored behind a key frame and shown before it may need what lies before both, in open groups.
        """
        start = starts[max(bisect_right(starts, packet) - 1, 0)]
        if not self.has_open_groups or not start:
            return False
        stamps, after = [stamp or 0 for stamp in self.stamps], start + 1
        while after < len(stamps) and stamps[after] < stamps[start]:
            after += 1
        return start < packet < after + _THREADS

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
        if indices.max() == len(frames.names) - 1 and not self.is_cut_off:
            # Damage to the last pictures may be told by those that are stored behind them and shown before.
            ranges[-1] = (ranges[-1][0], len(self.keys) - 1)
        return ranges


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


def _are_one(packet: av.Packet, following: av.Packet) -> bool:
    """Whether a packet is stored twice."""
    is_alike = packet.size == following.size and packet.pts == following.pts and packet.dts == following.dts
    return is_alike and packet.pts is not None and bytes(packet) == bytes(following)


def _announced(
    container: av.container.InputContainer, stream: av.VideoStream, rate: float
) -> tuple[float, list]:
    """The duration that a file announces, in seconds, or 0, and the streams whose packets tell if it is reached."""
    kind = container.format.name
    if kind == "avi" and rate:
        return stream.frames / rate, [stream]
    if kind in _ANNOUNCE_NOTHING:
        return 0.0, [stream]
    if stream.duration and "mov" in kind:  # others know but one duration, the file's
        return float(stream.duration * stream.time_base), [stream]
    if container.duration:
        # The container's duration is that of its longest stream, be it subtitles: all tell if it was reached.
        return container.duration / av.time_base, list(container.streams)
    return 0.0, [stream]


def scan(path: Path, track: int | None = None) -> Packets:
    """Demux the whole file without decoding.

    Args:
        track: as `opened`.

    Raises:
        VideoError: if the file is not a video that FFmpeg opens, or has no such track.
    """
    with heard() as said, opened(path, track) as (container, stream):
        kind = container.format.name
        is_avi = kind == "avi"  # FFmpeg guesses a torn avi's duration from its size
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        packets = Packets([], [], [], [], [], float(stream.time_base), rate, stream.frames)
        packets.track = track
        packets.reorders = bool(stream.codec_context.has_b_frames)
        packets.is_h264 = stream.codec_context.name == "h264"
        packets.one_each = stream.codec_context.name in _SKIPS_EXACTLY
        announced, scanned = _announced(container, stream, rate)
        start, end = math.inf, -math.inf
        last, before = None, len(said)  # which were about guessing the container
        numbers = FrameNumbers(stream.codec_context) if packets.is_h264 else None
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
                is_odd = numbers is not None and numbers.tells_of_loss(packet)
                is_odd |= packet.is_corrupt or len(said) > before
                if is_odd or (last is not None and _are_one(last, packet)):
                    packets.corrupt.append(len(packets.keys) - 1)
                last, before = packet, len(said)
        if not any(stamp is not None for stamp in packets.stamps):  # nor is the rate the file's: FFmpeg takes 25
            packets.rate = float(stream.codec_context.framerate or rate)
        if is_avi and all(packets.keys) and not stream.codec_context.codec.intra_only:
            packets.keys[1:] = [False] * (len(packets.keys) - 1)  # so FFmpeg takes them where the index is lost
        if announced and start < end:
            if "matroska" in kind or kind == "asf":  # there it is when the video ends, however late it begins
                announced -= max(start, 0.0)
            packets.announced_seconds = announced
            packets.missing = max(round((announced - (end - start)) * rate), 0) if is_avi else 0
            packets.is_cut_off = announced - (end - start) > max(_CUT_OFF_SECONDS, 0.01 * announced)
            if packets.is_cut_off and packets.corrupt[-1:] == [len(packets.keys) - 1]:
                packets.corrupt.pop()  # cut through
    return packets


def choose_threads(context: av.CodecContext, *, tell_where: bool) -> None:
    """Threads that report errors, of frames where there are such: they are faster.

    Args:
        tell_where: whether to report an error where it is; threads of frames are late, and drop intact ones with it.
    """
    context.thread_type = "SLICE" if tell_where else "AUTO"
    if context.name in (_MUTE_IN_SLICES if tell_where else _ONLY_SLICES):
        context.thread_count = 1


def decode(
    path: Path,
    ranges: list[tuple[int, int]] | None,
    wanted: set[int] | None = None,
    errors: list[int] | None = None,
    is_strict: bool = False,
    track: int | None = None,
) -> Iterator[av.VideoFrame]:
    """Decode the packet ranges, or the whole file (None), in presentation order.

    Args:
        wanted: frames of other time stamps that nothing refers to may be left out.
        errors: gets the packet, or with ranges one soon after, at which something did not decode, and is left out, or
            of which the decoder complains.
        is_strict: whether what a decoder would otherwise patch up counts as not decoded.
        track: as `opened`.
    """
    with heard() as said, opened(path, track) as (container, stream):
        context = stream.codec_context
        # With so little to decode threads gain nothing, and at its end those of frames keep some errors to themselves.
        is_little = ranges is not None and sum(end - start for start, end in ranges) < 4 * _THREADS
        choose_threads(context, tell_where=ranges is None or is_little)
        if is_strict:
            context.options = {"err_detect": "explode"}
        kept = wanted if context.name in _SKIPS_EXACTLY else None
        known = len(said)  # what was said in opening it
        remaining: Iterator[tuple[float, float]] = iter([(0, math.inf)] if ranges is None else ranges)
        start, end = next(remaining)
        place = 0

        def attempt(decode: Callable, *arguments: object) -> list[av.VideoFrame]:
            nonlocal known
            frames, is_whole = [], True
            try:
                frames = decode(*arguments)
            except DECODE_ERRORS:
                is_whole = False
            if errors is not None and (not is_whole or len(said) > known):
                errors.append(place)
            known = len(said)
            return frames

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
