"""Trials of reading and cutting: films are made and damaged, and what comes of them is judged by how they were made.

The judge shares nothing with `llava_v2xum.media`: it knows what each picture shows and when, and asks `film_oracle`
what a damaged file still holds, and whether anything in it tells of the damage.

Shapes: N frames that were read, F frames of a film.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
from film_draws import DAMAGES, damage, draw_film
from film_oracle import Plain, plainly_decoded, signs_of_damage, upright
from films import Film, Truth, make, numbers_in, truth_of

from llava_v2xum.core.errors import V2XumError
from llava_v2xum.media.cut import cut_clip
from llava_v2xum.media.video import read_video

VISIBLE = 40.0  # grey levels of 255 by which a cell's mean is off; encoding takes it off by 5 at most
PER_FILM = 5  # damaged copies
FAULTS = ("false alarm", "wrong", "crash", "hang")
VERDICTS = ("exact", "warned", "refused", "untold", *FAULTS)


@dataclass(frozen=True)
class Step:
    """What is tried next, or has come of it.

    Attributes:
        what: the film, or the damage done to it, and whether it is read or cut.
        verdict: one of `VERDICTS`; none while it is only about to be tried. "untold" is a spoiled picture or a wrong
            second that a full decode gives as well, without an error, a message, a mark or an odd stamp anywhere: no
            reader can tell.
        why: what was wrong.
    """

    what: str
    verdict: str = ""
    why: str = ""


class Wrong(Exception):
    """What was read is not what the film holds."""


class Spoiled(Wrong):
    """Pictures are not as they were drawn, those at these seconds."""

    def __init__(self, told: str, seconds: np.ndarray) -> None:
        super().__init__(told)
        self.seconds = seconds


class Late(Wrong):
    """They are, and do not stand at their seconds."""


def trial(seed: int, case: int, folder: Path, per_film: int = PER_FILM) -> Iterator[Step]:
    """Make film number `case` of a series, read and cut it, and damaged copies of it."""
    draw = random.Random(f"{seed}-{case}")
    film = draw_film(draw)
    yield Step(f"making {film}")
    path = make(film, folder / f"film.{film.ending}")
    truth = truth_of(film)
    spans = _spans(draw, truth.duration)
    yield from _tried(f"{path.name}: {film}", film, truth, path, spans, None)
    for number in range(per_film):
        kind = draw.choice(DAMAGES)
        of_damage = random.Random(draw.random())
        hurt = folder / f"damaged{number}.{film.ending}"
        yield Step(f"damaging {film}: {kind}")
        try:
            damage(kind, path, hurt, of_damage)
        except (av.FFmpegError, ValueError):  # no muxer takes such packets
            continue
        yield from _tried(f"{hurt.name}: {kind}: {film}", film, truth, hurt, spans, kind)


def _spans(draw: random.Random, duration: float) -> list[tuple[float, float]]:
    places = sorted(round(draw.uniform(0, duration), 3) for _ in range(2 * draw.choice((1, 2, 3))))
    spans = [(start, end) for start, end in zip(places[::2], places[1::2]) if end - start > 0.2]
    return [span for span, after in zip(spans, [*spans[1:], (np.inf, 0)]) if after[0] > span[1]]


def _tried(name: str, film: Film, truth: Truth, path: Path, spans, kind: str | None) -> Iterator[Step]:
    yield Step(f"read {name}")
    verdict, why = _read(film, truth, path, kind)
    yield Step(f"read {name}", verdict, why)
    if not spans or verdict == "refused":
        return
    yield Step(f"cut {name}")
    verdict, why = _cut(film, truth, path, spans, kind, verdict)
    yield Step(f"cut {name}", verdict, why)


def _read(film: Film, truth: Truth, path: Path, kind: str | None) -> tuple[str, str]:
    """Read a file and judge what comes."""
    try:
        video = read_video(path)
    except V2XumError as error:
        if kind is None and len(truth.numbers) >= 2:
            return "false alarm", str(error)
        return "refused", ""
    except Exception as error:
        return "crash", f"{type(error).__name__}: {error}"
    if video.warnings:
        # FFmpeg's own muxer and parser of program streams give frames the stamps of others now and then.
        has_pause = film.stamps in ("pause", "equal", "missing") and "holds no frame from" in video.warnings[0]
        if kind is None and not has_pause and film.ending not in ("mpg", "vob"):
            return "false alarm", "; ".join(video.warnings)
        return "warned", ""
    try:
        (_check_healthy if kind is None else _check_damaged)(film, truth, video, path)
    except Wrong as wrong:
        return _told(film, truth, path, wrong, kind)
    return "exact", ""


def _told(film: Film, truth: Truth, path: Path, wrong: Wrong, kind: str | None) -> tuple[str, str]:
    """The verdict on what is wrong without a warning: whether a full decode is right, or has told."""
    if kind is None:
        return "wrong", str(wrong)
    plain = plainly_decoded(film, path)
    near = None
    if isinstance(wrong, Spoiled):
        groups = _groups_of(plain, wrong.seconds)
        if not len(groups):
            return "wrong", f"{wrong}; a full decode gives none that is spoiled"
        near = {*groups, *(groups - 1)}  # a decoder is some packets behind
    if isinstance(wrong, Late) and plain.seconds is not None and not _late(film, truth, plain.numbers, plain.seconds):
        return "wrong", f"{wrong}; the stamps of a full decode are right"
    healthy = signs_of_damage(path.with_stem("film"))
    signs = {sign for sign, where in signs_of_damage(path).items() if near is None or where & near} - set(healthy)
    if not signs:
        return "untold", str(wrong)
    return "wrong", f"{wrong}; told by: {', '.join(sorted(signs)[:4])}"


def _groups_of(plain: Plain, seconds: np.ndarray) -> np.ndarray:
    """The groups of the spoiled frames of a full decode, or of those of them that are nearest to some seconds."""
    spoiled = np.flatnonzero(plain.off > VISIBLE)
    if plain.seconds is not None and len(spoiled):
        away = np.abs((plain.seconds[spoiled] - plain.seconds[0])[:, None] - seconds)
        spoiled = spoiled[np.unique(away.argmin(axis=0))]
    return plain.groups[spoiled]


def _check_healthy(film: Film, truth: Truth, video, path: Path) -> None:
    total = len(truth.numbers)
    wanted = np.linspace(0, total - 1, 100).astype(int)
    numbers, off = numbers_in(upright(film, video.frames), film.count)
    if video.total_frames != total:
        raise Wrong(f"{video.total_frames} frames for {total}")
    if (numbers != truth.numbers[wanted]).any():
        raise Wrong(f"{(numbers != truth.numbers[wanted]).sum()} of 100 frames are others")
    if off.max() > VISIBLE:
        raise Wrong(f"{(off > VISIBLE).sum()} of 100 frames are spoiled")
    step = float(1 / film.rate)
    steps = np.diff(truth.seconds, append=truth.duration)
    slack = np.full(100, 0.5 * step)
    if film.stamps in ("equal", "missing"):  # put between their neighbours
        slack = steps[wanted]
    elif film.ending in ("mpg", "vob"):
        slack *= 2 * (film.bframes + 1)
    late = np.abs(video.frame_seconds - truth.seconds[wanted])
    if (late > slack + 0.002).any():
        raise Wrong(f"seconds are off by up to {late.max():.3f}")
    lasts = max(steps) if film.stamps == "varying" else step  # the last frame, where the container does not say
    if abs(video.duration_seconds - truth.duration) > 0.5 * step + lasts + 0.01:
        raise Wrong(f"{video.duration_seconds:.3f} seconds for {truth.duration:.3f}")


def _check_damaged(film: Film, truth: Truth, video, path: Path) -> None:
    """Every frame is clean, and stands at its second from the first one that the file still holds."""
    numbers, off = numbers_in(upright(film, video.frames), film.count)
    if off.max() > VISIBLE:
        raise Spoiled(f"{(off > VISIBLE).sum()} of 100 frames are spoiled", video.frame_seconds[off > VISIBLE])
    if not np.isin(numbers, truth.numbers).all():
        raise Wrong("a frame is shown that the film's edit list leaves out")
    if late := _late(film, truth, numbers, video.frame_seconds):
        raise Late(late)
    plain = plainly_decoded(film, path)
    held = plain.numbers[plain.off <= VISIBLE]
    if len(held) and (numbers[0] > held[0] + 1 or numbers[-1] < held[-1] - 1):
        raise Wrong(f"frames {numbers[0]} to {numbers[-1]}, but {held[0]} to {held[-1]} decode")


def _late(film: Film, truth: Truth, numbers: np.ndarray, seconds: np.ndarray) -> str:
    """How far frames stand from their seconds, from that of the first one on, if it is more than a frame."""
    place = np.minimum(np.searchsorted(truth.numbers, numbers), len(truth.numbers) - 1)
    slack = float(1 / film.rate) * (film.bframes + 1 if film.ending in ("mpg", "vob") else 1)
    if film.stamps in ("equal", "missing"):  # put between their neighbours
        steps = np.diff(truth.seconds, append=truth.duration)
        slack = np.maximum(steps[place], np.roll(steps, 1)[place])
    late = np.abs(seconds - seconds[0] - (truth.seconds[place] - truth.seconds[place[0]]))
    count = int((late > slack + 0.002).sum())
    return f"{count} of {len(late)} seconds are off, by up to {late.max():.3f}" if count else ""


@contextmanager
def _warnings_of(name: str) -> Iterator[list[str]]:
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                said.append(record.getMessage())

    logger, listener = logging.getLogger(name), Listener()
    logger.addHandler(listener)
    try:
        yield said
    finally:
        logger.removeHandler(listener)


def _cut(film: Film, truth: Truth, path: Path, spans, kind: str | None, read: str) -> tuple[str, str]:
    """Cut spans out of a file and judge the clip; of a damaged file's damage, reading has told."""
    clip = path.with_name("clip.mp4")
    clip.unlink(missing_ok=True)
    try:
        with _warnings_of("llava_v2xum.media") as said:
            cut_clip(path, spans, clip)
    except V2XumError as error:
        return ("false alarm", str(error)) if kind is None else ("refused", "")
    except Exception as error:
        return "crash", f"{type(error).__name__}: {error}"
    if said:
        return ("false alarm", said[0]) if kind is None else ("warned", "")
    if kind is not None and read != "exact":
        return read if read in ("warned", "untold") else "warned", ""
    try:
        if kind is not None:  # seconds are those from the first frame on that the file still holds
            numbers = plainly_decoded(film, path).numbers[:1]
            gone = np.interp(numbers, truth.numbers, truth.seconds).sum()
            truth = replace(truth, seconds=truth.seconds - gone, duration=truth.duration - gone)
        _check_clip(film, truth, clip, spans)
    except Wrong as wrong:
        wrong.args = (f"{wrong} (clip of {spans})",)
        return _told(film, truth, path, wrong, kind)
    return "exact", ""


