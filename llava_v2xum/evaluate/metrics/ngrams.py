"""BLEU and CIDEr by pycocoevalcap's scorers and ROUGE-L, as measures with what a bootstrap needs.

All take tokenized text: tokens joined by single blanks. They need no Java.

Shapes: V videos, B sums; BLEU's K = 10 statistics: matched n-grams (4), n-grams (4), words, words of the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...core.extras import require
from ...core.scores import rouge_l
from .measures import Measure
from .metric import TEXT, Family, Metric

ORDERS = 4
_SMALL, _TINY = 1e-9, 1e-15  # pycocoevalcap/bleu/bleu_scorer.py: against division by zero
FIXED_IDF = "CIDEr's document frequencies are those of all videos; the interval's resamples keep them"


@dataclass(frozen=True)
class TokenFamily(Family):
    """Metrics of tokenized text.

    Args:
        score: hypotheses [V] and references [V][at least one], tokens joined by single blanks -> the measures; none
            where they are undefined.
    """

    score: Callable[[Sequence[str], Sequence[Sequence[str]]], list[Measure]]


def bleu_measures(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[Measure]:
    """BLEU-1 to BLEU-4 of a corpus (Papineni et al. 2002), with the closest reference length as COCO has it.

    Args:
        hypotheses: [V], tokenized; an empty one scores 0 and counts in the brevity penalty.
        references: [V][at least one], tokenized.

    Raises:
        MissingExtra: if pycocoevalcap is not installed.
    """
    scorer = require("pycocoevalcap.bleu.bleu_scorer", "metrics").BleuScorer(n=ORDERS)
    for hypothesis, several in zip(hypotheses, references):
        scorer += (hypothesis, list(several))
    _, values = scorer.compute_score(option="closest", verbose=0)
    statistics = np.array([_bleu_statistics(counts) for counts in scorer.ctest], float).reshape(-1, 2 * ORDERS + 2)
    return [
        Measure(f"bleu_{n}", np.array(values[n - 1], float), statistics, partial(bleu_of_sums, n=n))
        for n in range(1, ORDERS + 1)
    ]


def bleu_of_sums(sums: np.ndarray, n: int) -> np.ndarray:
    """BLEU-n of sums of statistics, the formula of COCO's scorer.

    Args:
        sums: float [B, K].

    Returns:
        float [B]; NaN where the references have no words.
    """
    matched, all_ngrams = sums[:, :n] + _TINY, sums[:, ORDERS : ORDERS + n] + _SMALL
    words, reference_words = sums[:, 2 * ORDERS] + _TINY, sums[:, 2 * ORDERS + 1] + _SMALL
    brevity = np.exp(np.minimum(0.0, 1 - reference_words / words))
    scores = np.prod(matched / all_ngrams, axis=1) ** (1 / n) * brevity
    return np.where(sums[:, 2 * ORDERS + 1] > 0, scores, np.nan)


def rouge_measure(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Measure:
    """ROUGE-L (Lin 2004) with COCO's beta of 1.2; the figure is the mean over videos.

    An empty hypothesis scores 0, against an empty reference too, where pycocoevalcap gives 1.

    Args: as `bleu_measures`.
    """
    scored = zip(hypotheses, references)
    values = [rouge_l(one.split(), [other.split() for other in several]) for one, several in scored]
    return Measure("rouge_l", np.array(values, float))


def cider_measure(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Measure | None:
    """CIDEr (Vedantam et al. 2015; COCO's CIDEr-D with its clipping, times 10); the figure is the mean over videos.

    Returns:
        None where it is undefined: every n-gram's weight is log(V / videos that have it), so one video alone has
        weights of 0, and references without any word have none.

    Args, Raises: as `bleu_measures`.
    """
    scorer = require("pycocoevalcap.cider.cider_scorer", "metrics").CiderScorer()
    if len(hypotheses) < 2 or not any(one for several in references for one in several):
        return None
    for hypothesis, several in zip(hypotheses, references):
        scorer += (hypothesis, list(several))
    _, values = scorer.compute_score()
    return Measure("cider", np.array(values, float), notes=(FIXED_IDF,))


def _cider_measures(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[Measure]:
    measure = cider_measure(hypotheses, references)
    return [] if measure is None else [measure]


def _bleu_statistics(counts: dict) -> list[float]:
    words = counts["testlen"]
    closest = min((abs(length - words), length) for length in counts["reflen"])[1]
    return [*counts["correct"], *counts["guess"], words, closest]


BLEU = TokenFamily(
    tuple(
        Metric(f"bleu_{n}", f"BLEU@{n}", "V2T", f"up to {n}-grams, summed over the videos", (TEXT,))
        for n in range(1, ORDERS + 1)
    ),
    bleu_measures,
)
ROUGE_L = TokenFamily(
    (Metric("rouge_l", "ROUGE-L", "V2T", "longest common subsequence", (TEXT,)),),
    lambda hypotheses, references: [rouge_measure(hypotheses, references)],
)
CIDER = TokenFamily((Metric("cider", "CIDEr", "V2T", "tf-idf weighted n-grams", (TEXT,)),), _cider_measures)
