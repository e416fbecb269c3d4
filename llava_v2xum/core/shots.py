"""Cuts at the boundaries of shots: which moment a cut moves to.

Shots are given by the seconds at which they begin, ascending from 0, and the video's end as the last.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from .spans import Span

REACH_SECONDS = 1.0  # our choice: a cut moves no further, or a video of one shot would become its own summary
SHORTEST_SHOT_SECONDS = 0.5  # a shorter one is shown whole or not at all: a part of it looks like a fault


def shot_at(second: float, shots: Sequence[float]) -> Span:
    """The shot that shows at a second."""
    place = min(max(bisect_right(shots, second) - 1, 0), len(shots) - 2)
    return shots[place], shots[place + 1]


def snapped(span: Span, shots: Sequence[float], inward: bool = False) -> Span:
    """A span whose ends lie where shots begin, as far as that is near; none lies within a shot of less than 0.5 s.

    Neither end moves by more than two fifths of the span towards the other.

    Args:
        inward: never let the span grow; it may then be empty, end <= start.
    """
    start, end = span
    most = 0.4 * (end - start)
    return _moved(start, shots, True, inward, most), _moved(end, shots, False, inward, most)


def _moved(second: float, shots: Sequence[float], is_start: bool, inward: bool, most: float) -> float:
    first, last = shot_at(second, shots)
    if second in (first, last):
        return second
    outer, inner = (first, last) if is_start else (last, first)
    nearest = inner if abs(inner - second) < abs(outer - second) else outer
    if inward:
        nearest = inner
    elif abs(inner - second) > most:
        nearest = outer
    if last - first < SHORTEST_SHOT_SECONDS or abs(nearest - second) <= REACH_SECONDS:
        return nearest
    return second
