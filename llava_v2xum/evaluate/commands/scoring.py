"""Files in, rows of measures out: what the data sets' commands and `compare` do with their settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ... import __version__
from ...core.annotations import Annotation
from ...core.errors import V2XumError
from ...data.convert import READERS
from ..formats.cases import Case, Cases, pair
from ..formats.data_sets import DATA_SETS
from ..formats.detect import format_of
from ..formats.format import ANNOTATIONS, AUTO, naming
from ..formats.prediction_files import load_predictions
from ..formats.predictions import Prediction, merge_predictions
from ..formats.references import features_of, load_references, named_as, with_importance
from ..groups.v2t import v2t_rows
from ..groups.v2v import keyshot_rows, v2v_rows
from ..metrics.keyframes import TOP_FRACTION
from ..metrics.measures import Measure
from ..metrics.segments import change_points_at
from ..models.bertscores import BertScoreOptions
from ..reports.layouts import layout
from .clip_scoring import ClipScoring
from .options import Settings

Rows = dict[str, list[Measure]]


@dataclass
class Scored:
    """What scoring gives the report.

    Args:
        rows: the measures by row.
        facts: how it was scored, for the header.
        notes: what a reader must know, one line each.
    """

    rows: Rows = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, rows: Rows, notes: Iterable[str] = ()) -> None:
        """Put further measures behind those of the same rows."""
        for row, measures in rows.items():
            self.rows.setdefault(row, []).extend(measures)
        self.notes += notes


def load_annotations(settings: Settings) -> tuple[list[Annotation], dict[str, Any], list[str]]:
    """The annotations, facts about them, and what of the file cannot be scored.

    Raises:
        V2XumError, OSError: naming the file, if it cannot be read as annotations, or they are another data set's.
    """
    path, known = settings.annotations, DATA_SETS[settings.dataset]
    form = format_of(path, ANNOTATIONS) if settings.annotation_format == AUTO else settings.annotation_format
    _check_form(settings, form)
    references = load_references(path, form)
    annotations, notes = references.annotations, []
    for one in annotations:
        if one.source in READERS:  # of annotation JSON lines: the format that they were made from
            _check_form(settings, one.source)
        if known.keyshots != (one.keyshots is not None):
            wanted = "keyshots, in frames" if known.keyshots else "annotations in seconds"
            raise V2XumError(f"{path}: video {one.video_id!r}: {settings.dataset} is scored against {wanted}")
    facts = {"annotations": f"{settings.annotations.name} ({references.form})"}
    if references.rejected:
        first = references.rejected[0]
        notes.append(f"{len(references.rejected)} items of {settings.annotations.name} cannot be read, as {first}")
    if settings.importance is not None:
        annotations = with_importance(annotations, settings.importance)
        facts["importance"] = settings.importance.name
    if settings.features is not None:
        annotations, count = _with_change_points(annotations, settings.features)
        notes.append(f"change points of {count} videos by KTS from {settings.features.name}: keyshot figures are not "
            "those of the published change points")  # fmt: skip
    if references.moved:
        notes.append(f"{len(references.moved)} annotated videos have time stamps beyond their ends, moved to them")
    late = sum(_samples_behind_the_end(one) for one in annotations)
    if late:
        notes.append(f"{late} annotated videos have samples more than a second behind their ends, though sample k is "
            "second k; they are taken at the end")  # fmt: skip
    return annotations, facts, notes


def _check_form(settings: Settings, form: str) -> None:
    """Check that annotations of that format belong to the data set: its table would bear a wrong name."""
    takes = (ANNOTATIONS, *DATA_SETS[settings.dataset].formats)
    if form not in takes:
        raise V2XumError(f"{settings.annotations}: expected annotations of {settings.dataset} "
            f"({' or '.join(takes[1:])}), got {form}")  # fmt: skip


def load_system(settings: Settings, files: Sequence[Path]) -> dict[str, Prediction]:
    """The predictions of one system, from all of its files: what the first file does not say, the next may.

    Raises:
        V2XumError, OSError: naming the file and the video, if one cannot be read as predictions.
    """
    return merge_predictions(
        [load_predictions(path, settings.prediction_format, settings.num_frames, settings.clock) for path in files]
    )


def bring_together(settings: Settings, files: Sequence[Path], annotations: Sequence[Annotation]) -> Cases:
    """The videos to score.

    Raises:
        V2XumError, OSError: as `load_system` and `cases.pair`.
    """
    predictions = load_system(settings, files)
    return pair(named_as(annotations, predictions), predictions, settings.skip_missing)


def score(settings: Settings, cases: Cases, out: Path, baselines: bool = True) -> Scored:
    """Compute every measure that the settings ask for.

    Args:
        out: the folder where CLIP's embeddings are kept if no other file is named.
        baselines: whether to score random, uniform and human too.

    Raises:
        V2XumError, OSError, ImportError, RuntimeError: as the groups do, naming the video or the package.
    """
    settings.check_clip()
    clip = None if settings.clip is None else ClipScoring(settings, out)
    scored = Scored(facts={"videos": len(cases.cases), "missing": len(cases.missing)})
    if cases.skipped:
        scored.facts["skip missing"] = True
    scored.notes += cases.notes()
    scored.facts["fraction"] = TOP_FRACTION
    seeds = settings.seeds if baselines else 0
    keyshots = DATA_SETS[settings.dataset].keyshots
    scored.add((keyshot_rows if keyshots else v2v_rows)(cases.cases, seeds=seeds, progress=bar(settings, "V2V")))
    if not keyshots:
        _score_text(settings, cases.cases, scored)
    if clip is not None:
        scored.add(clip.rows(cases.cases, baselines, bar(settings, "CLIP")))
        scored.facts["CLIP"] = clip.model.name
    if not baselines:
        scored.rows = {"system": scored.rows["system"]}
    scored.facts["llava_v2xum"] = __version__
    return scored


def reasons(settings: Settings, cases: Sequence[Case], measures: Collection[str]) -> dict[str, str]:
    """Why the data set's table has no figure of the system of some metrics: metric -> reason."""
    said = [case.prediction for case in cases if case.prediction is not None]
    absent = {one.name: one.absence(said, settings) for one in layout(settings.dataset) if one.name not in measures}
    return {name: reason for name, reason in absent.items() if reason}


