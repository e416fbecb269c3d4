"""Makes video files of every kind that PyAV's encoders and muxers give, and knows what each of their frames shows.

Every picture carries its number in black and white cells, over a background that stays for a while and with a square
that moves, so that codecs predict it from others: a wrong frame, and a spoiled one, cannot pass.

Shapes: F frames, H and W pixels, Y and X cells of a picture.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CELLS = (6, 8)  # Y, X
BITS = 10
CLOCK = Fraction(1, 90_000)
SCENE = 40  # frames that share a background


def cells_of(number: int) -> np.ndarray:
    """What picture `number` shows: grey levels, float64 [Y, X]. Neighbours differ by a bit, in Gray's code."""
    grid = np.random.default_rng(number // SCENE).choice([70.0, 120.0, 170.0], CELLS)
    code = number ^ number >> 1
    grid.flat[:BITS] = [220.0 if code >> bit & 1 else 35.0 for bit in range(BITS)]
    row, column = 3 + number // 8 % 2, number % 7
    grid[row : row + 2, column : column + 2] = 230.0
    return grid


def cells_in(pictures: np.ndarray) -> np.ndarray:
    """The grey levels of pictures [F, H, W, 3] of any size, float64 [F, Y, X]: the means of the cells' middles."""
    height, width = pictures.shape[1:3]
    grid = np.empty((len(pictures), *CELLS))
    for y in range(CELLS[0]):
        for x in range(CELLS[1]):
            rows = slice(round((y + 0.25) * height / CELLS[0]), round((y + 0.75) * height / CELLS[0]))
            columns = slice(round((x + 0.25) * width / CELLS[1]), round((x + 0.75) * width / CELLS[1]))
            grid[:, y, x] = pictures[:, rows, columns, 1].mean(axis=(1, 2))
    return grid


def numbers_in(pictures: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of the first `count` pictures each of [F, H, W, 3] is most like, int64 [F], and by how much its worst cell
    is off, float64 [F]."""
    known = np.stack([cells_of(number) for number in range(count)])
    off = np.stack([np.abs(known - grid).max(axis=(1, 2)) for grid in cells_in(pictures)])
    return off.argmin(axis=1), off.min(axis=1)


def picture(number: int, size: tuple[int, int], pixels: str, step: Fraction = Fraction(1, 25)) -> av.VideoFrame:
    """Picture `number` at (W, H) in a pixel format, shown at that many steps of seconds."""
    width, height = size
    rows, columns = (np.arange(side) * cells // side for side, cells in zip((height, width), CELLS))
    grey = cells_of(number)[rows][:, columns].astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, axis=2), format="rgb24").reformat(format=pixels)
    frame.pts, frame.time_base = number, step
    return frame


@dataclass(frozen=True)
class Film:
    """How a film is made.

    Attributes:
        ending: of its name, which says the container.
        codec: FFmpeg's name of the encoder.
        count: pictures.
        size: W, H.
        rate: pictures a second; where stamps vary the header's.
        gop: the most frames from one key frame to the next.
        bframes: between two others.
        stamps: "even"; "varying"; "pause", one of seconds in the middle; "late", from two seconds on; "early", the
            first second is before zero and cut off by an edit list; "storage", they count what is stored; "equal", some
            are that of the frame before; "missing", some are not there (both with a pause, so that they count).
        sound, subtitles: seconds of those tracks, 0 for none.
        thumbnail: whether a small film that is not the default one comes first.
        turned: clockwise, by degrees.
        options: of the encoder, beside these; where its name ends with -params, as these are written there.
        flags: of the muxer.
    """

    ending: str = "mp4"
    codec: str = "libx264"
    count: int = 100
    size: tuple[int, int] = (96, 72)
    rate: Fraction = Fraction(25)
    gop: int = 30
    bframes: int = 0
    stamps: str = "even"
    sound: float = 0
    subtitles: float = 0
    thumbnail: bool = False
    turned: int = 0
    options: tuple[tuple[str, str], ...] = ()
    flags: tuple[tuple[str, str], ...] = ()
    seconds: tuple[float, ...] = ()  # of the pictures; by `stamps` where there are none

    def __str__(self) -> str:
        """What is not as usual."""
        usual = Film()
        odd = [one.name for one in fields(self) if getattr(self, one.name) != getattr(usual, one.name)]
        return f"Film({', '.join(f'{name}={getattr(self, name)!r}' for name in odd)})"


@dataclass(frozen=True)
class Truth:
    """What a film holds: the pictures that are shown, int64 [F], and their seconds from the first on, float64 [F]."""

    numbers: np.ndarray
    seconds: np.ndarray
    duration: float


CODECS = {  # the pixel format, and options that keep pictures clean and encoding quick
    "libx264": ("yuv420p", {"preset": "veryfast", "crf": "16"}),
    "libx265": ("yuv420p", {"preset": "ultrafast", "crf": "16"}),
    "libvpx": ("yuv420p", {"b": "2M", "deadline": "realtime", "cpu-used": "8"}),
    "libvpx-vp9": ("yuv420p", {"b": "2M", "deadline": "realtime", "cpu-used": "8"}),
    "libsvtav1": ("yuv420p", {"preset": "8", "crf": "20"}),  # faster ones leave visible faults
    "mjpeg": ("yuvj420p", {"b": "20M"}),
    "ffv1": ("yuv420p", {"level": "3", "slicecrc": "1"}),
    "ffvhuff": ("yuv420p", {}),
    "prores_ks": ("yuv422p10le", {}),
    "png": ("rgb24", {}),
    "qtrle": ("rgb24", {}),
    **{name: ("yuv420p", {"b": "4M", "qmin": "6"}) for name in  # finer, their tables clip what is sharp
       ("mpeg1video", "mpeg2video", "mpeg4", "msmpeg4", "msmpeg4v2", "wmv2", "flv")},
}  # fmt: skip
SOUND = {"avi": "libmp3lame", "webm": "libopus", "mpg": "mp2", "vob": "mp2"}  # the others take AAC

PRIMED = {"mp4", "mov", "m4v", "3gp", "mkv", "webm"}  # know how to leave out what an encoder of sound puts in front


def seconds_of(film: Film) -> np.ndarray:
    """When each picture is shown, from that of number 0 on, float64 [count]."""
    if film.seconds:
        return np.array(film.seconds)
    steps = np.full(film.count, float(1 / film.rate))
    if film.stamps == "varying":
        draw = random.Random(film.count)
        steps *= [draw.choice((1, 1, 2, 3, 7)) for _ in steps]
    if film.stamps in ("pause", "equal", "missing"):
        steps[film.count // 2] = 6.0
    return np.cumsum(steps) - steps


def odd_places(film: Film) -> list[int]:
    """Which stamps are not as they should be, away from the pause: there nobody could tell where they belong."""
    return [place for place in range(5, film.count - 1, 29) if abs(place - film.count // 2) > 3]


def truth_of(film: Film) -> Truth:
    """What is right."""
    seconds = seconds_of(film)
    ends = np.append(seconds[1:], seconds[-1] + float(1 / film.rate))
    first = round(film.rate) if film.stamps == "early" else 0
    return Truth(np.arange(first, film.count), seconds[first:] - seconds[first], float(ends[-1] - seconds[first]))


def make(film: Film, path: Path) -> Path:
    """Write the film."""
    flags = dict(film.flags)
    if film.stamps == "early":
        flags["avoid_negative_ts"] = "disabled"
    with av.open(str(path), "w", options=flags) as output:
        videos = [_track(output, film)]
        if film.thumbnail:
            small = replace(film, size=(32, 24))
            videos.insert(0, _track(output, small))
            videos[0].disposition, videos[1].disposition = av.stream.Disposition(0), av.stream.Disposition.default
        packets = [packet for track in videos for packet in _encoded(film, track)]
        if film.sound:
            packets += _silence(output, film)
        if film.subtitles:
            packets += _subtitles(output, film, path)
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            output.mux(packet)
    if film.turned:
        _turn(path, film.turned)
    if film.stamps == "missing" and film.ending == "ts":
        _strip_stamps(path, odd_places(film))
    return path


def _track(output, film: Film):
    pixels, options = CODECS[film.codec]
    options = {**options, **{name: value for name, value in film.options if not name.endswith("-params")}}
    more = dict(film.options).get("x26-params", "")
    if film.codec in ("libx264", "libx265"):
        known = [f"keyint={film.gop}", "scenecut=0", f"bframes={film.bframes}", "b-adapt=0", *filter(None, [more])]
        quiet = ["log-level=error", "pools=1", "frame-threads=1"] if film.codec == "libx265" else []
        options[f"{film.codec[3:]}-params"] = ":".join([*known, *quiet])
    elif film.bframes:
        options["bf"] = str(film.bframes)
    stream = output.add_stream(film.codec, rate=film.rate, options=options)
    stream.width, stream.height = film.size
    stream.pix_fmt = pixels
    stream.codec_context.gop_size = film.gop
    stream.codec_context.thread_count = 1
    return stream


def _encoded(film: Film, stream) -> list[av.Packet]:
    """The packets of a track, with the stamps that they are to have."""
    size, pixels = (stream.width, stream.height), stream.pix_fmt
    packets = [p for number in range(film.count) for p in stream.encode(picture(number, size, pixels, 1 / film.rate))]
    packets += stream.encode(None)
    base = 1 / film.rate
    numbers = [round(packet.pts * packet.time_base / base) for packet in packets]
    shift = {"late": 2.0, "early": -float(round(film.rate) * base)}.get(film.stamps, 0.0)
    seconds = seconds_of(film) + shift
    times = [round(float(second) / CLOCK) for second in seconds]
    step = round(base / CLOCK)
    in_order = sorted(numbers)
    delay = max((shown - place for place, shown in enumerate(in_order)), default=0)
    delay = max([delay, *(place - in_order.index(number) for place, number in enumerate(numbers))])
    equal = set(odd_places(film)) if film.stamps == "equal" else set()
    for place, (packet, number) in enumerate(zip(packets, numbers)):
        before = place - delay
        packet.pts = times[number - 1 if number in equal else number]
        packet.dts = times[in_order[before]] if before >= 0 else times[in_order[0]] + before * step
        if film.stamps == "storage":
            packet.pts = packet.dts = place * step
        packet.time_base = CLOCK
        packet.duration = step
        packet.stream = stream
        packet.dts = min(packet.dts, packet.pts)
    return packets


def _silence(output, film: Film) -> list[av.Packet]:
    rate = 48_000
    stream = output.add_stream(SOUND.get(film.ending, "aac"), rate=rate, layout="mono")
    size, packets = 1024, []
    for start in range(0, int(rate * film.sound), size):
        kind = stream.codec_context.format.name
        data = np.zeros((1, size), dtype={"flt": np.float32, "s16": np.int16, "s32": np.int32}[kind[:3]])
        frame = av.AudioFrame.from_ndarray(data, format=kind, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        packets += stream.encode(frame)
    packets += stream.encode(None)
    early = 0 if film.ending in PRIMED else -min(packet.pts for packet in packets)
    for packet in packets:
        packet.pts, packet.dts, packet.stream = packet.pts + early, packet.dts + early, stream
    return packets


def _subtitles(output, film: Film, path: Path) -> list[av.Packet]:
    """A cue from the first second to the end; PyAV encodes none, but copies them."""
    text = path.with_suffix(".srt")
    text.write_text(f"1\n00:00:01,000 --> 00:00:{film.subtitles:02.0f},000\nA line.\n")
    with av.open(str(text)) as source:
        stream = output.add_stream_from_template(source.streams[0])
        packets = [packet for packet in source.demux() if packet.size]
    text.unlink()
    for packet in packets:
        packet.stream = stream
    return packets


def _turn(path: Path, degrees: int) -> None:
    """Overwrite the display matrix in each mp4 track header (ISO 14496-12, 8.3.2)."""
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    data = bytearray(path.read_bytes())
    start = data.find(b"tkhd")
    while start >= 0:
        for place, value in ((0, a), (1, b), (3, c), (4, d)):
            at = start + 4 + 40 + 4 * place
            data[at : at + 4] = round(value * 65536).to_bytes(4, "big", signed=True)
        start = data.find(b"tkhd", start + 4)
    path.write_bytes(bytes(data))


def _strip_stamps(path: Path, places: list[int]) -> None:
    """Take the stamps off some PES packets of a transport stream's first video track (ISO 13818-1, 2.4.3.6)."""
    data = bytearray(path.read_bytes())
    starts = [at for at in range(0, len(data), 188) if data[at + 1] & 0x5F == 0x41 and data[at + 2] == 0]
    for at in [starts[place] for place in places if place < len(starts)]:
        header = at + 4 + (1 + data[at + 4] if data[at + 3] & 0x20 else 0)
        data[header + 7] &= 0x3F
        data[header + 9 : header + 9 + data[header + 8]] = b"\xff" * data[header + 8]
    path.write_bytes(bytes(data))
