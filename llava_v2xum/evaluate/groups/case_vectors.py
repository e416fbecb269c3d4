"""The embeddings that one video's scores by CLIP need: of its annotators' frames, the system's, and both texts.

Shapes: A annotators, T samples, K predicted frames, S sentences, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.annotations import Annotation
from ...core.answers import parse_answer
from ..formats.predictions import SECONDS
from ..metrics.clip_scores import CaseVectors
from ..metrics.clocks import second_times
from ..metrics.keyframes import TOP_FRACTION, top_fraction
from ..models.embeddings import Embedder
from ..models.frames import Frame, Moment, Prompt, Second
from .v2t import predicted_text, reference_text
from .v2v import annotator_masks

if TYPE_CHECKING:
    from ..formats.cases import Case
    from ..formats.predictions import Prediction


def embed_case(
    case: Case, path: Path, embedder: Embedder, fraction: float = TOP_FRACTION, all_samples: bool = True
) -> CaseVectors:
    """Embed what the scores of one video need, or take it from the embedder's cache.

    Args:
        case: the video's annotation and prediction.
        path: its file.
        fraction: how much importance selects.
        all_samples: False embeds, and returns, only the samples that an annotator selected.

    Raises:
        V2XumError: naming the video, if the prediction does not fit its samples, or a pick lies outside the file.
        VideoError: if the file cannot be read as a video.
    """
    people, samples = samples_of(case.annotation)
    shots = case.annotation.keyshots
    predicted = predicted_moments(case.prediction, samples, fraction, 0 if shots is None else shots.n_frames)
    if not all_samples:
        needed = np.flatnonzero(people.any(axis=0))
        people, samples = people[:, needed], [samples[place] for place in needed]
    track = case.prediction.video_track if case.prediction else None
    frames = embedder.frames(path, [*samples, *predicted], track)
    told, said = reference_text(case.annotation) or "", predicted_text(case.prediction) or ""
    reference = [sentence.text for sentence in case.annotation.sentences] or _sentences(told)
    texts = [
        [text for text in some if text.strip()]
        for some in (reference, _predicted_sentences(case.prediction), [told], [said])
    ]
    rows = iter(embedder.texts([text for some in texts for text in some]))
    vectors = [np.concatenate([next(rows) for _ in some]) if some else np.zeros((0, 0)) for some in texts]
    return CaseVectors(people[people.any(axis=1)], frames[: len(samples)], frames[len(samples) :], *vectors)


def samples_of(annotation: Annotation) -> tuple[np.ndarray, list[Moment]]:
    """The annotators' masks bool [A, T] and the moments of the samples [T]: seconds, or the picks of keyshots."""
    if annotation.keyshots is not None:
        picks = list(annotation.keyshots.picks)
        return np.asarray(annotation.keyshots.user_summary(), dtype=bool)[:, picks], [Frame(pick) for pick in picks]
    people = annotator_masks(annotation)
    if annotation.duration_seconds is None:
        return people, []
    times = second_times(people.shape[1], annotation.duration_seconds)
    return people, [Second(float(time)) for time in times]


def predicted_moments(
    prediction: Prediction | None, samples: Sequence[Moment], fraction: float = TOP_FRACTION, n_frames: int = 0
) -> list[Moment]:
    """The frames that a prediction selects: its frames, else the top of its importance; none where it has neither.

    Args:
        prediction: None selects nothing.
        samples: [T], the moments of the annotation's samples, which a prediction on their clock means.
        fraction: how much of the N indexes importance selects; at least one, as in VideoXum's script.
        n_frames: of TVSum and SumMe, of how many frames the samples are.

    Raises:
        V2XumError: naming the video, if the prediction's clock wants another number of indexes.
    """
    if prediction is None or (prediction.frames is None and prediction.importance is None):
        return []
    picks = [one.number for one in samples if isinstance(one, Frame)] if n_frames else None
    indexes = prediction.at_samples(len(samples), picks, n_frames)
    moments: Sequence[Moment] = samples
    if prediction.clock == SECONDS:  # as the samples are
        indexes = np.arange(min(prediction.num_frames, len(samples)))
    elif indexes is None:
        indexes = np.arange(prediction.num_frames)
        moments = [Prompt(index, prediction.num_frames) for index in indexes.tolist()]
    if prediction.frames is None and prediction.importance is not None:
        chosen = top_fraction(prediction.importance[indexes], fraction)
    else:
        chosen = np.isin(indexes, prediction.frames)
    return [moments[place] for place in np.flatnonzero(chosen)]


def _predicted_sentences(prediction: Prediction | None) -> list[str]:
    if prediction is None:
        return []
    if prediction.sentences is not None:
        return [sentence.text for sentence in prediction.sentences]
    return _sentences(prediction.text or "")


def _sentences(text: str) -> list[str]:
    return [sentence.text for sentence in parse_answer(text).sentences]
