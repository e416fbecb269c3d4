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

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.annotations import Annotation
from ...core.errors import V2XumError
from ..metrics.baselines import SEEDS, random_importance, uniform_selection
from ..metrics.crossmodal import f_clip, f_clip_of_sets, positive_cosines, vt_clipscore, vt_clipscore_of_sets
from ..metrics.keyframes import TOP_FRACTION, top_fraction
from ..metrics.measures import Measure
from ..models.clip_base import ClipModel
from ..models.embeddings import Embedder, EmbeddingCache
from .case_vectors import CaseVectors, embed_case
from .v2t import predicted_text

if TYPE_CHECKING:
    from ..formats.cases import Case
    from ..formats.predictions import Prediction

MEASURES = ("f_clip", "cross_f_clip", "vt_clipscore")
_SHOWN = 3  # ids in a message
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
    allow_missing: bool = False,
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
        allow_missing: leave videos without a file out (NaN) and say so in the notes, instead of raising.
        progress: is handed the cases and gives them back one by one, such as `tqdm.tqdm`.

    Returns:
        the measures by row, [V] values each: `f_clip`; `cross_f_clip`, `vt_clipscore`. Of the system those that a
        prediction has the fields for; of the others those with a value.

    Raises:
        V2XumError: if videos have no file, or a prediction does not fit its samples; naming them.
        VideoError: if a file cannot be read as a video.
    """
    lacking = [case.annotation.video_id for case in cases if case.annotation.video_id not in videos]
    if lacking and not allow_missing:
        shown = ", ".join(map(repr, lacking[:_SHOWN])) + (", ..." if len(lacking) > _SHOWN else "")
        raise V2XumError(f"{len(lacking)} of {len(cases)} videos have no file, and CLIP needs their frames: {shown}")
    rows = _Rows(cases, model, len(lacking))
    embedder = Embedder(model, cache)
    for number, case in enumerate(progress(cases) if progress else cases):
        path = videos.get(case.annotation.video_id)
        if path is None:
            continue
        vectors = embed_case(case, path, embedder, fraction, baselines)
        rows.add_system(number, _system_scores(case.prediction, vectors))
        rows.in_parts += len(vectors.predicted_text) > 1
        if baselines:
            rows.add_baselines(number, _baseline_scores(case.annotation, vectors, seeds, fraction))
    return rows.measures(baselines, seeds)


def _system_scores(prediction: Prediction | None, vectors: CaseVectors) -> dict[str, float]:
    """The system's values of one video; NaN where the reference leaves nothing to score."""
    found = dict.fromkeys(MEASURES, np.nan)
    if len(vectors.people):
        found["f_clip"] = _mean(positive_cosines(vectors.samples, vectors.predicted), vectors.people)
        if len(vectors.reference_sentences):
            seen = _mean(positive_cosines(vectors.samples, vectors.predicted_sentences), vectors.people)
            found["cross_f_clip"] = (seen + f_clip(vectors.reference_sentences, vectors.predicted)) / 2
    found["vt_clipscore"] = vt_clipscore(vectors.predicted, vectors.predicted_text)
    return found


def _mean(cosines: np.ndarray, people: np.ndarray) -> float:
    """F_CLIP of all columns against each annotator's rows, the mean over annotators."""
    return float(f_clip_of_sets(cosines, people).mean())