def _score_text(settings: Settings, cases: Sequence[Case], scored: Scored) -> None:
    rows, notes = v2t_rows(
        cases,
        reference_rule=settings.reference_rule,
        tokenizer=settings.tokenizer,
        meteor=False if settings.no_meteor else "auto",
        bertscore=None if settings.bertscore is None else BertScoreOptions(settings.bertscore),
        dense=settings.dense,
        progress=bar(settings, "V2T"),
    )
    scored.add(rows, notes)


def bar(settings: Settings, name: str) -> Callable[[Iterable], Iterable] | None:
    """A progress bar on stderr, where the settings want one; on a terminal alone."""
    if not settings.progress:
        return None
    return lambda items: tqdm(items, desc=name, leave=False, disable=None)


def _samples_behind_the_end(one: Annotation) -> bool:
    """Whether a video annotated at 1 FPS has more samples than seconds, other than by rounding."""
    if one.keyshots is not None:
        return False
    samples = len(one.selections[0]) if one.selections else one.sampled_frames or 0
    return samples > one.known_duration + 2


def _with_change_points(annotations: Sequence[Annotation], source: Path) -> tuple[list[Annotation], int]:
    """The annotations, with change points by KTS for those that have none, and how many those are."""
    features, made, count = features_of(source), [], 0
    for one in annotations:
        if one.keyshots is not None and one.keyshots.change_points is None:
            if one.video_id not in features:
                raise V2XumError(f"{source}: has no features of the video {one.video_id!r}, which lacks change points")
            with naming(source, one.video_id):
                points = change_points_at(features[one.video_id], np.array(one.keyshots.picks), one.keyshots.n_frames)
            one = replace(one, keyshots=replace(one.keyshots, change_points=points.tolist()))
            count += 1
        made.append(one)
    return made, count
