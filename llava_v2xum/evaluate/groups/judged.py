"""The judged columns of the V2T group: what a model behind an endpoint thinks of each video's summary.

A video without a prediction, or with an empty text, is a miss: 0, and the judge is not asked. One whose annotation has
no text (for coherence: no sentences with seconds) is NaN, and so is one that the judge gave no usable grade, which is
told. Shapes: V videos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from ...core.annotations import AnnotatedSentence, Annotation
from ...core.endpoint.asking import Unusable
from ...core.endpoint.outcomes import Failed, Stop
from ...core.errors import V2XumError
from ..formats.spans import span_told
from ..metrics.measures import Measure
from ..models.judge import PLACEHOLDERS, Judge, one_line
from .v2t import predicted_text, reference_text

if TYPE_CHECKING:
    from ..formats.cases import Case

Progress = Callable[[Iterable], Iterable]
_NOBODY = "(nobody said anything of these seconds)"


def judged_rows(
    cases: Sequence[Case], judge: Judge, progress: Progress | None = None
) -> tuple[dict[str, list[Measure]], list[str]]:
    """The judged measures of the system, [V] values each, and notes.

    Raises:
        V2XumError: if the endpoint refuses (a key, a model) or a server is down: what was judged is kept.
    """
    asked = [(quality, number) for quality in PLACEHOLDERS for number in range(len(cases))]
    values = {quality: np.full(len(cases), np.nan) for quality in PLACEHOLDERS}
    failed: list[str] = []

    def judged(one: tuple[str, int]) -> float | str:
        quality, number = one
        try:
            return _grade(judge, quality, cases[number])
        except (Failed, Unusable) as error:
            return f"{quality} of {cases[number].annotation.video_id!r}: {error}"

    with ThreadPoolExecutor(judge.endpoint.concurrency) as pool:
        try:
            results = pool.map(judged, asked)
            for (quality, number), found in zip(progress(asked) if progress else asked, results):
                if isinstance(found, str):
                    failed.append(found)
                else:
                    values[quality][number] = found
        except Stop as error:
            pool.shutdown(cancel_futures=True)
            raise V2XumError(f"the judge: {error}; what it judged is kept, and the same command goes on") from error
    notes = [f"judged by {judge.name}: its answers are of this package's own prompts, not of published ones"]
    if failed:
        notes.append(f"{len(failed)} of {len(asked)} grades could not be had and are left out, such as {failed[0]}")
    there = [quality for quality in PLACEHOLDERS if not np.isnan(values[quality]).all()]
    return {"system": [Measure(f"judged_{quality}", values[quality]) for quality in there]}, notes


def _grade(judge: Judge, quality: str, case: Case) -> float:
    """The judge's grade; NaN where the annotation has nothing to judge by, 0 for a miss."""
    people = _people(case.annotation)
    timed = [[one for one in some if one.segment is not None] for some in people]
    if not (any(timed) if quality == "coherence" else _said(case.annotation, people)):
        return float("nan")
    if not (predicted_text(case.prediction) or "").strip():
        return 0.0
    if quality == "relevance":
        values = {"people": _said(case.annotation, people), "summary": one_line(predicted_text(case.prediction) or "")}
    else:
        values = {"segments": _segments(case, timed)}
        if not values["segments"]:
            return 0.0  # words of no moment
    return judge.grade(quality, case.annotation.video_id, values)


def _people(annotation: Annotation) -> list[Sequence[AnnotatedSentence]]:
    return [some for some in (annotation.sentences, *annotation.alternatives) if some]


def _said(annotation: Annotation, people: Sequence[Sequence[AnnotatedSentence]]) -> str:
    """What people said of the video, a line a person."""
    texts = [" ".join(one.text for one in some) for some in people] or [reference_text(annotation, "plain") or ""]
    if annotation.text is not None:
        texts[0] = annotation.text
    return "\n".join(f"person {number}: {one_line(text)}" for number, text in enumerate(texts, 1) if text.strip())


def _segments(case: Case, people: Sequence[Sequence[AnnotatedSentence]]) -> str:
    """The predicted segments with their seconds and words, and below each what people said of the same seconds."""
    lines = []
    prediction = case.prediction
    for sentence in (prediction.sentences if prediction is not None else None) or ():
        span = span_told(sentence, prediction, case.annotation.duration_seconds) if prediction is not None else None
        if span is None or not sentence.text.strip():
            continue
        lines.append(f"{span[0]:.0f} to {span[1]:.0f} s: {one_line(sentence.text)}")
        near = [
            f"  person {number}: {one_line(one.text)}"
            for number, some in enumerate(people, 1)
            for one in some
            if one.segment is not None and one.segment[0] < span[1] and span[0] < one.segment[1]
        ]
        lines += near or [f"  {_NOBODY}"]
    return "\n".join(lines)
