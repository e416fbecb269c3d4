"""Files in, rows of measures out: what the data sets' commands and `compare` do with their settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ... import __version__
from ...core.annotations import Annotation
from ...core.errors import V2XumError
from ...data.convert import READERS
from ..formats.cases import Case, Cases, clocks_of, joined_splits, pair
from ..formats.data_sets import DATA_SETS
from ..formats.detect import format_of, taken_by
from ..formats.doubts import annotation_doubts, prediction_doubts
from ..formats.format import ANNOTATIONS, AUTO, PREDICTIONS, naming
from ..formats.lvsum_files import as_long_as
from ..formats.names import matched
from ..formats.prediction_files import load_predictions
from ..formats.predictions import Prediction, merge_predictions
from ..formats.references import features_of, load_references, named_as, together, with_importance
from ..formats.splits import read_splits, tested
from ..groups.moments import moment_rows
from ..groups.v2t import v2t_rows
from ..groups.v2v import keyshot_rows, v2v_rows
from ..metrics.keyframes import TOP_FRACTION
from ..metrics.measures import Measure, mean_over_splits
from ..metrics.segments import change_points_at
from ..models.bertscores import BertScoreOptions
from ..reports.layouts import layout
from ..reports.report import fact_text
from .clip_scoring import ClipScoring
from .judge_scoring import JudgeScoring
from .options import BadOption, Settings

Rows = dict[str, list[Measure]]


@dataclass
class Scored:
    """What scoring gives the report.

    Args:
        rows: the measures by row.
        facts: how it was scored, for the header.
        notes: what a reader must know, one line each.
        doubts: why the files may not be what they are taken for.
    """

    rows: Rows = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def add(self, rows: Rows, notes: Iterable[str] = ()) -> None:
        """Put further measures behind those of the same rows."""
        for row, measures in rows.items():
            self.rows.setdefault(row, []).extend(measures)
        self.notes += notes


def load_annotations(settings: Settings) -> tuple[list[Annotation], Scored]:
    """The annotations, and facts about them, what of the file cannot be scored, and what is doubtful of it.

    Raises:
        V2XumError, OSError: naming the file, if it cannot be read as annotations, or they are another data set's.
    """
    known, told = DATA_SETS[settings.dataset], Scored()
    found = [_read_annotations(settings, path, told) for path in (settings.annotations, *settings.further_annotations)]
    annotations = found[0]
    for path, more in zip(settings.further_annotations, found[1:]):
        try:
            annotations = together(annotations, more)
        except V2XumError as error:
            raise V2XumError(f"{path}: {error}") from error
    if known.identity is not None and known.identity.videos not in (None, len(annotations)):
        told.facts["annotations"] += f", {len(annotations)} of {known.identity.videos} videos"
    alone = sum(not one.alternatives for one in annotations)
    if alone < len(annotations):
        told.facts["annotations"] += f", {len(annotations) - alone} of {len(annotations)} videos by several people"
    if settings.importance is not None:
        annotations = with_importance(annotations, settings.importance)
        told.facts["importance"] = settings.importance.name
    if settings.features is not None:
        annotations, count = _with_change_points(annotations, settings.features)
        told.notes.append(f"change points of {count} videos by KTS from {settings.features.name}: keyshot figures are "
            "not those of the published change points")  # fmt: skip
    return annotations, told


def _read_annotations(settings: Settings, path: Path, told: Scored) -> list[Annotation]:
    """The annotations of one file; what is to be said of them is put to what is told."""
    known = DATA_SETS[settings.dataset]
    form = format_of(path, ANNOTATIONS) if settings.annotation_format == AUTO else settings.annotation_format
    _check_form(settings, path, form)
    references = load_references(path, form)
    for one in references.annotations:
        if one.source in READERS:  # of annotation JSON lines: the format that they were made from
            _check_form(settings, path, one.source)
        if known.keyshots != (one.keyshots is not None):
            wanted = "keyshots, in frames" if known.keyshots else "annotations in seconds"
            raise V2XumError(f"{path}: video {one.video_id!r}: {settings.dataset} is scored against {wanted}")
    told.doubts += annotation_doubts(path, settings.dataset, references.annotations)
    fact = f"{path.name} ({references.form})"
    told.facts["annotations"] = f"{told.facts['annotations']}, {fact}" if "annotations" in told.facts else fact
    if references.rejected:
        first = references.rejected[0]
        told.doubts.append(f"{len(references.rejected)} items of {path.name} cannot be read, and their videos are not "
            f"scored, as {first}")  # fmt: skip
    if references.moved:
        told.notes.append(f"{len(references.moved)} annotated videos have time stamps beyond their ends, moved to them")
    for video_id, dropped in list(references.dropped.items())[:1]:
        told.notes.append(f"{len(references.dropped)} annotated videos are scored without some of their spans, such as "
            f"{video_id!r}: {dropped[0]}")  # fmt: skip
    return references.annotations


def _check_form(settings: Settings, path: Path, form: str) -> None:
    """Check that annotations of that format belong to the data set: its table would bear a wrong name."""
    takes = (ANNOTATIONS, *DATA_SETS[settings.dataset].formats)
    if form not in takes:
        told = f"{form}; it is taken by {', '.join(taken_by(ANNOTATIONS, form))}"
        raise V2XumError(f"{path}: expected annotations of {settings.dataset} ({' or '.join(takes[1:])}), got {told}")


def load_system(settings: Settings, files: Sequence[tuple[Path, str]]) -> dict[str, Prediction]:
    """The predictions of one system, from all of its files: each says of a video what the others do not.

    Args:
        files: each with its format.

    Raises:
        V2XumError, OSError: naming the file and the video, if one cannot be read as predictions.
    """
    found = [load_predictions(path, form, settings.num_frames, settings.clock) for path, form in files]
    return merge_predictions(found, [str(path) for path, _ in files])


def bring_together(settings: Settings, files: Sequence[Path], annotations: Sequence[Annotation]) -> Cases:
    """The videos to score.

    Raises:
        V2XumError, OSError: as `load_system`, `names.matched`, `cases.pair` and `splits.read_splits`; if there are
            splits and not as many files, or the data set has none.
    """
    given = settings.prediction_format
    forms = [(path, format_of(path, PREDICTIONS) if given == AUTO else given) for path in files]
    told = tuple(f"{path.name} ({form})" for path, form in forms)
    if settings.splits is None:
        return replace(_paired(settings, load_system(settings, forms), annotations), forms=told)
    if not DATA_SETS[settings.dataset].keyshots:
        raise BadOption(f"--splits is of TVSum and SumMe, and this is {settings.dataset}")
    splits = read_splits(settings.splits)
    if len(files) not in (1, len(splits)):
        raise BadOption(f"--splits: {settings.splits} has {len(splits)} splits: expected one prediction file or one a "
            f"split, got {len(files)}")  # fmt: skip
    systems = [load_system(settings, [one]) for one in forms] * (len(splits) if len(files) == 1 else 1)
    joined = joined_splits(
        [
            _paired(settings, system, tested(settings.splits, number, keys, annotations), is_part=True)
            for number, (keys, system) in enumerate(zip(splits, systems), 1)
        ]
    )
    return replace(joined, forms=told)


def _paired(
    settings: Settings, predictions: dict[str, Prediction], annotations: Sequence[Annotation], is_part: bool = False
) -> Cases:
    """The videos to score; of a part of the annotations no other prediction is unknown."""
    annotations = named_as(annotations, predictions)
    predictions, notes = matched(annotations, predictions, settings.match)
    cases = pair(as_long_as(annotations, predictions), predictions, settings.skip_missing)
    return replace(cases, of_names=tuple(notes), unknown=() if is_part else cases.unknown)


def score(settings: Settings, cases: Cases, out: Path, baselines: bool = True) -> Scored:
    """Compute every measure that the settings ask for.

    Args:
        out: the folder where CLIP's embeddings are kept if no other file is named.
        baselines: whether to score random, uniform and human too.

    Raises:
        V2XumError, OSError, ImportError, RuntimeError: as the groups do, naming the video or the package.
    """
    settings.check_clip()
    settings.check_judge()
    judge = None if settings.judge is None else JudgeScoring(settings, out)
    clip = None if settings.clip is None else ClipScoring(settings, out)
    scored = Scored(facts={"videos": len(cases.cases), "missing": len(cases.missing)})
    if cases.skipped:
        scored.facts["skip missing"] = True
    scored.notes += cases.notes()
    scored.doubts += prediction_doubts(cases.cases)
    clock, notes = clocks_of(cases.cases)
    if clock is not None:
        scored.facts["clock"] = clock
    scored.notes += notes
    scored.facts["fraction"] = TOP_FRACTION
    seeds = settings.seeds if baselines else 0
    keyshots = DATA_SETS[settings.dataset].keyshots
    how: Callable[..., Rows] = v2v_rows
    if keyshots:
        scored.facts["budget"] = settings.budget
        how = partial(keyshot_rows, budget=settings.budget)
    scored.add(how(cases.cases, seeds=seeds, ranking=settings.ranking, progress=bar(settings, "V2V")))
    if not keyshots:
        scored.add(moment_rows(cases.cases))
        _score_text(settings, cases.cases, scored)
    if judge is not None:
        rows, notes, scored.facts["judge"] = judge.rows(cases.cases, bar(settings, "judge"))
        scored.add(rows, notes)
    if clip is not None:
        scored.add(clip.rows(cases.cases, baselines, bar(settings, "CLIP")))
        scored.facts["CLIP"] = clip.model.name
    if cases.splits:
        scored.rows = {row: [mean_over_splits(one, cases.splits) for one in some] for row, some in scored.rows.items()}
        sizes = fact_text([count for _, count in sorted(Counter(cases.splits).items())])
        scored.facts["splits"] = f"mean over splits of {sizes} videos"
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
