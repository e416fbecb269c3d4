"""F_CLIP, Cross-F_CLIP and VT-CLIPScore of embeddings; no model is known here.

Shapes: M reference vectors, K predicted vectors, D their width, A reference sets, B predicted sets.

Vectors need not be of unit length: every cosine is that of the vectors' directions. A vector of zeros has no direction;
its cosine with everything is 0. Where a set is empty (no frames selected, no text) there is nothing to match, and the
score is 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ...core.errors import V2XumError

_LEAST_SQUARE = 1e-200  # of a length, which floats still hold to all digits


def unit_rows(vectors: ArrayLike, name: str = "vectors") -> np.ndarray:
    """Vectors scaled to length 1; zeros stay zeros.

    Args:
        vectors: [M, D]; without rows any shape is taken, such as [] and [0, D].
        name: what they are called in an error.

    Returns:
        float64 [M, D].

    Raises:
        V2XumError: if they are not [M, D], or hold NaN or infinity.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    if len(np.atleast_1d(vectors)) == 0:
        return vectors.reshape(0, vectors.shape[-1])
    if vectors.ndim != 2:
        raise V2XumError(f"{name}: expected one vector a row [M, D], got an array of shape {vectors.shape}")
    squares = np.einsum("md,md->m", vectors, vectors)
    if ((squares > _LEAST_SQUARE) & (squares < 1 / _LEAST_SQUARE)).all():  # as they nearly always are
        return vectors / np.sqrt(squares)[:, None]
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise V2XumError(f"{name}: row {wrong[0]} holds NaN or infinity")
    # first by the largest entry: the squares of the longest and the shortest vectors leave the range of floats
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    scaled = np.divide(vectors, largest, out=np.zeros_like(vectors), where=largest > 0)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.divide(scaled, lengths, out=np.zeros_like(scaled), where=lengths > 0)


def positive_cosines(reference: ArrayLike, predicted: ArrayLike) -> np.ndarray:
    """max(cos, 0) of every reference vector with every predicted one.

    Args:
        reference: [M, D].
        predicted: [K, D].

    Returns:
        float64 [M, K], in 0..1.

    Raises:
        V2XumError: if the widths differ, or an array is not as `unit_rows` takes it.
    """
    reference, predicted = unit_rows(reference, "reference"), unit_rows(predicted, "predicted")
    if len(reference) and len(predicted) and reference.shape[1] != predicted.shape[1]:
        raise V2XumError(
            f"the vectors must be of one width: the reference's have {reference.shape[1]}, "
            f"the predicted ones {predicted.shape[1]}"
        )
    if not len(reference) or not len(predicted):
        return np.zeros((len(reference), len(predicted)))
    return np.clip(reference @ predicted.T, 0, 1)


def f_clip(reference: ArrayLike, predicted: ArrayLike) -> float:
    """How well two sets of embeddings cover each other: F_CLIP (V2Xum-LLM, eq. 1 to 3).

    Recall is the mean over the reference of the nearest predicted vector's max(cos, 0), precision the mean over the
    predicted ones of the nearest reference's; F_CLIP is their harmonic mean. It is the same with the sets exchanged.

    Args:
        reference: [M, D].
        predicted: [K, D].

    Returns:
        0..1; 0 where a set is empty, or no cosine is positive.

    Raises:
        V2XumError: as `positive_cosines`.
    """
    return float(f_clip_of_sets(positive_cosines(reference, predicted))[0, 0])


def f_clip_of_sets(
    cosines: np.ndarray, reference_sets: ArrayLike | None = None, predicted_sets: ArrayLike | None = None
) -> np.ndarray:
    """F_CLIP of many subsets of the same vectors, whose cosines are computed once.

    Args:
        cosines: [M, K], as `positive_cosines` gives them.
        reference_sets: bool [A, M], the rows in each reference set; None is the one set of all.
        predicted_sets: bool [B, K], the columns in each predicted set; None is the one set of all.

    Returns:
        float64 [B, A], each as `f_clip` of the two sets.

    Raises:
        V2XumError: if the sets do not fit the cosines.
    """
    rows, columns = cosines.shape
    reference_sets = _checked_sets("reference", reference_sets, rows)
    predicted_sets = _checked_sets("predicted", predicted_sets, columns)
    recall = _nearest(cosines, predicted_sets) @ _shares(reference_sets).T  # [B, M] @ [M, A]
    precision = _shares(predicted_sets) @ _nearest(cosines.T, reference_sets).T  # [B, K] @ [K, A]
    both = recall + precision
    return np.divide(2 * recall * precision, both, out=np.zeros_like(both), where=both > 0)


