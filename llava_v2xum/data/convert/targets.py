"""Several annotators' key spans -> the target, or targets, that a model learns from.

Shapes: A annotators, S sentences, T samples at 1 FPS. Spans are closed, in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ...core.annotations import Annotation, Spans
from ...core.clock import Clocks
from ...core.errors import V2XumError
from ...core.timeline import Timeline

RULES = {
    "medoid": "the annotator whose selected seconds (vsum_onehot) have the highest mean F1 with the others'; of equal "
    "ones the first. One person's choice, whole",
    "majority": "for each sentence the moments that lie in the spans of at least half of the annotators; where no "
    "moment does, those that lie in the most",
    "union": "for each sentence the moments that lie in anybody's span",
    "first": "annotator 0",
    "all": "every annotator a target of its own: VIDEO and BOTH once for each, TEXT once",
}
DEFAULT_RULE = "medoid"  # our choice: a choice that a person made, and the most agreed with


@dataclass(frozen=True)
class Target:
    """One choice of key spans.

    Args:
        sentence_spans: [S], the spans that each sentence cites.
        video_spans: those that the VIDEO answer cites.
        annotator: whose whole choice it is; None for a mixture, or where nobody marked key spans.
    """

    sentence_spans: tuple[Spans, ...]
    video_spans: Spans
    annotator: int | None = None


def targets_of(annotation: Annotation, rule: str | int = DEFAULT_RULE) -> list[Target]:
    """What the rule makes of the annotators' key spans.

    Where nobody marked any, a sentence's segment is what it cites; a single annotator is taken under every rule.
    Annotators who selected samples and marked no spans are taken by the runs of their samples, for VIDEO alone.

    Args:
        rule: a key of `RULES`, or an annotator's number from 0.

    Returns:
        one target; A of them for "all".

    Raises:
        V2XumError: if the rule is unknown, or the number is not below A.
    """
    people = annotation.annotators
    if isinstance(rule, str) and rule not in RULES:
        raise V2XumError(f"the rule must be one of {', '.join(RULES)} or an annotator's number, got {rule!r}")
    if not people:
        segments = tuple((one.segment,) if one.segment else () for one in annotation.sentences)
        return [Target(segments, _joined(segments))]
    if people == 1:
        return [_choice_of(annotation, 0)]
    if rule == "all":
        return [_choice_of(annotation, person) for person in range(people)]
    if rule in ("majority", "union"):
        return [_mixture(annotation, math.ceil(people / 2) if rule == "majority" else 1)]
    person = {"medoid": medoid(annotation), "first": 0}[rule] if isinstance(rule, str) else rule
    if not 0 <= person < people:
        raise V2XumError(f"annotator {person} is asked for, and the video has 0 to {people - 1}")
    return [_choice_of(annotation, person)]


def medoid(annotation: Annotation) -> int:
    """The annotator whose selected samples have the highest mean F1 with the others'; of equal ones the first.

    Two empty selections have F1 = 0: who chose nothing is nobody's model. Without `selections` the seconds that the
    key spans touch are taken.
    """
    chosen = (
        _touched_seconds(annotation) if annotation.selections is None else np.array(annotation.selections, dtype=bool)
    )
    chosen = chosen.astype(float)  # [A, T]
    sizes = chosen.sum(axis=1)
    f1 = 2 * (chosen @ chosen.T) / np.maximum(sizes[:, None] + sizes[None, :], 1)
    np.fill_diagonal(f1, 0)
    # Rounded, because the order of a sum would break a tie.
    return int(np.argmax(f1.sum(axis=1).round(9)))


def covered(annotators: Iterable[Spans], at_least: int) -> Spans:
    """The moments that lie in the spans of at least so many annotators; where none does, those in the most.

    One annotator counts once at a moment, however many of its spans hold it.

    Returns:
        disjoint spans, ascending; none if there are no spans at all.
    """
    # Starts sort before ends at the same second: spans are closed, so those that touch share that moment.
    edges = sorted(
        edge for spans in annotators for start, end in _merged(spans) for edge in ((start, 0), (end, 1))
    )
    deepest = depth = 0
    for _, is_end in edges:
        depth += -1 if is_end else 1
        deepest = max(deepest, depth)
    threshold = min(at_least, deepest)
    found, start = [], 0.0
    for second, is_end in edges:
        if not is_end:
            depth += 1
            if depth == threshold:
                start = second
        else:
            if depth == threshold:
                found.append((start, second))
            depth -= 1
    return _merged(found)


def frames_of(
    spans: Iterable[tuple[float, float]],
    duration_seconds: float,
    timeline: Timeline,
    video_id: str | None = None,
    clocks: Clocks | None = None,
) -> tuple[int, ...]:
    """The indexes that the spans cite, each once, ascending: [s, e] is every index from that of s to that of e.

    Args:
        clocks: of the videos; None where no more than their mean rate is known.
    """
    clocks = clocks or Clocks()
    frames: set[int] = set()
    for start, end in spans:
        first, last = (clocks.index_at(timeline, second, duration_seconds, video_id) for second in (start, end))
        frames.update(range(first, last + 1))
    return tuple(sorted(frames))


def _choice_of(annotation: Annotation, person: int) -> Target:
    spans = tuple(one.key_spans[person] if one.key_spans else () for one in annotation.sentences)
    whole = _spans_of_the_whole(annotation)
    return Target(spans, whole[person] if whole else _joined(spans), person if annotation.annotators > 1 else None)


def _mixture(annotation: Annotation, at_least: int) -> Target:
    spans = tuple(covered(one.key_spans, at_least) for one in annotation.sentences)
    whole = _spans_of_the_whole(annotation)
    return Target(spans, covered(whole, at_least) if whole else _joined(spans))


def _spans_of_the_whole(annotation: Annotation) -> tuple[Spans, ...]:
    """[A][any]: key spans that belong to no sentence; where no spans are marked at all, the runs of selected samples.

    Sample k is second k; a run of samples j to k is the span [j, k].
    """
    if annotation.key_spans or any(one.key_spans for one in annotation.sentences):
        return annotation.key_spans
    return tuple(_runs(row, annotation.known_duration) for row in annotation.selections or ())


def _runs(row: tuple[int, ...], duration_seconds: float) -> Spans:
    edges = np.flatnonzero(np.diff([0, *row, 0]))  # starts, and first samples behind the ends, in turn
    return tuple(
        (min(float(start), duration_seconds), min(float(stop - 1), duration_seconds))
        for start, stop in edges.reshape(-1, 2)
    )


def _joined(groups: Iterable[Spans]) -> Spans:
    return tuple(span for spans in groups for span in spans)


def _merged(spans: Iterable[tuple[float, float]]) -> Spans:
    """The same moments as disjoint spans, ascending."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def _touched_seconds(annotation: Annotation) -> np.ndarray:
    """bool [A, T]: the seconds [k, k + 1) that an annotator's key spans touch."""
    touched = np.zeros((annotation.annotators, math.floor(annotation.known_duration) + 1), dtype=bool)
    for person, row in enumerate(touched):
        for start, end in _choice_of(annotation, person).video_spans:
            row[math.floor(start) : math.floor(end) + 1] = True
    return touched
