"""QFVS's protocol: do the chosen shots show what the reference's shots show, whichever shots these are.

Two shots agree by the intersection over union of their concepts. Chosen and reference shots are matched one to one with
the highest sum of agreements; that sum by the number of chosen shots is the precision, by that of the reference's the
recall. Source: Sharghi et al. 2017, arXiv 1707.04960, section 4; facebookresearch/EgoVLPv2,
QFVS/semantic_evaluation.py.

A shot is chosen where at least half of its seconds are (our choice: systems that choose shots choose all of them). The
rows random and uniform choose single seconds, which make no shots, and have no figure.

Shapes: B candidates, A annotators, T samples, S shots, P chosen shots, G of the reference.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from ...core.extras import require
from .metric import FRAMES, Family, Metric, Need
from .v2v_scores import SampledVideo, SampleFamily, Scores


def agreements(chosen: Sequence[Collection[str]], reference: Sequence[Collection[str]]) -> np.ndarray:
    """The intersection over union of every two shots' concepts, float [P, G]; 0 where neither shows any."""
    names = sorted({name for shot in (*chosen, *reference) for name in shot})
    ours, theirs = (
        np.array([[name in shot for name in names] for shot in shots], dtype=float).reshape(len(shots), len(names))
        for shots in (chosen, reference)
    )
    shared = ours @ theirs.T
    union = ours.sum(axis=1)[:, None] + theirs.sum(axis=1)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def concept_scores(
    chosen: Sequence[Collection[str]], reference: Sequence[Collection[str]]
) -> tuple[float, float, float]:
    """Precision, recall and F1 of chosen shots by what they show; zeros where either has no shot.

    Args:
        chosen: [P], the concepts of each chosen shot.
        reference: [G], those of the reference's.

    Raises:
        MissingExtra: if SciPy is not installed.
    """
    if not chosen or not reference:
        return 0.0, 0.0, 0.0
    agreement = agreements(chosen, reference)
    rows, columns = require("scipy.optimize", "metrics").linear_sum_assignment(agreement, maximize=True)
    total = float(agreement[rows, columns].sum())
    precision, recall = total / len(chosen), total / len(reference)
    return precision, recall, 2 * precision * recall / (precision + recall) if total else 0.0


def shots_of(mask: np.ndarray, count: int) -> np.ndarray:
    """The shots that a mask of samples chooses, bool [S] of bool [T]: those of which at least half is chosen."""
    return mask.reshape(count, -1).mean(axis=1) >= 0.5


def _concepts(video: SampledVideo) -> Scores:
    shots = video.concepts
    if not shots or not len(video.marks):
        return {}
    chosen, *people = (
        [shots[number] for number in np.flatnonzero(shots_of(mask, len(shots)))]
        for mask in (video.sets[0], *video.marks)
    )
    means = np.mean([concept_scores(chosen, person) for person in people], axis=0)
    return {
        f"concept_{name}": np.array([value, *[np.nan] * (len(video.sets) - 1)])
        for name, value in zip(("precision", "recall", "f1"), means)
    }


_SHOTS = Need("needs the concepts of shots, which no annotation has")


def _metric(name: str, heading: str, about: str) -> Metric:
    return Metric(f"concept_{name}", heading, "V2V", about, (FRAMES, _SHOTS))


CONCEPTS: Family = SampleFamily(
    (
        _metric("precision", "Concept P", "agreement of matched shots' concepts, by the chosen shots"),
        _metric("recall", "Concept R", "the same, by the reference's shots"),
        _metric("f1", "Concept F1", "the harmonic mean of both"),
    ),
    _concepts,
)
