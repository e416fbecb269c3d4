"""Annotations and predictions brought together, video by video: none is dropped unasked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...core.annotations import Annotation
from ...core.checks import first_few
from ...core.clock import CLOCKS, FRAMES, Clocks
from ...core.errors import V2XumError
from ...core.sampling import FrameSampling
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
        of_names: what is to be said of how names were matched, one line each.
        splits: of each case, from 0, where the figures are means over splits; else empty.
        forms: the prediction files and the format that each was taken for.
    """

    cases: tuple[Case, ...]
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    skipped: bool = False
    of_names: tuple[str, ...] = ()
    splits: tuple[int, ...] = ()
    forms: tuple[str, ...] = ()

    @property
    def video_ids(self) -> list[str]:
        """The scored videos' ids, in order; with the number of the split, where there are splits."""
        ids = [case.annotation.video_id for case in self.cases]
        return [f"{one} (split {split + 1})" for one, split in zip(ids, self.splits)] if self.splits else ids

    def only(self, kept: Sequence[bool]) -> Cases:
        """Those cases that are kept, the others being left out as the user asked."""
        cases = tuple(one for one, keep in zip(self.cases, kept) if keep)
        splits = tuple(one for one, keep in zip(self.splits, kept) if keep)
        return replace(self, cases=cases, splits=splits, skipped=True)

    def notes(self) -> list[str]:
        """What a reader of the figures must know about who was scored, one line each."""
        notes = [*self.of_names]
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


def joined_splits(parts: Sequence[Cases]) -> Cases:
    """The cases of every split, one after another."""
    return Cases(
        cases=tuple(case for part in parts for case in part.cases),
        missing=tuple(dict.fromkeys(one for part in parts for one in part.missing)),
        unknown=tuple(dict.fromkeys(one for part in parts for one in part.unknown)),
        skipped=any(part.skipped for part in parts),
        of_names=tuple(dict.fromkeys(note for part in parts for note in part.of_names)),
        splits=tuple(split for split, part in enumerate(parts) for _ in part.cases),
    )


def clocks_of(cases: Iterable[Case]) -> tuple[str | None, list[str]]:
    """By which clock the predictions' indexes were read, for the header, and what of it a reader must know.

    Samples and keyshots, which count frames of the file, are on no clock of seconds.
    """
    pairs = [(one.annotation, one.prediction) for one in cases if one.prediction is not None]
    timed = [
        (annotation, prediction)
        for annotation, prediction in pairs
        if annotation.duration_seconds is not None and annotation.keyshots is None and prediction.clock in CLOCKS
    ]
    facts, notes = [], []
    for name in CLOCKS:
        times = {one.video_id: one.known_times for _, one in timed if one.clock == name}
        clocks = Clocks(name, times.get)
        for annotation, prediction in timed:
            if prediction.clock == name and prediction.known_times is not None:
                clocks.of(FrameSampling(prediction.num_frames), annotation.known_duration, prediction.video_id)
        known = sum(one is not None for one in times.values())
        if times:
            facts.append(name + (f", frame_seconds known of {known} of {len(times)} videos" if name == FRAMES else ""))
        notes += clocks.notes()
    return "; ".join(facts) or None, notes


def _counted(ids: Sequence[str]) -> str:
    return f"{len(ids)} ({first_few(ids)})"
