"""A file that its packets do not tell enough of, decoded once from end to end: which frames there are, and the damage.

Shapes: F frames of the file.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from .demux import Frames, Packets, decode

_LEAP, _FEWEST_TO_JUDGE = 10, 10  # our choice: a last frame this many films later is none of this film
_MOST_BAD_STAMPS = 0.1  # our choice: with more of them a file's stamps are no clock


@dataclass(frozen=True)
class Damage:
    """What is wrong beside the frames that do not decode intact.

    Attributes:
        doubtful: which frames come after damage and before the next key frame, and may show it, bool [F].
        lost: how many packets give no picture: those that are marked as damaged, in error, or of a codec in which each
            has one.
    """

    doubtful: np.ndarray
    lost: int = 0


def decode_all(path: Path, packets: Packets) -> tuple[Frames, Damage]:
    """Decode the whole file, and again as strictly as can be, to learn which frames it has and what is damaged."""
    bad: list[int] = []
    decoded = [(frame.pts, not frame.is_corrupt) for frame in decode(path, None, errors=bad, track=packets.track)]
    failed = len(set(bad))
    stamps = [stamp for stamp, _ in decoded]
    intact = np.array([whole for _, whole in decoded], dtype=bool)
    bad += [near for packet in packets.corrupt for near in (packet - 1, packet, packet + 1)]  # a hole has two edges
    for _ in decode(path, None, errors=bad, is_strict=True, track=packets.track):  # what the decoder has patched up
        pass
    known = packets.frames()
    falls, is_broken = _falls(stamps), bool(bad) or not intact.all()
    stored = known.stamps if known is not None else None
    if (falls and not is_broken) or (is_broken and stored and _leaps(stored)):
        known = None  # the packets' stamps are not those of the frames
    if not packets.may_be_in_storage_order:
        bad += [packets.stamps.index(stamp) for stamp in falls]  # damaged stamps, or frames that others need are lost
    is_broken |= bool(bad)
    if known is not None and (is_broken or (packets.one_each and _lacks(known, stamps))):
        good = {stamp for stamp, whole in decoded if whole}
        known.intact = np.array([name in good for name in known.names], dtype=bool)
        lost = [packet for packet, whole in zip(known.packets, known.intact.tolist()) if not whole]
        reached = packets.up_to_next_key([*bad, *lost])
        missing = len(set(packets.corrupt) - set(known.packets))
        return known, Damage(np.array([packet in reached for packet in known.packets], dtype=bool), missing)
    # The packets do not tell the frames: some show none, lack time stamps, or have those of others.
    frames = Frames(list(range(len(decoded))), mended_stamps(stamps, is_broken), intact)
    missing = max(sum(packets.shown) - len(decoded), 0)
    if not packets.one_each:  # a packet may hold none, and no error
        missing = min(missing, failed)
    return frames, Damage(_doubtful(packets, bad, stamps), missing)


def _falls(stamps: Sequence[int | None]) -> list[int]:
    """Those stamps that are earlier than the one before."""
    given = [stamp for stamp in stamps if stamp is not None]
    return [later for earlier, later in pairwise(given) if later < earlier]


def _lacks(known: Frames, stamps: Sequence[int | None]) -> bool:
    """Whether frames are missing among those that came out, after the first that did."""
    came = {stamp for stamp in stamps if stamp is not None}
    return bool(came) and any(name not in came for name in known.names if name > min(came))


def _doubtful(packets: Packets, bad: Sequence[int], stamps: Sequence[int | None]) -> np.ndarray:
    """Which decoded frames lie in the reach of damage, by their stamps; where these say nothing, by their number."""
    reached = packets.up_to_next_key(bad)
    if not reached:
        return np.zeros(len(stamps), dtype=bool)
    once = {stamp for stamp, count in Counter(packets.stamps).items() if count == 1}
    named = {packets.stamps[packet] for packet in reached} & once
    return np.array(
        [(stamp in named) if stamp in once else (place in reached) for place, stamp in enumerate(stamps)], dtype=bool
    )


def mended_stamps(stamps: Sequence[int | None], is_broken: bool = False) -> list[float] | None:
    """The presentation times of frames as they come out of the decoder, rising; None where there is no clock in them.

    A few that are missing, or do not rise, are put between their neighbours. Where many do not rise, because the
    container counts what it stores, they belong to the frames in the order of both.

    Args:
        is_broken: the file is damaged, and so may a last stamp be that leaps.
    """
    run = _longest_rise(stamps)
    if is_broken and _leaps([stamp for _, stamp in run]):
        run.pop()
    if len(run) >= max(2, (1 - _MOST_BAD_STAMPS) * len(stamps)):
        places, times = np.array(run, dtype=np.float64).T
        step = float(np.median(np.diff(times) / np.diff(places)))
        every = np.arange(len(stamps))
        # frames in front of the run and behind it
        beyond = np.minimum(every - places[0], 0) + np.maximum(every - places[-1], 0)
        return (np.interp(every, places, times) + beyond * step).tolist()
    given = [stamp for stamp in stamps if stamp is not None]
    return sorted(map(float, given)) if stamps and len(set(given)) == len(stamps) else None


def _leaps(times: Sequence[float]) -> bool:
    """Whether the last of rising stamps lies so far behind the others that it is astray: none after it shows that."""
    return len(times) >= _FEWEST_TO_JUDGE and times[-1] - times[-2] > _LEAP * (times[-2] - times[0])


def _longest_rise(stamps: Sequence[int | None]) -> list[tuple[int, int]]:
    """The places and stamps of a longest run, not one after the other, that rises; of two equal ones the first counts.

    Runs of each length that end lowest are kept (patience sorting).
    """
    lowest: list[int] = []  # the last stamps of those runs
    ends: list[int] = []  # and their places
    before: dict[int, int | None] = {}
    for place, stamp in enumerate(stamps):
        if stamp is None:
            continue
        length = bisect_left(lowest, stamp)
        if lowest[length : length + 1] == [stamp]:
            continue
        before[place] = ends[length - 1] if length else None
        lowest[length : length + 1], ends[length : length + 1] = [stamp], [place]
    run: list[tuple[int, int]] = []
    at = ends[-1] if ends else None
    while at is not None and (stamp := stamps[at]) is not None:
        run.append((at, stamp))
        at = before[at]
    return run[::-1]
