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
    predicted = predicted_moments(case.prediction, samples, fraction)
    if not all_samples:
        needed = np.flatnonzero(people.any(axis=0))
        people, samples = people[:, needed], [samples[place] for place in needed]
    frames = embedder.frames(path, [*samples, *predicted])
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
    times = second_times(people.shape[1], annotation.known_duration)
    return people, [Second(float(time)) for time in times]


def predicted_moments(
    prediction: Prediction | None, samples: Sequence[Moment], fraction: float = TOP_FRACTION
) -> list[Moment]:
    """The frames that a prediction selects: its frames, else the top of its importance; none where it has neither.

    Args:
        prediction: None selects nothing.
        samples: [T], the moments of the annotation's samples, which a prediction on their clock means.
        fraction: how much of the N indexes importance selects; at least one, as in VideoXum's script.

    Raises:
        V2XumError: naming the video, if the prediction is on the samples' clock and has another number of them.
    """
    if prediction is None:
        return []
    count = prediction.num_frames
    if prediction.frames is not None:
        chosen = list(prediction.frames)
    elif prediction.importance is not None:
        chosen = np.flatnonzero(top_fraction(prediction.importance, fraction)).tolist()
    else:
        return []
    if prediction.clock == "prompts":
        return [Prompt(index, count) for index in chosen]
    prediction.check_samples(len(samples))
    return [samples[index] for index in chosen]


def _predicted_sentences(prediction: Prediction | None) -> list[str]:
    if prediction is None:
        return []
    if prediction.sentences is not None:
        return [sentence.text for sentence in prediction.sentences]
    return _sentences(prediction.text or "")


def _sentences(text: str) -> list[str]:
    return [sentence.text for sentence in parse_answer(text).sentences]
