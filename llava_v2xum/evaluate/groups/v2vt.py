"""F_CLIP, Cross-F_CLIP and VT-CLIPScore of videos: frames and sentences in a CLIP's space.

Shapes: V videos, A annotators, T samples that people annotated, S seeds, K predicted frames, D width of an embedding.

The reference frames are the samples that an annotator selected: at 1 FPS, the frame at second k (TVSum and SumMe: the
pick). The predicted frames are those at the system's temporal prompts; of one that gives importance alone, the 15 % of
its N indexes with the highest importance, at least one. Each annotator who selected something is scored, and the
mean over them is the video's value. Reference sentences are the annotation's, predicted ones the prediction's; where
there is only a text, it is split at sentence ends. A sentence longer than the model's context counts as its parts.

Beside the system: `random` (the 15 % of highest random importance), `uniform` and `human` (each annotator against the
others; against the text, each annotator's frames). They choose frames and write nothing, so for Cross-F_CLIP and
VT-CLIPScore they are given the reference's own text: what a system's frames are worth, its text being perfect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from ...core.checks import first_few
from ...core.errors import V2XumError
from ..metric_registry import families_of
from ..metrics.baselines import SEEDS, random_importance, uniform_selection
from ..metrics.clip_scores import CaseVectors, ClipFamily
from ..metrics.keyframes import TOP_FRACTION, top_fraction
from ..metrics.measures import ROWS, Measure
from ..models.clip_base import ClipModel
from ..models.embeddings import Embedder, EmbeddingCache
from .case_vectors import embed_case
from .v2t import predicted_text

if TYPE_CHECKING:
    from ..formats.cases import Case
    from ..formats.predictions import Prediction

_GIVEN_TEXT = "of frames with the reference's own text"


def v2vt_rows(
    cases: Sequence[Case],
    videos: Mapping[str, Path],
    model: ClipModel,
    cache: EmbeddingCache | None = None,
    *,
    seeds: int = SEEDS,
    fraction: float = TOP_FRACTION,
    baselines: bool = True,
    progress: Callable[[Sequence[Case]], Iterable[Case]] | None = None,
) -> dict[str, list[Measure]]:
    """The measures by CLIP, of the system and of random, uniform and human choices of frames.

    A video without a prediction, or without the frames or the text that others have, is a miss: 0 in what needs them.
    F_CLIP and Cross-F_CLIP are NaN where no annotator selected a frame, Cross-F_CLIP also where the reference has no
    text; VT-CLIPScore of the system needs no reference.

    Args:
        cases: one a video.
        videos: the file of each, by video id.
        model: what embeds frames and sentences.
        cache: where embeddings are kept; None: nowhere.
        seeds: how many random importances make the random row.
        fraction: how much of a video importance selects.
        baselines: False embeds only what the system and the annotators chose, and gives the system's row alone.
        progress: is handed the cases and gives them back one by one, such as `tqdm.tqdm`.

    Returns:
        the measures by row, [V] values each: `f_clip`; `cross_f_clip`, `vt_clipscore`. Of the system those that a
        prediction has the fields for; of the others those with a value.

    Raises:
        V2XumError: if videos have no file, or a prediction does not fit its samples; naming them.
        VideoError: if a file cannot be read as a video.
    """
    lacking = [case.annotation.video_id for case in cases if case.annotation.video_id not in videos]
    if lacking:
        raise V2XumError(
            f"{len(lacking)} of {len(cases)} videos have no file, and CLIP needs their frames: {first_few(lacking)}"
        )
    rows = _Rows(cases, model)
    embedder = Embedder(model, cache)
    for number, case in enumerate(progress(cases) if progress else cases):
        vectors = embed_case(case, videos[case.annotation.video_id], embedder, fraction, baselines)
        rows.in_parts += len(vectors.predicted_text) > 1
        choices = _choices(case.annotation.video_id, vectors, seeds, fraction) if baselines else None
        for family in families_of(ClipFamily):
            rows.values["system"][family.metric.name][number] = family.of_system(vectors)
            for row, value in _baseline_scores(vectors, choices, family) if baselines else ():
                rows.values[row][family.metric.name][number] = value
    return rows.measures(baselines, seeds)


def _choices(video_id: str, vectors: CaseVectors, seeds: int, fraction: float) -> np.ndarray:
    """bool [S + 1 + A, T]: the random choices of samples, the uniform one, and the annotators'."""
    samples = len(vectors.samples)
    drawn = top_fraction(random_importance(video_id, samples, seeds), fraction)
    return np.concatenate([drawn, uniform_selection(samples, fraction)[None], vectors.people])


def _baseline_scores(vectors: CaseVectors, choices: np.ndarray, family: ClipFamily) -> Iterator[tuple[str, float]]:
    """One metric's values of one video by row; what cannot be scored is left out."""
    values = family.of_choices(vectors, choices)
    if values is None:
        return
    people = len(vectors.people)
    seeds = len(choices) - 1 - people
    means = values if values.ndim == 1 else values.mean(axis=1)
    if seeds:
        yield "random", float(means[:seeds].mean())
    yield "uniform", float(means[seeds])
    if people > 1:
        among = values[seeds + 1 :]
        yield "human", float((among if among.ndim == 1 else among[~np.eye(people, dtype=bool)]).mean())


class _Rows:
    """The values of every row, gathered video by video, and what is to be said of them."""

    def __init__(self, cases: Sequence[Case], model: ClipModel) -> None:
        self.cases, self.model = cases, model
        self.in_parts = 0  # predicted texts that are longer than the model's context
        names = [family.metric.name for family in families_of(ClipFamily)]
        self.values = {row: {name: np.full(len(cases), np.nan) for name in names} for row in ROWS}

    def measures(self, baselines: bool, seeds: int) -> dict[str, list[Measure]]:
        """The rows that have a value, with notes."""
        predictions = [case.prediction for case in self.cases]
        has_frames = any(_has_frames(one) for one in predictions)
        has_text = any(predicted_text(one) is not None for one in predictions)
        rows: dict[str, list[Measure]] = {"system": []}
        for family in families_of(ClipFamily):
            name = family.metric.name
            if has_frames and (has_text or not family.reads):
                rows["system"].append(Measure(name, self.values["system"][name], notes=self._system_notes(family)))
            for row in ROWS[1:] if baselines else ():
                values = self.values[row][name]
                notes: tuple[str, ...] = (f"mean over {seeds} seeds",) if row == "random" else ()
                if not np.isnan(values).all():
                    notes += (_GIVEN_TEXT,) if family.reads else ()
                    rows.setdefault(row, []).append(Measure(name, values, notes=notes))
        return rows

    def _system_notes(self, family: ClipFamily) -> tuple[str, ...]:
        """The model, and how many videos score 0 because something is not there."""
        notes = [f"by {self.model.name}", *(metric.note for metric in family.metrics if metric.note)]
        if family.reads == "text" and self.in_parts:
            notes.append(f"{self.in_parts} predicted texts are longer than the model's context: their parts' mean")
        empty = {"predicted frames": sum(not _selects(case.prediction) for case in self.cases)}
        if family.reads:
            empty["predicted text"] = sum(not (predicted_text(case.prediction) or "").strip() for case in self.cases)
        notes += [f"{count} of {len(self.cases)} videos have no {what}: 0" for what, count in empty.items() if count]
        return tuple(notes)


def _has_frames(prediction: Prediction | None) -> TypeGuard[Prediction]:
    return prediction is not None and (prediction.frames is not None or prediction.importance is not None)


def _selects(prediction: Prediction | None) -> bool:
    return _has_frames(prediction) and prediction.frames != ()
