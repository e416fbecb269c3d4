"""The metrics by CLIP of one video: the system's frames and text, and choices of frames with the reference's own text.

Shapes: A annotators, T samples, K predicted frames, S sentences, B choices of samples, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .crossmodal import f_clip, f_clip_of_sets, positive_cosines, vt_clipscore, vt_clipscore_of_sets
from .metric import IMPORTANCE, Family, Metric, Need


@dataclass(frozen=True, eq=False)
class CaseVectors:
    """One video's unit vectors; a set that is not there has no rows.

    Args:
        people: bool [A, T], the samples that each annotator selected; those who selected none are left out.
        samples: [T, D].
        predicted: [K, D], the system's frames.
        reference_sentences, predicted_sentences: [S, D]; a sentence longer than the model's context has several rows.
        reference_text, predicted_text: [1, D], the whole text; several rows where it is longer than the context.
    """

    people: np.ndarray
    samples: np.ndarray
    predicted: np.ndarray
    reference_sentences: np.ndarray
    predicted_sentences: np.ndarray
    reference_text: np.ndarray
    predicted_text: np.ndarray


@dataclass(frozen=True)
class ClipFamily(Family):
    """A metric by CLIP.

    Args:
        of_system: the vectors -> the system's value; NaN where the reference leaves nothing to score.
        of_choices: the vectors and choices of samples, bool [B, T] -> float [B], the choices' values with the
            reference's own text; or [B, A], against each annotator. None where nothing can be scored.
        reads: what of a text: "" for none, "sentences", or the whole "text".
    """

    of_system: Callable[[CaseVectors], float]
    of_choices: Callable[[CaseVectors, np.ndarray], np.ndarray | None]
    reads: str = ""

    @property
    def metric(self) -> Metric:
        """The one metric."""
        (metric,) = self.metrics
        return metric


def _f_clip(vectors: CaseVectors) -> float:
    if not len(vectors.people):
        return np.nan
    return _mean(vectors, vectors.predicted)


def _f_clip_of_choices(vectors: CaseVectors, sets: np.ndarray) -> np.ndarray | None:
    if not len(vectors.people):
        return None
    rows, columns = vectors.people.any(axis=0), sets.any(axis=0)
    cosines = positive_cosines(vectors.samples[rows], vectors.samples[columns])
    return f_clip_of_sets(cosines, vectors.people[:, rows], sets[:, columns])


def _cross_f_clip(vectors: CaseVectors) -> float:
    if not len(vectors.people) or not len(vectors.reference_sentences):
        return np.nan
    seen = _mean(vectors, vectors.predicted_sentences)
    return (seen + f_clip(vectors.reference_sentences, vectors.predicted)) / 2


def _cross_f_clip_of_choices(vectors: CaseVectors, sets: np.ndarray) -> np.ndarray | None:
    if not len(vectors.people) or not len(vectors.reference_sentences):
        return None
    columns = sets.any(axis=0)
    cosines = positive_cosines(vectors.reference_sentences, vectors.samples[columns])
    seen = f_clip_of_sets(cosines, None, sets[:, columns])[:, 0]
    return (_mean(vectors, vectors.reference_sentences) + seen) / 2


def _vt_clipscore_of_choices(vectors: CaseVectors, sets: np.ndarray) -> np.ndarray | None:
    if not len(vectors.reference_text):
        return None
    return vt_clipscore_of_sets(vectors.samples, vectors.reference_text, sets)


def _mean(vectors: CaseVectors, others: np.ndarray) -> float:
    """F_CLIP of all the others against each annotator's samples, the mean over annotators."""
    rows = vectors.people.any(axis=0)  # nobody asks for the cosines of any other
    return float(f_clip_of_sets(positive_cosines(vectors.samples[rows], others), vectors.people[:, rows]).mean())


_CLIP = Need("needs --clip and --videos", lambda predictions, settings: settings.clip is None)

F_CLIP = ClipFamily(
    # frames will do too; but where there are any, and a CLIP, it is not absent
    (Metric("f_clip", "F_CLIP", "V2V", "selected and reference frames in CLIP's space", (_CLIP, IMPORTANCE)),),
    _f_clip,
    _f_clip_of_choices,
)
CROSS_F_CLIP = ClipFamily(
    (Metric("cross_f_clip", "Cross-F_CLIP", "V2VT", "frames against the reference's sentences and the other way",
        (_CLIP,)),),
    _cross_f_clip,
    _cross_f_clip_of_choices,
    reads="sentences",
)  # fmt: skip
VT_CLIPSCORE = ClipFamily(
    (Metric("vt_clipscore", "VT-CLIP", "V2VT", "VT-CLIPScore: the summary's frames against its text", (_CLIP,),
        note="VideoXum's published figures are by its own CLIP, vt_clip.pth"),),
    lambda vectors: vt_clipscore(vectors.predicted, vectors.predicted_text),
    _vt_clipscore_of_choices,
    reads="text",
)  # fmt: skip
