"""The units of H.264 and HEVC packets, as far as it takes to tell where a decoder may begin afresh, and what is lost.

Source: ITU-T H.264, 7.3.1 to 7.3.3 and table 7-1; H.265, 7.3.1.2 and table 7-1; ISO/IEC 14496-15 for packets with
lengths.
"""

from __future__ import annotations

from collections.abc import Iterator

import av

_IDR = {"h264": {5}, "hevc": {19, 20}}  # unit types
_SLICES, _PARAMETERS = {1, 2, 5}, 7  # of H.264
_HEAD = 4096  # bytes of a packet in which its first slice begins
_SLICE_HEAD = 32  # bytes of a slice that hold its frame_num
# profiles whose parameters tell of chroma, depth and scaling
_HIGH = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}


def is_refresh(packet: av.Packet, context: av.CodecContext) -> bool:
    """Whether a key frame of H.264 or HEVC is an IDR picture: nothing after it refers to anything before."""
    wanted, data = _IDR[context.name], bytes(packet)
    return any(_kind(data, at, context) in wanted for at in _units(data, context))


def _kind(data: bytes, at: int, context: av.CodecContext) -> int:
    return data[at] & 0x1F if context.name == "h264" else data[at] >> 1 & 0x3F


def _units(data: bytes, context: av.CodecContext) -> Iterator[int]:
    """Where the units of a packet begin."""
    extra = context.extradata or b""
    place = 22 if context.name == "hevc" else 5
    if len(extra) < place or extra[0] != 1:  # start codes, as in transport streams
        at = data.find(b"\0\0\1")
        while 0 <= at < len(data) - 3:
            yield at + 3
            at = data.find(b"\0\0\1", at + 3)
        return
    width = (extra[place - 1] & 3) + 1  # bytes of a length
    at = 0
    while at + width < len(data):
        yield at + width
        at += width + int.from_bytes(data[at : at + width], "big")


class FrameNumbers:
    """The frame_num of one H.264 picture after the other (7.4.3): it counts those that others refer to.

    A gap tells that some are lost, of which a decoder says nothing where it need not decode what comes next.
    """

    def __init__(self, context: av.CodecContext) -> None:
        self.context = context
        self.bits = 0  # of a frame_num; none while it is unknown, or where gaps are allowed
        self.last: int | None = None  # of the last picture to which others refer
        self.has_planes = False
        extra = context.extradata or b""
        if extra[:1] == b"\1":
            self._learn(extra[8:])
        else:
            self.tells_of_loss(extra)

    def tells_of_loss(self, packet: av.Packet | bytes) -> bool:
        """Whether pictures are lost between this one and those before, or a unit of this one is not whole."""
        data = memoryview(packet)
        for head in (bytes(data[:_HEAD]), bytes(data) if len(data) > _HEAD else b""):
            for at in _units(head, self.context):
                kind = _kind(head, at, self.context)
                if head[at] & 0x80:  # what must not be
                    return True
                if kind == _PARAMETERS:
                    self._learn(head[at:])
                elif kind in _SLICES:
                    return bool(self.bits) and self._is_after_gap(kind, head[at : at + _SLICE_HEAD])
        return False

    def _is_after_gap(self, kind: int, unit: bytes) -> bool:
        number, before = self._number(unit), self.last
        if unit[0] & 0x60 or before is None:  # others refer to it
            self.last = number
        if before is None or kind in _IDR["h264"]:
            return False
        return number not in (before, (before + 1) % (1 << self.bits))

    def _number(self, unit: bytes) -> int:
        bits = _Bits(unit[1:])
        for _ in range(3):  # where the slice begins, what it is, its picture's parameters
            bits.count()
        if self.has_planes:
            bits.take(2)
        return bits.take(self.bits)

    def _learn(self, unit: bytes) -> None:
        """Take the number of bits from a sequence's parameters."""
        bits = _Bits(unit[1:256])
        profile, _, _ = bits.take(8), bits.take(16), bits.count()
        self.has_planes = False
        if profile in _HIGH:
            chroma = bits.count()
            self.has_planes = chroma == 3 and bool(bits.take(1))
            for _ in range(2):  # depths
                bits.count()
            bits.take(1)
            if bits.take(1):
                for number in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        bits.skip_scaling(16 if number < 6 else 64)
        width = bits.count() + 4
        kind = bits.count()
        if kind == 0:
            bits.count()
        elif kind == 1:
            bits.take(1)
            bits.count(), bits.count()
            for _ in range(min(bits.count(), 255)):
                bits.count()
        bits.count()
        may_have_gaps = bits.take(1)
        self.bits = 0 if may_have_gaps or width > 16 else width


class _Bits:
    """The bits of a unit, from the first on; zeros behind its end."""

    def __init__(self, data: bytes) -> None:
        data = data.replace(b"\0\0\3", b"\0\0")  # what keeps start codes from turning up within
        self.value, self.left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """The next bits as a number (u(n) in 7.2)."""
        self.left = max(self.left - count, 0)
        return self.value >> self.left & (1 << count) - 1

    def count(self) -> int:
        """The next Exp-Golomb number (9.1)."""
        rest = self.value & (1 << self.left) - 1
        zeros = self.left - rest.bit_length()
        self.take(zeros)
        return self.take(zeros + 1) - 1

    def skip_scaling(self, size: int) -> None:
        """A scaling list (7.3.2.1.1.1)."""
        last = following = 8
        for _ in range(size):
            if following:
                number = self.count()
                following = (last + (number + 1) // 2 * (1 if number % 2 else -1)) % 256
            last = following or last
