"""Draws films of all kinds, and damages files in all ways: the same again from the same `random.Random`."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
from films import Film

ENDINGS = {  # a container, and the encoders whose codecs are met in it
    "mp4": ("libx264", "libx264", "libx265", "mpeg4", "libvpx-vp9", "libsvtav1", "mjpeg"),
    "mov": ("libx264", "libx265", "prores_ks", "png", "qtrle", "mjpeg"),
    "m4v": ("libx264", "mpeg4"),
    "3gp": ("libx264", "mpeg4"),
    "mkv": ("libx264", "libx265", "ffv1", "mpeg4", "mpeg2video", "libvpx", "libvpx-vp9", "mjpeg"),
    "webm": ("libvpx", "libvpx-vp9", "libsvtav1"),
    "ts": ("libx264", "libx264", "libx265", "mpeg2video"),
    "m2ts": ("libx264", "mpeg2video"),
    "avi": ("mpeg4", "libx264", "mjpeg", "ffv1", "ffvhuff", "msmpeg4v2"),
    "mpg": ("mpeg1video", "mpeg2video"),
    "vob": ("mpeg2video",),
    "flv": ("libx264", "flv"),
    "wmv": ("wmv2", "msmpeg4"),
    "h264": ("libx264",),
    "hevc": ("libx265",),
}
HAVE_B_FRAMES = {"libx264", "libx265", "mpeg4", "mpeg1video", "mpeg2video"}
COUNT_STAMPS = {"avi", "h264", "hevc"}  # these hold a rate and no stamps
ONE_RATE = {"mpg", "vob", "m4v"}  # and these only stamps of a constant one, or none that a player would go by
BARE = {"h264", "hevc"}  # hold one track
MANY_TRACKS = {"mp4", "mov", "mkv"}
NEED_LENGTH = {"early", "equal", "missing", "ts", "m2ts", "mpg", "vob"}  # FFmpeg takes no program stream of few bytes
MP4S = {"mp4", "mov", "m4v", "3gp"}


def draw_film(draw: random.Random) -> Film:
    """A healthy film, ordinary or odd, of what its container can hold."""
    ending = draw.choice(sorted(ENDINGS))
    codec = draw.choice(ENDINGS[ending])
    bframes = draw.choice((0, 1, 2, 3)) if codec in HAVE_B_FRAMES else 0
    rate = Fraction(25) if ending in BARE else draw.choice((Fraction(25), Fraction(30), Fraction(30000, 1001)))
    stamps = _stamps(draw, ending, codec, bframes)
    counts = (100, 101, 150, 150, 200, 200, 300) + ((1, 2, 3, 40) if not {stamps, ending} & NEED_LENGTH else ())
    sound = 0 if ending in BARE else draw.choice((0, 0, 3, 8, 20))
    return Film(
        ending,
        codec,
        count=draw.choice(counts),
        size=_size(draw, codec),
        rate=rate,
        gop=draw.choice((1, 8, 12, 30, 30, 50, 100, 1000)),
        bframes=bframes,
        stamps=stamps,
        sound=sound,
        subtitles=draw.choice((0, 0, 30)) if ending == "mkv" else 0,
        thumbnail=ending in MANY_TRACKS and draw.random() < 0.15,
        turned=draw.choice((0, 0, 90, 180, 270)) if ending in MP4S else 0,
        options=_options(draw, codec),
        flags=_flags(draw, ending, stamps, sound),
    )


def _size(draw: random.Random, codec: str) -> tuple[int, int]:
    sizes = [(96, 72), (96, 72), (64, 48), (176, 144), (72, 96)]
    if codec in ("ffv1", "mjpeg", "png", "qtrle", "libvpx", "libvpx-vp9"):
        sizes.append((97, 71))
    if codec == "libx264":
        sizes.append((320, 180))
    return draw.choice(sizes)


def _stamps(draw: random.Random, ending: str, codec: str, bframes: int) -> str:
    if ending in COUNT_STAMPS:
        return "even"
    kinds = ["even", "even", "late"] if ending != "wmv" else ["even"]  # FFmpeg's muxer announces that lateness twice
    if ending not in ONE_RATE:
        kinds += ["varying", "pause"]
    if ending in ("mp4", "mov"):
        kinds.append("early")
    if ending == "mp4" and codec == "libx264" and bframes:
        kinds += ["storage"] * 4
    if ending == "ts" and codec == "libx264":
        kinds.append("missing")
    if ending == "mkv" and not bframes:
        kinds.append("equal")
    return draw.choice(kinds)


def _options(draw: random.Random, codec: str) -> tuple[tuple[str, str], ...]:
    if codec == "libx264":
        more = ["open-gop=1", "ref=4:b-pyramid=normal", "slices=3", "weightp=2:ref=3", "cabac=0", ""]
        return (("x26-params", draw.choice(more)), ("preset", draw.choice(("ultrafast", "veryfast", "medium"))))
    if codec == "libx265":
        return (("x26-params", draw.choice(("open-gop=1", "open-gop=0", "rc-lookahead=5"))),)
    if codec in ("libvpx", "libvpx-vp9"):
        return draw.choice(((), (("auto-alt-ref", "1"), ("lag-in-frames", "12"), ("deadline", "good"))))
    return ()


def _flags(draw: random.Random, ending: str, stamps: str, sound: float) -> tuple[tuple[str, str], ...]:
    """Of fragments whose header comes first the muxer makes the first frame last until all tracks have begun."""
    if ending not in MP4S:
        return ()
    kinds = ["", "faststart"]
    if stamps != "early":  # fragments have no edit list
        early = ("empty_moov", "empty_moov+default_base_moof")
        index = "delay_moov" if sound or stamps == "late" else draw.choice(early)
        kinds.append(f"frag_keyframe+{index}")
    kind = draw.choice(kinds)
    return (("movflags", kind),) if kind else ()


Damage = Callable[[bytearray, random.Random], bytearray]


def _flip(data: bytearray, draw: random.Random) -> bytearray:
    for _ in range(draw.choice((1, 3, 10, 50, 300))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return data


def _block(data: bytearray, draw: random.Random, longest: int = 5000) -> slice:
    start = draw.randrange(len(data))
    return slice(start, min(len(data), start + draw.randrange(1, longest)))


def _zero(data: bytearray, draw: random.Random) -> bytearray:
    where = _block(data, draw)
    data[where] = bytes(len(data[where]))
    return data


def _noise(data: bytearray, draw: random.Random) -> bytearray:
    where = _block(data, draw)
    data[where] = draw.randbytes(len(data[where]))
    return data


def _lose(data: bytearray, draw: random.Random) -> bytearray:
    del data[_block(data, draw)]
    return data


def _repeat(data: bytearray, draw: random.Random) -> bytearray:
    where = _block(data, draw)
    data[where] = data[where] * 2
    return data


def _cut_end(data: bytearray, draw: random.Random) -> bytearray:
    return data[: draw.randrange(1, len(data))]


def _cut_start(data: bytearray, draw: random.Random) -> bytearray:
    return data[draw.randrange(1, len(data)) :]


def _append(data: bytearray, draw: random.Random) -> bytearray:
    return data + (draw.randbytes if draw.random() < 0.5 else bytes)(draw.randrange(1, 9000))


def _head(data: bytearray, draw: random.Random) -> bytearray:
    """Flipped bits in what describes the tracks."""
    index = data.find(b"moov")
    first, last = (index, min(len(data), index + 1500)) if index >= 0 else (0, min(len(data), 1000))
    for _ in range(draw.choice((1, 2, 5))):
        data[draw.randrange(first, last)] ^= 1 << draw.randrange(8)
    return data


def _transport(data: bytearray, draw: random.Random) -> bytearray:
    """Packets of a transport stream lost, or there twice."""
    for _ in range(draw.choice((1, 2, 10))):
        start = draw.randrange(len(data) // 188) * 188
        packet = data[start : start + 188]
        data[start : start + 188] = packet * 2 if draw.random() < 0.5 else b""
    return data


_BYTES: dict[str, Damage] = {
    "flip": _flip, "zero": _zero, "noise": _noise, "lose": _lose, "repeat": _repeat, "cut end": _cut_end,
    "cut start": _cut_start, "append": _append, "head": _head, "transport": _transport,
}  # fmt: skip
PACKETS = ("drop", "double", "spoil")
DAMAGES = (*_BYTES, *PACKETS)


def damage(kind: str, source: Path, target: Path, draw: random.Random) -> None:
    """Write a damaged copy of a file.

    Raises:
        av.FFmpegError, ValueError: if packets are to be damaged, and cannot be written into a file of that kind again.
    """
    if kind in _BYTES:
        target.write_bytes(_BYTES[kind](bytearray(source.read_bytes()), draw))
    else:
        _damage_packets(kind, source, target, draw)


def _damage_packets(kind: str, source: Path, target: Path, draw: random.Random) -> None:
    """Some packets of the tracks dropped, written twice, or with a byte of theirs changed; all else is as it was."""
    with av.open(str(source)) as film, av.open(str(target), "w") as output:
        kept = [stream for stream in film.streams if stream.type in ("video", "audio")]
        tracks = {stream.index: output.add_stream_from_template(stream) for stream in kept}
        packets = [packet for packet in film.demux(kept) if packet.size and packet.dts is not None]
        if len(packets) < 8:
            raise ValueError("too few packets: what is left may be a film of its own")
        hit = {draw.randrange(len(packets)) for _ in range(draw.choice((1, 2, 8)))}
        for place, packet in enumerate(packets):
            if place in hit and kind == "drop":
                continue
            data, index = bytearray(bytes(packet)), packet.stream.index
            if place in hit and kind == "spoil":
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            for _ in range(2 if place in hit and kind == "double" else 1):
                copy = av.Packet(bytes(data))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.duration, copy.is_keyframe = packet.duration, packet.is_keyframe
                copy.stream = tracks[index]
                output.mux(copy)
