"""How long a summary is to be, and the choice that makes it so: whole sentences, in their order, on the second.

A sentence counts by the importance of its frames (paper, appendix A) and by how much of the video it adds to what the
chosen ones cover. Of those that fit, the one that adds most a second is taken, again and again; what is then left of
the budget goes to the best of the others, of which its most important seconds are shown, and what no sentence needs is
filled with the seconds around the chosen ones. At shot boundaries (`shots.py`) nothing is filled: the summary is then
as long as whole shots allow, and no longer than the budget.

Shapes: N frames.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .errors import V2XumError
from .shots import snapped
from .spans import Span, frame_spans, joined, key_frame_of, widened

EDIT_KEY = "edit"  # of a record: what was asked of its length and cuts; absent where nothing was
LEAST_SECONDS = 0.5  # our choice: a sentence that would be seen for less is not begun, and one that is costs as much
LEAST_CLIP_SECONDS = 2.0  # our choice: a shorter clip is over before one looks
_REACH = 0.1  # our choice: a moment covers what is within a tenth of the video, the nearer the more
_EPSILON = 1e-6
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(s|%|sentences?)")


@dataclass(frozen=True)
class Length:
    """A budget.

    Args:
        amount: above 0.
        unit: "s" for seconds, "%" of the video, or "sentences".
    """

    amount: float
    unit: str

    @classmethod
    def of(cls, text: str) -> Length:
        """Read `30s`, `15%` or `3 sentences`.

        Raises:
            V2XumError: if it is none of these.
        """
        found = _FORM.fullmatch(text.strip())
        amount, unit = (float(found[1]), found[2]) if found else (0.0, "")
        unit = "sentences" if unit == "sentence" else unit
        if amount <= 0 or (unit == "%" and amount > 100) or (unit == "sentences" and amount != int(amount)):
            raise V2XumError(f"must be such as 30s, 15% (of the video) or '3 sentences', got {text!r}")
        return cls(amount, unit)

    def __str__(self) -> str:
        return f"{self.amount:g} sentences" if self.unit == "sentences" else f"{self.amount:g}{self.unit}"

    def seconds(self, duration_seconds: float) -> float | None:
        """The budget for a video, at most the whole of it; None where sentences are counted."""
        if self.unit == "sentences":
            return None
        return min(self.amount if self.unit == "s" else self.amount / 100 * duration_seconds, duration_seconds)


@dataclass(frozen=True)
class Part:
    """What is shown of one segment.

    Args:
        frames: the cited ones that are shown, ascending.
    """

    start: float
    end: float
    frames: tuple[int, ...]


@dataclass(frozen=True)
class Unit:
    """What is chosen as a whole: a sentence with its segments, or one segment where there is no text."""

    sentence: int
    parts: tuple[Part, ...]

    @property
    def frames(self) -> tuple[int, ...]:
        return tuple(frame for part in self.parts for frame in part.frames)

    @property
    def spans(self) -> list[Span]:
        return [(part.start, part.end) for part in self.parts]


def edited(record: dict, length: Length | None = None, shots: Sequence[float] | None = None) -> dict:
    """A summary's record made as long as it is to be, with its cuts where shots change.

    The record has then the chosen sentences alone, `segments` as the clip shows them, and `edit`, what was asked for;
    answer, problems and importance stay. Editing begins with what the model said: an edited record is not edited again.

    Args:
        record: from `make_record`.
        length: None leaves it as it is.
        shots: the seconds at which shots begin, with 0 and the video's end; None leaves the cuts as they are.

    Raises:
        V2XumError: if it has been edited, cites nothing to choose seconds from, or has no sentences to count; or no
            shot is short enough.
    """
    kind = f"the {record['task'].upper()} summary"
    if EDIT_KEY in record:
        raise V2XumError(f"{kind} has been edited already: edit the one that the model gave")
    choice = _Choice(record, shots)
    if length is not None and length.unit == "sentences":
        if not record["text"]:
            raise V2XumError(f"{kind} has no sentences to count: give a length such as 30s or 15%")
        chosen = choice.sentences(int(length.amount))
    elif not record["frames"]:
        raise V2XumError(f"{kind} cites no frame: there is nothing to cut")
    elif length is None:
        chosen = choice.units
    else:
        chosen = choice.seconds(length.seconds(record["duration_seconds"]) or 0.0)
    return {**_with(record, chosen), EDIT_KEY: edit_asked(length, shots is not None)}


def edit_asked(length: Length | None, snap: bool) -> dict[str, str | None] | None:
    """What an edited record says was asked for; None where nothing was."""
    asked = {"length": None if length is None else str(length), "snap": "shots" if snap else None}
    return asked if any(asked.values()) else None


class _Choice:
    """Chooses among a summary's units."""

    def __init__(self, record: dict, shots: Sequence[float] | None) -> None:
        self.record = record
        self.shots = shots
        self.duration: float = record["duration_seconds"]
        self.frame_spans = frame_spans(record["frame_seconds"], self.duration)
        self.units = _units(record, shots)
        self.seen = np.array(record["frame_seconds"])
        self.mass = {unit: self._mass(unit) for unit in self.units}
        self.near = {unit: self._near(unit) for unit in self.units}
        self.all_mass = sum(self.mass.values()) or 1.0
        self.all_near = float(np.max([*self.near.values(), np.full(len(self.seen), _EPSILON)], axis=0).sum())

    def _mass(self, unit: Unit) -> float:
        importance = self.record["importance"]
        return float(len(unit.frames) if importance is None else sum(importance[frame] for frame in unit.frames))

    def _near(self, unit: Unit) -> np.ndarray:
        """How well each of the N frames is covered, 0 to 1: float [N]."""
        reach = _REACH * self.duration
        if not unit.frames:  # of a TEXT summary: its place among the sentences
            place = (unit.sentence + 0.5) / len(self.record["sentences"]) * self.duration
            return np.maximum(1 - np.abs(self.seen - place) / reach, 0)
        away = [np.maximum(np.maximum(start - self.seen, self.seen - end), 0) for start, end in unit.spans]
        return np.maximum(1 - np.min(away, axis=0) / reach, 0)

    def _gain(self, unit: Unit, covered: np.ndarray) -> float:
        """What a unit adds: its share of the importance, and of what all units cover."""
        more = np.maximum(self.near[unit] - covered, 0).sum()
        return self.mass[unit] / self.all_mass + float(more) / self.all_near

    def sentences(self, count: int) -> list[Unit]:
        """That many sentences, and of a summary of moments the seconds around them."""
        units = [unit for unit in self.units if self.record["sentences"][unit.sentence]["text"]]
        chosen: list[Unit] = []
        covered = np.zeros(len(self.seen))
        while len(chosen) < count and len(chosen) < len(units):
            best = max((one for one in units if one not in chosen), key=lambda one: self._gain(one, covered))
            chosen.append(best)
            covered = np.maximum(covered, self.near[best])
        chosen.sort(key=self.units.index)
        return chosen if self.shots is not None else _filled(chosen, self.duration, LEAST_CLIP_SECONDS)

    def seconds(self, budget: float) -> list[Unit]:
        """Units that last as long as the budget together."""
        chosen: list[Unit] = []
        covered = np.zeros(len(self.seen))
        while True:
            lasts = _lasting(chosen)
            costs = {unit: _lasting([*chosen, unit]) - lasts for unit in self.units if unit not in chosen}
            fitting = [unit for unit, cost in costs.items() if lasts + cost <= budget + _EPSILON]
            if not fitting:
                break
            best = max(fitting, key=lambda one: self._gain(one, covered) / max(costs[one], LEAST_SECONDS))
            chosen.append(best)
            covered = np.maximum(covered, self.near[best])
        left = budget - lasts
        if costs and left > _EPSILON and (not chosen or (left >= LEAST_SECONDS and self.shots is None)):
            best = max(costs, key=lambda one: self._gain(one, covered))
            chosen.append(self._part_of(best, left))
        chosen.sort(key=lambda unit: (unit.sentence, unit.parts[0].start))
        return chosen if self.shots is not None else _filled(chosen, self.duration, budget)

    def _part_of(self, unit: Unit, seconds: float) -> Unit:
        """The most important seconds of a unit: its heaviest segments, and of the last of them what is around its key
        frame."""
        kept, left = [], seconds
        for part in sorted(unit.parts, key=lambda part: -self._mass(Unit(unit.sentence, (part,)))):
            if left <= _EPSILON:
                break
            if part.end - part.start > left:
                part = self._around_key_frame(part, left)
            kept.append(part)
            left -= part.end - part.start
        return replace(unit, parts=tuple(sorted(kept, key=lambda part: part.start)))

    def _around_key_frame(self, part: Part, seconds: float) -> Part:
        key = key_frame_of(part.frames, self.record["importance"])
        first, last = self.frame_spans[key]
        start = min(max((first + last - seconds) / 2, part.start), part.end - seconds)
        end = start + seconds
        if self.shots is not None:
            start, end = snapped((start, end), self.shots, inward=True)
            if end <= start:
                raise V2XumError(f"no shot of what is cited is as short as {seconds:.2f} s")
        frames = tuple(one for one in part.frames if start <= self.frame_spans[one][0] < end) or (key,)
        return Part(start, end, frames)