def _baseline_scores(
    annotation: Annotation, vectors: CaseVectors, seeds: int, fraction: float
) -> dict[str, dict[str, float]]:
    """The values of one video by row and measure; what cannot be scored is left out."""
    people, samples = vectors.people, vectors.samples
    found: dict[str, dict[str, float]] = {"random": {}, "uniform": {}, "human": {}}
    drawn = top_fraction(random_importance(annotation.video_id, len(samples), seeds), fraction)
    sets = np.concatenate([drawn, uniform_selection(len(samples), fraction)[None], people])
    parts = {"random": slice(0, seeds), "uniform": slice(seeds, seeds + 1)}
    if len(people) > 1:
        parts["human"] = slice(seeds + 1, None)

    def keep(measure: str, values: np.ndarray) -> None:
        for row, part in parts.items():
            if len(values[part]):
                found[row][measure] = float(values[part].mean())

    if len(people):
        scores = f_clip_of_sets(positive_cosines(samples, samples), people, sets)  # [S + 1 + A, A]
        others = ~np.eye(len(people), dtype=bool)
        keep("f_clip", scores.mean(axis=1))
        if len(people) > 1:
            found["human"]["f_clip"] = float(scores[seeds + 1 :][others].mean())
    if len(people) and len(vectors.reference_sentences):
        cosines = positive_cosines(vectors.reference_sentences, samples)
        keep("cross_f_clip", (_mean(cosines.T, people) + f_clip_of_sets(cosines, None, sets)[:, 0]) / 2)
    if len(vectors.reference_text):
        keep("vt_clipscore", vt_clipscore_of_sets(samples, vectors.reference_text, sets))
    return found


class _Rows:
    """The values of every row, gathered video by video, and what is to be said of them."""

    def __init__(self, cases: Sequence[Case], model: ClipModel, lacking: int) -> None:
        self.cases, self.model, self.lacking = cases, model, lacking
        self.in_parts = 0  # predicted texts that are longer than the model's context
        self.values = {
            row: {measure: np.full(len(cases), np.nan) for measure in MEASURES}
            for row in ("system", "random", "uniform", "human")
        }

    def add_system(self, number: int, scores: Mapping[str, float]) -> None:
        for measure, value in scores.items():
            self.values["system"][measure][number] = value

    def add_baselines(self, number: int, scores: Mapping[str, Mapping[str, float]]) -> None:
        for row, found in scores.items():
            for measure, value in found.items():
                self.values[row][measure][number] = value

    def measures(self, baselines: bool, seeds: int) -> dict[str, list[Measure]]:
        """The rows that have a value, with notes."""
        predictions = [case.prediction for case in self.cases]
        has_frames = [_has_frames(one) for one in predictions]
        has_text = [predicted_text(one) is not None for one in predictions]
        wanted = {"f_clip": any(has_frames), "cross_f_clip": any(has_frames) and any(has_text)}
        wanted["vt_clipscore"] = wanted["cross_f_clip"]
        rows = {"system": [Measure(name, self.values["system"][name], notes=self._system_notes(name))
                           for name in MEASURES if wanted[name]]}  # fmt: skip
        for row in ("random", "uniform", "human") if baselines else ():
            notes = (f"mean over {seeds} seeds",) if row == "random" else ()
            found = [
                Measure(name, values, notes=notes + ((_GIVEN_TEXT,) if name != "f_clip" else ()))
                for name, values in self.values[row].items()
                if not np.isnan(values).all()
            ]
            if found:
                rows[row] = found
        return rows

    def _system_notes(self, name: str) -> tuple[str, ...]:
        """The model, and how many videos score 0 because something is not there."""
        notes = [f"by {self.model.name}"]
        if name == "vt_clipscore":
            notes.append("VideoXum's published figures are by its own CLIP, vt_clip.pth")
            if self.in_parts:
                notes.append(f"{self.in_parts} predicted texts are longer than the model's context: their parts' mean")
        empty = {"predicted frames": sum(not _selects(case.prediction) for case in self.cases)}
        if name != "f_clip":
            empty["predicted text"] = sum(not (predicted_text(case.prediction) or "").strip() for case in self.cases)
        notes += [f"{count} of {len(self.cases)} videos have no {what}: 0" for what, count in empty.items() if count]
        if self.lacking:
            notes.append(f"{self.lacking} of {len(self.cases)} videos have no file and are left out")
        return tuple(notes)


def _has_frames(prediction: Prediction | None) -> bool:
    return prediction is not None and (prediction.frames is not None or prediction.importance is not None)


def _selects(prediction: Prediction | None) -> bool:
    return _has_frames(prediction) and prediction.frames != ()
