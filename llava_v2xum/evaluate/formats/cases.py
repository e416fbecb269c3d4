"""Annotations and predictions brought together, video by video: none is dropped unasked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...core.annotations import Annotation
from ...core.checks import first_few
from ...core.errors import V2XumError
from .predictions import Prediction


@dataclass(frozen=True)
class Case:
    """One video to score.

    Args:
        annotation: what people said of it.
        prediction: what the system said; None where it said nothing, which scores as a miss.
    """

    annotation: Annotation
    prediction: Prediction | None = None


@dataclass(frozen=True)
class Cases:
    """The videos to score, in the order of the annotations.

    Args:
        cases: one a video.
        missing: annotated videos without a prediction; among the cases unless they were skipped.
        unknown: predicted videos without an annotation, which nothing can score.
        skipped: whether the missing ones were left out, as the user asked.
    """

    cases: tuple[Case, ...]
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    skipped: bool = False

    @property
    def video_ids(self) -> list[str]:
        """The scored videos' ids, in order."""
        return [case.annotation.video_id for case in self.cases]

    def notes(self) -> list[str]:
        """What a reader of the figures must know about who was scored, one line each."""
        notes = []
        if self.missing:
            fate = "left out, as --skip-missing asks" if self.skipped else "scored as misses"
            notes.append(f"annotated videos without a prediction: {_counted(self.missing)}; they are {fate}")
        if self.unknown:
            notes.append(f"predicted videos without an annotation: {_counted(self.unknown)}")
        return notes


def pair(
    annotations: Iterable[Annotation], predictions: Mapping[str, Prediction], skip_missing: bool = False
) -> Cases:
    """Bring each annotated video together with its prediction.

    Args:
        annotations: of videos that differ in their ids.
        predictions: by video id.
        skip_missing: leave videos without a prediction out, which lifts the scores; the notes say so.

    Raises:
        V2XumError: if no prediction has the id of an annotated video: then the files do not belong together.
    """
    annotations = list(annotations)
    known = {annotation.video_id for annotation in annotations}
    if not known & predictions.keys():
        raise V2XumError(
            f"none of the {len(predictions)} predicted videos ({first_few(predictions)}) is among the {len(known)} "
            f"annotated ones ({first_few([annotation.video_id for annotation in annotations])})"
        )
    missing = tuple(one.video_id for one in annotations if one.video_id not in predictions)
    cases = tuple(
        Case(one, predictions.get(one.video_id))
        for one in annotations
        if not skip_missing or one.video_id in predictions
    )
    return Cases(cases, missing, tuple(sorted(predictions.keys() - known)), skip_missing)


def _counted(ids: Sequence[str]) -> str:
    return f"{len(ids)} ({first_few(ids)})"