def _units(record: dict, shots: Sequence[float] | None) -> list[Unit]:
    units = []
    for number, sentence in enumerate(record["sentences"]):
        parts = []
        for one in record["segments"]:
            if one["sentence"] == number:
                start, end = one["start_seconds"], one["end_seconds"]
                if shots is not None:
                    start, end = snapped((start, end), shots)
                parts.append(Part(start, end, tuple(one["frames"])))
        units += [Unit(number, tuple(parts))] if sentence["text"] else [Unit(number, (part,)) for part in parts]
    return [unit for unit in units if unit.parts or not record["frames"]]


def _lasting(units: Sequence[Unit]) -> float:
    return sum(end - start for start, end in joined(span for unit in units for span in unit.spans))


def _filled(units: list[Unit], duration: float, budget: float) -> list[Unit]:
    """The units with the seconds around them that make them last as long as the budget."""
    wide = widened((span for unit in units for span in unit.spans), duration, budget)
    filled = {id(part): part for unit in units for part in unit.parts}
    for start, end in wide:
        first, *rest = sorted(
            (part for unit in units for part in unit.parts if start - _EPSILON <= part.start < end),
            key=lambda part: part.start,
        )
        filled[id(first)] = replace(first, start=start)
        last = first  # of those so far the one that ends last: it reaches on to the next
        for part in rest:
            if part.start > filled[id(last)].end:
                filled[id(last)] = replace(filled[id(last)], end=part.start)
            if part.end > filled[id(last)].end:
                last = part
        filled[id(last)] = replace(filled[id(last)], end=end)
    return [replace(unit, parts=tuple(filled[id(part)] for part in unit.parts)) for unit in units]


def _with(record: dict, units: Sequence[Unit]) -> dict[str, Any]:
    """The record of what is chosen."""
    numbers = {number: place for place, number in enumerate(sorted({unit.sentence for unit in units}))}
    sentences, segments = [], []
    for number, place in numbers.items():
        own = (part for unit in units if unit.sentence == number for part in unit.parts)
        parts = sorted(own, key=lambda part: part.start)
        kept = {frame for part in parts for frame in part.frames}
        old = record["sentences"][number]
        for part in parts:
            span = {"start_seconds": round(part.start, 6), "end_seconds": round(part.end, 6)}
            segments.append({**span, "frames": list(part.frames), "sentence": place})
        sentences.append(
            {
                "text": old["text"],
                "frames": [frame for frame in old["frames"] if frame in kept],
                "start_seconds": round(parts[0].start, 6) if parts else None,
                "end_seconds": round(max(part.end for part in parts), 6) if parts else None,
            }
        )
    return {
        **record,
        "text": " ".join(one["text"] for one in sentences if one["text"]),
        "sentences": sentences,
        "segments": segments,
        "frames": sorted({frame for one in sentences for frame in one["frames"]}),
    }
