"""The V2V group: how well a system's key frames and importance agree with people's, with the rows beside it.

Shapes: V videos, B systems and baselines scored together (the system, uniform, then S random seeds), A annotators,
N indexes of a prediction, T samples that people annotated, F frames.

Four rows: `system`; `random`, the mean over seeds; `uniform`; `human`, each annotator against the others, in the
measures that a person's choice has. A video that nobody annotated is NaN in all of them; one with a single annotator is
NaN in `human`. A video without a prediction, or without a field that other predictions have, is a miss: 0 in the
measures that need it. Measures whose field no prediction has are left out of the system's row. The set of a random
importance is its `top15`, that of `uniform` is what it selects, and its importance the mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...core.annotations import Annotation
from ...core.errors import V2XumError
from ...data.convert.qvhighlights import NAME as QVHIGHLIGHTS
from ...data.convert.targets import targets_of
from ..formats.prediction_records import OF_FRAMES
from ..formats.predictions import SECONDS
from ..metric_registry import METRICS, families_of
from ..metrics.baselines import SEEDS, random_importance, uniform_selection
from ..metrics.clocks import at_samples, second_times
from ..metrics.keyframes import TOP_FRACTION, top_fraction
from ..metrics.measures import ROWS, Measure
from ..metrics.metric import FRAMES
from ..metrics.v2v_scores import CORRELATIONS, SampledVideo, SampleFamily, Scores

if TYPE_CHECKING:
    from ..formats.cases import Case
    from ..formats.predictions import Prediction

Progress = Callable[[Sequence["Case"]], Iterable["Case"]]

_BY_SUMMARIES = "against annotators' summaries at the picks, for want of their importance, which TVSum's published " \
    "correlations are against (--importance takes the file that has it)"  # fmt: skip


def v2v_rows(
    cases: Sequence[Case],
    *,
    seeds: int = SEEDS,
    fraction: float = TOP_FRACTION,
    ranking: bool = False,
    progress: Progress | None = None,
) -> dict[str, list[Measure]]:
    """The V2V measures of videos annotated at 1 FPS: VideoXum, Instruct-V2Xum, shapes, ActivityNet Captions.

    Args:
        cases: one a video.
        seeds: how many random importances make the random row.
        fraction: how much of a video a summary by importance takes.
        ranking: whether to add `map50`, `map15`, `f1_top5` to `f1_top30` and `f1_area`, see `metrics.highlights`.
        progress: is handed the cases and gives them back one by one, such as `tqdm.tqdm`.

    Returns:
        the measures by row, [V] values each: `f1`, `f1_max` (index sets, mean and maximum over annotators);
        `f1_top15`, `f1_videoxum`, `f1_videoxum_script`, each also `_max` (importance, see `top_fraction`);
        `kendall`, `spearman` (with the mean of the annotators), and both `_per_annotator`.

    Raises:
        V2XumError: naming the video, if it is annotated in keyshots, or its prediction does not fit its samples.
    """
    rows = _Rows(cases, seeds, fraction)
    for video, case in enumerate(progress(cases) if progress else cases):
        annotation = case.annotation
        if annotation.keyshots is not None and annotation.duration_seconds is None:
            raise V2XumError(f"video {annotation.video_id!r} has keyshots, not seconds; keyshot_rows scores those")
        marks = annotator_masks(annotation)
        if not len(marks):
            continue
        times = second_times(marks.shape[1], annotation.known_duration)
        importance, sets = rows.candidates(case, times, annotation.known_duration)
        saliency = None if annotation.saliency is None else np.array(annotation.saliency)
        people = marks if saliency is None else saliency
        grades = saliency if annotation.source == QVHIGHLIGHTS else None  # other scales grade no clips
        mean = people.sum(axis=0)
        asked = SampledVideo(
            *(importance, sets, marks, people, mean, fraction),
            grades=grades,
            ranking=ranking,
            concepts=annotation.concepts,
        )
        rows.add(video, asked)
    return rows.measures()


def keyshot_rows(
    cases: Sequence[Case],
    *,
    seeds: int = SEEDS,
    fraction: float = TOP_FRACTION,
    budget: str = "frames",
    ranking: bool = False,
    progress: Progress | None = None,
) -> dict[str, list[Measure]]:
    """The V2V measures of TVSum and SumMe.

    Annotators' importance at the picks is `Keyshots.scores`, else their summaries at the picks. The mean is that of
    those, else the published `mean_scores`.

    Args:
        cases, seeds, fraction, ranking, progress: as `v2v_rows`.
        budget: of `knapsack.BUDGETS`, what a keyshot summary takes the fraction of.

    Returns:
        the measures by row, [V] values each: `f1`, `f1_max` (index sets at the picks, against the user summaries
        there); `kendall`, `spearman` (with the annotators' mean), both `_per_annotator` (Otani et al. 2019) and both
        `_summary` (the knapsack summary with the mean of the users' masks over all frames, as CSTA and LLMVS report
        SumMe); `keyshot_f1_avg` (TVSum's) and `keyshot_f1_max` (SumMe's). A prediction of frames alone has `f1` and
        `f1_max` alone: keyshots are chosen by importance. Where a video has no change points or user summaries, what
        needs them is NaN.

    Raises:
        V2XumError: naming the video, if it has no keyshots, or its prediction does not fit its picks.
    """
    rows = _Rows(cases, seeds, fraction)
    for video, case in enumerate(progress(cases) if progress else cases):
        shots = case.annotation.keyshots
        if shots is None:
            raise V2XumError(f"video {case.annotation.video_id!r} has no keyshots; v2v_rows scores such videos")
        importance, sets = rows.candidates(case, np.array(shots.picks, dtype=float), shots.n_frames)
        marks = shots.user_summary()[:, np.array(shots.picks)]
        people = marks if shots.scores is None else np.array(shots.scores, dtype=float)
        mean = people.sum(axis=0) if len(people) else np.array(shots.mean_scores, dtype=float)
        asked = SampledVideo(importance, sets, marks, people, mean, fraction, shots, budget, ranking=ranking)
        rows.add(video, asked)
        rows.by_summaries |= shots.scores is None and len(shots.user_summaries) > 0
    return rows.measures()


def annotator_masks(annotation: Annotation) -> np.ndarray:
    """The samples at 1 FPS that each annotator selected.

    `selections` where the annotation has them. Otherwise they are made from the key spans, and where nobody marked
    any, from the sentences' segments as one annotator's, and those of each of the alternatives as another's: [s, e]
    selects floor(s) to floor(e), the seconds it touches.
    T is then `sampled_frames`, or the duration rounded up.

    Returns:
        bool [A, T]; A = 0 where nobody marked a moment, or nobody tells how long the video is.
    """
    if annotation.duration_seconds is None:
        return np.zeros((0, 0), dtype=bool)
    if annotation.selections is not None:
        return np.array(annotation.selections, dtype=bool)
    samples = annotation.sampled_frames or math.ceil(annotation.known_duration)
    spans = [target.video_spans for target in targets_of(annotation, "all")]
    if not annotation.annotators:
        others = [tuple(one.segment for one in some if one.segment) for some in annotation.alternatives]
        spans += [some for some in others if some]
    if not any(spans):
        return np.zeros((annotation.annotators, samples), dtype=bool)
    masks = np.zeros((len(spans), samples), dtype=bool)
    for row, marked in zip(masks, spans):
        for start, end in marked:
            row[min(math.floor(start), samples - 1) : math.floor(end) + 1] = True
    return masks


class _Rows:
    """The values of every row, gathered video by video."""

    def __init__(self, cases: Sequence[Case], seeds: int, fraction: float) -> None:
        self.cases, self.seeds, self.fraction = cases, seeds, fraction
        self.by_summaries = False  # whether summaries stood in for annotators' importance
        self.values: dict[str, Scores] = {row: {} for row in ROWS}

    def candidates(self, case: Case, times: np.ndarray, duration: float) -> tuple[np.ndarray, np.ndarray]:
        """What is scored of one video: importance float [B, T] and sets bool [B, T]; zeros for what is missing."""
        samples, video_id = len(times), case.annotation.video_id
        importance = np.zeros((2 + self.seeds, samples))
        sets = np.zeros(importance.shape, dtype=bool)
        if case.prediction is not None:
            given, selected = system_at_samples(case.prediction, times, duration, case.annotation.keyshots is None)
            importance[0] = 0 if given is None else given
            sets[0] = False if selected is None else selected
        sets[1] = uniform_selection(samples, self.fraction)
        importance[1] = sets[1]
        importance[2:] = random_importance(video_id, samples, self.seeds)
        sets[2:] = top_fraction(importance[2:], self.fraction)
        return importance, sets

    def add(self, number: int, video: SampledVideo) -> None:
        """Score one video, and keep the figures of every row."""
        prediction = self.cases[number].prediction
        for family in families_of(SampleFamily):
            for name, values in family.score(video).items():
                missed = prediction is None or getattr(prediction, _field_of(name)) is None
                # a miss is 0 even where a threshold would select all of an importance of zeros
                self._of("system", name)[number] = 0 if missed else values[0]
                self._of("uniform", name)[number] = values[1]
                self._of("random", name)[number] = values[2:].mean() if self.seeds else np.nan
            for name, value in family.human(video).items():
                self._of("human", name)[number] = value

    def measures(self) -> dict[str, list[Measure]]:
        """The rows that have a value; of the system those measures that a prediction has the field for."""
        predictions = [case.prediction for case in self.cases if case.prediction is not None]
        has = {field: any(getattr(one, field) is not None for one in predictions) for field in OF_FRAMES}
        rows = {
            row: [
                Measure(name, values, notes=self._notes(row, name, ~np.isnan(values)))
                for name, values in table.items()
                if not np.isnan(values).all() and (row != "system" or has[_field_of(name)])
            ]
            for row, table in self.values.items()
        }
        return {row: measures for row, measures in rows.items() if measures or row == "system"}

    def _of(self, row: str, name: str) -> np.ndarray:
        return self.values[row].setdefault(name, np.full(len(self.cases), np.nan))

    def _notes(self, row: str, name: str, scored: np.ndarray) -> tuple[str, ...]:
        notes = [f"mean over {self.seeds} seeds"] if row == "random" else []
        if METRICS[name].note:
            notes.append(METRICS[name].note.format(percent=100 * self.fraction))
        if self.by_summaries and METRICS[name] in CORRELATIONS.metrics:
            notes.append(_BY_SUMMARIES)
        if not scored.all():
            notes.append(f"over the {scored.sum()} of {len(scored)} videos whose annotations have what it needs")
        return (*notes, *(self._misses(name, scored) if row == "system" else ()))

    def _misses(self, name: str, scored: np.ndarray) -> Iterator[str]:
        """How many of the scored videos' predictions leave the measure nothing to score."""
        field, there = _field_of(name), [case.prediction for case, kept in zip(self.cases, scored) if kept]
        if lacking := sum(one is not None and getattr(one, field) is None for one in there):
            yield f"{lacking} of {len(there)} videos are predicted without {field} and score as misses"
        if field == "frames" and (empty := sum(one is not None and one.frames == () for one in there)):
            yield f"{empty} of {len(there)} videos have a prediction that selects no frame: 0"


def _field_of(name: str) -> str:
    """The part of a prediction that a measure needs."""
    return "frames" if FRAMES in METRICS[name].needs else "importance"


def system_at_samples(
    prediction: Prediction, times: np.ndarray, duration: float, in_seconds: bool = True
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """What a prediction says of the samples; see `clocks` for how its indexes become samples.

    Args:
        times: float [T], in the unit of the duration.
        in_seconds: whether that is seconds; frames of the file (keyshots) have the numbers that the indexes stand for.

    Returns:
        importance float [T] and mask bool [T]; None for what it does not have.

    Raises:
        V2XumError: naming the video, if its clock wants another number of indexes or other times, or a time lies
            outside.
    """
    of_frames = {} if in_seconds else {"picks": times.astype(int), "n_frames": int(duration)}
    indexes = prediction.at_samples(len(times), **of_frames)
    selected = None
    if prediction.frames is not None:
        selected = np.zeros(prediction.num_frames, dtype=bool)
        selected[list(prediction.frames)] = True
    found = (prediction.importance, selected)
    if prediction.clock == SECONDS:
        if not in_seconds:
            raise V2XumError(f"video {prediction.video_id!r}: it is predicted in seconds, and annotated in frames")
        return _at_seconds(found[0], times), _at_seconds(found[1], times)
    try:
        frames = prediction.frame_times if in_seconds else None
        importance, mask = (
            one if one is None else at_samples(one, times, duration, frames) if indexes is None else one[indexes]
            for one in found
        )
    except V2XumError as error:
        raise V2XumError(f"video {prediction.video_id!r}: {error}") from error
    return importance, mask


def _at_seconds(values: np.ndarray | None, times: np.ndarray) -> np.ndarray | None:
    """The value of the second that each sample lies in, [N] -> [T]; 0 behind the last."""
    if values is None:
        return None
    seconds = np.floor(times).astype(int)
    return np.where(seconds < len(values), values[np.minimum(seconds, len(values) - 1)], values.dtype.type(0))
