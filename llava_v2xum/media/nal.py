"""The units of H.264 and HEVC packets, as far as it takes to tell a key frame at which a decoder may begin afresh.

Source: ITU-T H.264, 7.3.1 and table 7-1; H.265, 7.3.1.2 and table 7-1; ISO/IEC 14496-15 for packets with lengths.
"""

from __future__ import annotations

from collections.abc import Iterator

import av

_IDR = {"h264": {5}, "hevc": {19, 20}}  # unit types


def is_refresh(packet: av.Packet, context: av.CodecContext) -> bool:
    """Whether a key frame of H.264 or HEVC is an IDR picture: nothing after it refers to anything before."""
    wanted = _IDR[context.name]
    return any(kind in wanted for kind in _kinds(bytes(packet), context))


def _kinds(data: bytes, context: av.CodecContext) -> Iterator[int]:
    """The types of the units in a packet."""
    shift, mask = (0, 0x1F) if context.name == "h264" else (1, 0x3F)
    extra = context.extradata or b""
    place = 22 if context.name == "hevc" else 5
    if len(extra) < place or extra[0] != 1:  # start codes, as in transport streams
        at = data.find(b"\0\0\1")
        while 0 <= at < len(data) - 3:
            yield data[at + 3] >> shift & mask
            at = data.find(b"\0\0\1", at + 3)
        return
    width = (extra[place - 1] & 3) + 1  # bytes of a length
    at = 0
    while at + width < len(data):
        yield data[at + width] >> shift & mask
        at += width + int.from_bytes(data[at : at + width], "big")
