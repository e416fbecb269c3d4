"""The chosen frames of a file as upright pictures, one at a time.

Shapes: N frames, H height, W width (of the upright picture).
"""

from __future__ import annotations

import math
from collections.abc import Generator
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from .demux import Frames, Packets, decode, orientation
from .opening import VideoError

_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics, ITU-T H.273, table 3


def pictures(
    path: Path, frames: Frames, indices: np.ndarray, packets: Packets, is_part: bool
) -> Generator[np.ndarray, None, list[str] | None]:
    """Decode the frames `indices`.

    Args:
        is_part: decode only those packets that are needed, as strictly as can be, and give up where the frames do not
            come out in the order of their stamps; otherwise decode all, and take what the decoder patches up.

    Yields:
        uint8 [H, W, 3], RGB, in the order of `indices`; one that comes out before its turn is kept until then.

    Returns:
        What people are to know about the pictures, or None where not all of them come out intact.
    """
    slots: dict[int, list[int]] = {}
    for slot, index in enumerate(indices.tolist()):
        slots.setdefault(frames.names[index], []).append(slot)
    by_stamp = bool(frames.packets)
    ranges = packets.ranges_for(frames, indices) if is_part else None
    # where groups are open, this codec takes the beginning of each range for damage
    is_strict = is_part and not (packets.is_h264 and packets.has_open_groups)
    wanted = set(slots) if is_part and not packets.may_be_in_storage_order else None
    errors: list[int] = []
    last = -math.inf
    view: _View | None = None
    early: dict[int, np.ndarray] = {}
    following = 0
    # PyAV 19's own one lives as long as its thread, and in a forked process waits for threads that are not there
    convert = VideoReformatter()
    for place, frame in enumerate(decode(path, ranges, wanted, errors, is_strict, packets.track)):
        name = frame.pts if by_stamp else place
        if is_part and name is not None:
            if name <= last:
                return None
            last = name
        if name not in slots:
            continue
        if frame.is_corrupt:
            if is_part:
                return None
            continue
        view = view or _View(path, frame)
        view.is_interlaced |= frame.interlaced_frame
        view.others += (frame.width, frame.height) != (view.width, view.height)
        try:
            picture = view.turn(convert.reformat(frame, view.width, view.height, "rgb24").to_ndarray())
        except av.FFmpegError as error:  # damage has given it colours that there are not
            raise VideoError(f"{path}: a frame cannot be made a picture: {error.strerror}") from error
        early.update(dict.fromkeys(slots.pop(name), picture))
        while following in early:
            yield early.pop(following)
            following += 1
    starts = [start for start, _ in ranges or []]
    is_damaged = any(not packets.may_miss_references(packet, starts) for packet in errors) if is_part else False
    return None if slots or is_damaged or view is None else view.warnings()


class _View:
    """How a file's frames become pictures, all of the size of the first, and what of it is not as it should be."""

    def __init__(self, path: Path, first: av.VideoFrame) -> None:
        self.path = path
        # Where the picture size changes within the file, the first one counts.
        self.width, self.height = first.width, first.height
        self.turn, self.odd = orientation(first)
        self.transfer = _HDR.get(first.color_trc)
        self.is_interlaced = False
        self.others = 0

    def warnings(self) -> list[str]:
        """One line each."""
        said = []
        if self.odd:
            said.append(f"{self.odd}; the frames are taken as stored")
        if self.transfer:
            said.append(f"HDR ({self.transfer}) is not tone-mapped: the frames look paler than they should")
        if self.is_interlaced:
            said.append("interlaced frames are not deinterlaced: edges that move look like combs")
        if self.others:
            size = f"{self.width} x {self.height}"
            said.append(f"{self.others} of the sampled frames are of another size and were scaled to {size}")
        return [f"{self.path}: {line}" for line in said]