def cross_f_clip(
    reference_frames: ArrayLike, predicted_frames: ArrayLike, reference_text: ArrayLike, predicted_text: ArrayLike
) -> float:
    """How well frames and sentences tell of each other: Cross-F_CLIP (V2Xum-LLM, eq. 4).

    The mean of F_CLIP(reference frames, predicted sentences) and F_CLIP(predicted frames, reference sentences).

    Args:
        reference_frames: [M, D], embeddings of the annotator's frames.
        predicted_frames: [K, D].
        reference_text: [M', D], embeddings of the reference's sentences.
        predicted_text: [K', D].

    Returns:
        0..1; an empty set makes the half that it takes part in 0.

    Raises:
        V2XumError: as `positive_cosines`.
    """
    return (f_clip(reference_frames, predicted_text) + f_clip(predicted_frames, reference_text)) / 2


def vt_clipscore(frames: ArrayLike, text: ArrayLike) -> float:
    """VT-CLIPScore: the cosine of the selected frames' mean with the text.

    As VideoXum's `eval_v2vt_sum.py` has it: the mean of the frames' vectors as they come (there the 15 % with the
    highest saliency, at least one), scaled to length 1, times the text's. It is not cut off at 0. Where a batch has a
    text beyond 77 tokens, the script stretches the positions that its text tower learned; here such a text is in parts.

    Args:
        frames: [K, D], of the selected frames.
        text: [D], of the text summary; [M, D] where it is in parts, of which the unit vectors' mean is taken.

    Returns:
        -1..1; 0 where there is no frame or no text.

    Raises:
        V2XumError: if the widths differ, or an array is not as `unit_rows` takes it.
    """
    frames = np.asarray(frames, dtype=np.float64)
    return float(vt_clipscore_of_sets(frames, text, np.ones((1, len(frames)), dtype=bool))[0])


def vt_clipscore_of_sets(frames: ArrayLike, text: ArrayLike, sets: np.ndarray) -> np.ndarray:
    """VT-CLIPScore of many selections of the same frames.

    Args:
        frames: [K, D].
        text: [D] or [M, D], as `vt_clipscore`.
        sets: bool [B, K], the frames in each selection.

    Returns:
        float64 [B], each as `vt_clipscore` of the selected frames.

    Raises:
        V2XumError: as `vt_clipscore`, or if the sets do not fit the frames.
    """
    frames = np.asarray(frames, dtype=np.float64)
    unit_rows(frames, "frames")  # for its checks: the mean is of the vectors as they come
    text = np.asarray(text, dtype=np.float64)
    text = unit_rows(text[None] if text.ndim == 1 and text.size else text, "text")
    sets = _checked_sets("frame", sets, len(frames))
    if not len(frames) or not len(text):
        return np.zeros(len(sets))
    if frames.shape[1] != text.shape[1]:
        widths = f"the frames' have {frames.shape[1]}, the text's {text.shape[1]}"
        raise V2XumError(f"the vectors must be of one width: {widths}")
    return np.clip(unit_rows(_shares(sets) @ frames) @ unit_rows([text.mean(axis=0)])[0], -1, 1)


def _checked_sets(name: str, sets: ArrayLike | None, size: int) -> np.ndarray:
    sets = np.ones((1, size), dtype=bool) if sets is None else np.asarray(sets)
    if sets.ndim != 2 or sets.shape[1] != size or sets.dtype != bool:
        raise V2XumError(
            f"{name} sets: expected booleans of shape [any, {size}], got {sets.dtype} of shape {sets.shape}"
        )
    return sets


def _nearest(cosines: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """[M, K], bool [B, K] -> [B, M], each row's greatest cosine with a column of the set; 0 for an empty set."""
    columns = np.ascontiguousarray(cosines.T)
    nearest = np.zeros((len(sets), len(cosines)))
    for row, chosen in zip(nearest, sets):
        columns[chosen].max(axis=0, initial=0, out=row)
    return nearest


def _shares(sets: np.ndarray) -> np.ndarray:
    """bool [A, M] -> float [A, M], rows that sum to 1; zeros for an empty set."""
    return sets / np.maximum(sets.sum(axis=1, keepdims=True), 1)