def _check_clip(film: Film, truth: Truth, clip: Path, spans) -> None:
    """Each picture of the clip is that of its second in the source, none is missing, and it is as long as its spans."""
    with av.open(str(clip)) as container:
        track = container.streams.video[0]
        decoded = [(float(frame.pts * frame.time_base), frame.to_ndarray(format="rgb24")) for frame in
                   container.decode(video=0)]  # fmt: skip
        length = float(track.duration * track.time_base)
    step = float(1 / film.rate)
    wanted = sum(end - start for start, end in spans)
    if abs(length - wanted) > step * len(spans) + 0.05:
        raise Wrong(f"a clip of {length:.3f} seconds for {wanted:.3f}")
    numbers, off = numbers_in(upright(film, np.stack([pixels for _, pixels in decoded])), film.count)
    if off.max() > VISIBLE + 10:  # encoded twice
        seconds = np.array([second for second, _ in decoded])[off > VISIBLE + 10]
        raise Spoiled(f"{(off > VISIBLE + 10).sum()} of {len(off)} frames are spoiled", _in_source(seconds, spans))
    slack = step * (film.bframes + 1 if film.ending in ("mpg", "vob") else 1) + 0.002
    ends = np.append(truth.seconds[1:], max(truth.duration, spans[-1][1]))  # the last one stays, where a film was cut
    known = {number: place for place, number in enumerate(truth.numbers.tolist())}
    # a clip need not begin with a frame that is over in a moment
    early = max(slack, 0.6 * truth.duration / len(truth.numbers) + 0.002)
    before, shown = 0.0, set()
    for start, end in spans:
        for (second, _), number in zip(decoded, numbers.tolist()):
            if before - 1e-4 <= second < before + end - start - 1e-4:
                at, place = start + second - before, known.get(number)
                first = truth.seconds[place] - (early if at < start + 1e-4 else slack) if place is not None else np.inf
                if not first <= at <= ends[place] + slack:
                    raise Wrong(f"frame {number} at second {at:.3f}")
                shown.add(number)
        inside = truth.numbers[(truth.seconds >= start + slack) & (ends <= end - slack)].tolist()
        missing = [number for number in inside if number not in shown]
        if missing and film.stamps not in ("equal", "missing") and film.ending not in ("mpg", "vob"):
            raise Wrong(f"{len(missing)} frames are missing")
        before += end - start


def _in_source(seconds: np.ndarray, spans) -> np.ndarray:
    """Seconds of a clip -> those of its source."""
    lengths = np.cumsum([0.0, *(end - start for start, end in spans)])
    span = np.clip(np.searchsorted(lengths, seconds + 1e-4, side="right") - 1, 0, len(spans) - 1)
    return np.array([start for start, _ in spans])[span] + seconds - lengths[span]
