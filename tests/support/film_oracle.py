"""The oracle of trials: a whole film decoded plainly, in order, and all that FFmpeg tells of damage meanwhile.

Shapes: F frames of a film.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.logging
import numpy as np
from films import Film, numbers_in

_PICTURE_EACH = {"h264", "hevc", "mpeg2video", "mjpeg", "ffv1"}  # codecs with a picture in every packet


@dataclass(frozen=True)
class Plain:
    """A full decode: what each frame shows, int64 [F], how far it is off, its second and its group of pictures."""

    numbers: np.ndarray
    off: np.ndarray
    seconds: np.ndarray | None
    groups: np.ndarray


def plainly_decoded(film: Film, path: Path) -> Plain:
    """All frames of a file, in the decoder's order; those of another size than the film's show none of its pictures."""
    frames = list(_frames(path))
    numbers, off = np.zeros(len(frames), dtype=int), np.full(len(frames), np.inf)
    sound = [place for place, (frame, _) in enumerate(frames) if (frame.width, frame.height) == film.size]
    if sound:  # they are stored as they were drawn
        pictures = np.stack([frames[place][0].to_ndarray(format="rgb24") for place in sound])
        numbers[sound], off[sound] = numbers_in(pictures, film.count)
    stamps = [frame.pts for frame, _ in frames]
    seconds = None if None in stamps else np.array([float(frame.pts * frame.time_base) for frame, _ in frames])
    return Plain(numbers, off, seconds, np.array([group for _, group in frames]))


def _frames(path: Path, signs: dict[str, set[int]] | None = None, strict: bool = False) -> Iterator[tuple]:
    """Decode a whole file plainly, in order, and over every error.

    Args:
        signs: gets what was raised, marked, said or odd, and at which groups of pictures; -1 is that of none.

    Yields:
        Each frame, and how many groups had begun.
    """
    found: dict[str, set[int]] = defaultdict(set) if signs is None else signs
    with av.logging.Capture(local=False) as said, av.open(str(path)) as film:
        said.clear()  # what was said in guessing the container
        stream = max(film.streams.video, key=lambda one: (bool(one.disposition.default), one.width or 0))
        stream.codec_context.thread_count = 1
        if strict:
            stream.codec_context.options = {"err_detect": "explode"}
        stamps, packets, frames, group = [], 0, 0, 0
        for packet in _demuxed(film, stream, found):
            packets += bool(packet.size) and not packet.is_discard
            group += packet.is_keyframe
            if packet.size and packet.pts is None:
                found["a packet without a stamp"].add(group)
            if packet.is_corrupt:
                found["a packet marked as corrupt"].add(group)
            try:
                decoded = packet.decode()
            except (av.FFmpegError, ValueError) as error:
                found[f"an error in decoding ({type(error).__name__})"].add(group)
                decoded = []
            for level, name, text in said:
                if level <= av.logging.ERROR:
                    found[f"{name}: {text.strip()[:60]}"].add(group)
            said.clear()
            for frame in decoded:
                frames += 1
                if frame.is_corrupt:
                    found["a frame marked as corrupt"].add(group)
                if stamps and None not in (stamps[-1], frame.pts) and frame.pts < stamps[-1]:
                    found["a stamp that does not rise"].add(group)
                stamps.append(frame.pts)
                yield frame, group
        if stream.codec_context.name in _PICTURE_EACH and frames < packets:
            found["packets without a frame"].add(-1)
        shown = [stamp for stamp in stamps if stamp is not None]
        if stream.duration and len(shown) > 1:
            missing = float((stream.duration - (shown[-1] - shown[0])) * stream.time_base)
            if missing > max(1.0, 0.02 * float(stream.duration * stream.time_base)):
                found["a duration that is not reached"].add(-1)


def _demuxed(film, stream, found: dict[str, set[int]]) -> Iterator[av.Packet]:
    packets = film.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, LookupError) as error:
            found[f"an error in demuxing ({type(error).__name__})"].add(-1)
            return
        if packet is None:
            return
        yield packet


def signs_of_damage(path: Path) -> dict[str, set[int]]:
    """All that FFmpeg says, marks or raises in demuxing and decoding a file, leniently and strictly: and where."""
    signs: dict[str, set[int]] = defaultdict(set)
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        for strict in (False, True):
            try:
                for _ in _frames(path, signs, strict):
                    pass
            except av.FFmpegError as error:
                signs[f"an error in opening ({type(error).__name__})"].add(-1)
    finally:
        av.logging.set_level(before)
    return signs


def upright(film: Film, frames: np.ndarray) -> np.ndarray:
    """Frames [N, H, W, 3] as they were drawn."""
    return np.rot90(frames, film.turned // 90, axes=(1, 2))
