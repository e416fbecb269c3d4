"""The scores that training's validation and the evaluators have in common: F1 of sets, ROUGE-L of texts.

Shapes: T samples (or frames) of a video, A and B sets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from .errors import V2XumError

BETA = 1.2  # ROUGE-L's weight of recall, as COCO's evaluation has it
# pycocoevalcap/tokenizer/ptbtokenizer.py; brackets stay in, because -lowerCase writes them as -lrb- before the list
# (which has -LRB-) is asked.
COCO_PUNCTUATION = frozenset("'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;".split())
_PLAIN_PUNCTUATION = COCO_PUNCTUATION | frozenset('"(){}[]\u2018\u2019\u201c\u201d\u201e\u2013\u2014\u2026')
_PLAIN_TOKEN = re.compile(r"\d+(?:[.,]\d+)+|\w+(?:['\u2019-]\w+)*|[^\w\s]")


def set_f1(predicted: np.ndarray, reference: np.ndarray) -> float:
    """F1 of two sets of samples; 0 where they share none, two empty sets included (as scikit-learn's `f1_score`).

    Args:
        predicted, reference: bool [T].

    Raises:
        V2XumError: if they differ in T, or hold other values than 0 and 1.
    """
    return float(f1_table(as_row("predicted", predicted), as_row("reference", reference))[0, 0])


def f1_table(predicted: np.ndarray, references: np.ndarray) -> np.ndarray:
    """F1 of each of B sets with each of A, bool [B, T] and [A, T] -> float [B, A].

    Raises:
        V2XumError: as `set_f1`.
    """
    ours, theirs = as_sets("predicted", predicted), as_sets("references", references)
    if ours.shape[1] != theirs.shape[1]:
        raise V2XumError(f"sets must have the same samples, got {ours.shape[1]} and {theirs.shape[1]}")
    shared = (ours.astype(np.float32) @ theirs.T.astype(np.float32)).astype(float)  # exact: counts below 2 ** 24
    sizes = np.add.outer(ours.sum(axis=1), theirs.sum(axis=1))
    return np.divide(2 * shared, sizes, out=np.zeros(shared.shape), where=sizes > 0)


def plain_tokens(text: str) -> list[str]:
    """The words of a text: lower case, a run of letters and digits each, without COCO's punctuation.

    A word may hold single apostrophes or hyphens (`well-known`, `don't`) and, between digits, points and commas
    (`1,000`); any other character is a token of its own, unless it is punctuation.
    """
    return [token for token in _PLAIN_TOKEN.findall(text.lower()) if token not in _PLAIN_PUNCTUATION]


def rouge_l(hypothesis: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """ROUGE-L (Lin 2004) as pycocoevalcap computes it: beta 1.2, the best precision and recall of any reference.

    Args:
        hypothesis: the tokens of a text; without any it scores 0, against an empty reference too.
        references: those of one or more others.
    """
    if not hypothesis:
        return 0.0
    shared = [_longest_common(one, hypothesis) for one in references]
    precision = max(length / len(hypothesis) for length in shared)
    recall = max(length / max(len(one), 1) for length, one in zip(shared, references))
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    lengths = [0] * (len(second) + 1)
    for token in first:
        above = 0  # of the row before, a place to the left
        for place, other in enumerate(second, 1):
            kept = lengths[place]
            lengths[place] = above + 1 if token == other else max(kept, lengths[place - 1])
            above = kept
    return lengths[-1]


def as_row(name: str, values: np.ndarray) -> np.ndarray:
    """[T] -> [1, T].

    Raises:
        V2XumError: if the values have another number of axes.
    """
    values = np.asarray(values)
    if values.ndim != 1:
        raise V2XumError(f"{name} must have one axis, got an array of shape {values.shape}")
    return values[None]


def as_sets(name: str, values: np.ndarray) -> np.ndarray:
    """bool [A, T] of 0 and 1.

    Raises:
        V2XumError: if the values have another number of axes, or are others.
    """
    values = np.asarray(values)
    if values.ndim != 2:
        raise V2XumError(f"{name} must be [sets, T], got an array of shape {values.shape}")
    if values.dtype != bool:
        if not np.isin(values, (0, 1)).all():
            raise V2XumError(f"{name} must hold 0 and 1 alone")
        values = values.astype(bool)
    return values
