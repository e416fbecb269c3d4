"""Extract without a service: the captions that tell the whole video, by maximal marginal relevance.

    captions, one a second -> how alike any two are -> the frames whose captions tell most and repeat least

Maximal marginal relevance (Carbonell & Goldstein 1998) takes, one after the other, the caption of the highest

    balance * (cosine with the document's centroid) - (1 - balance) * (likeness to the nearest caption taken so far)

Captions at 1 FPS are long runs of nearly the same sentence. That is why no library of lexical centrality is used:
LexRank (looked at: sumy 0.13, of 2026 and alive; lexrank 0.1, of 2018) gives the captions of the longest run the
highest ranks and has no term against repeating, so of 50 frames that it chose from 306 s of such captions 46 were of
one scene, in runs of neighbours; sumy's sentences go through NLTK data that is downloaded when it runs, and 940
captions took 6 s (here 0.2 s). So the vectors are scikit-learn's, which is well kept, and the choice is the few lines
of `choose`, with two additions for captions:

- A caption near in time to a taken one counts as more alike to it: by `SPREAD` at no distance, by half of that at the
  mean distance of the frames asked for, and so on. So what is taken from a long scene is spread over it.
- It ends early, where each caption left has (nearly) the words of one that is taken.

Shapes: T captions, M different ones among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...core.endpoint.outcomes import Stop
from ...core.endpoint.store import Ledger
from ...core.errors import V2XumError
from ..store.stage import Source
from .command_stage import CommandStage
from .loaded import name_of
from .sentence_vectors import SentenceEncoder, likeness_of_words

FRACTION = 0.1639  # paper, table of Instruct-V2Xum: the mean compression ratio
# Our choice, tried on captions at 1 FPS made of ActivityNet's references, reworded at random, 60 videos: with 0.3 (what
# Carbonell & Goldstein give for seeing all there is) 99 % of what happens is among the captions taken, with 0.5 95 %;
# and with a spread of 0.5 instead of 0 the second that is farthest from any taken one is 1.2 instead of 3.1 mean
# distances away, at no cost in what is covered.
BALANCE = 0.3
SPREAD = 0.5
SAME_WORDS = 0.95  # our choice: a cosine of TF-IDF that a sentence of 20 words keeps when one of them changes
_DECIMALS = 6  # scores that are equal to here tie: their last digits hang on the machine


def choose(likeness: np.ndarray, same: np.ndarray, count: int) -> list[int]:
    """The captions that maximal marginal relevance takes, in time order.

    Args:
        likeness: [T, T] cosines.
        same: bool [T, T], which captions need not be taken both.
        count: how many at most, at least 1.

    Returns:
        between 1 and `count` numbers of captions, ascending; of those that score the same, the earliest was taken.
    """
    total = len(likeness)
    seconds = np.arange(total)
    # the centroid is the mean vector c, so cos(v_i, c) is the mean of row i over |c|, and |c|^2 the mean of all
    relevance = likeness.mean(axis=1) / np.sqrt(max(likeness.mean(), 1e-12))
    redundancy, left = np.zeros(total), np.ones(total, bool)
    chosen: list[int] = []
    while len(chosen) < count and left.any():
        scores = np.round(BALANCE * relevance - (1 - BALANCE) * redundancy, _DECIMALS)
        taken = int(np.argmax(np.where(left, scores, -np.inf)))
        near = 1 / (1 + np.abs(seconds - taken) * count / total)
        redundancy = np.maximum(redundancy, likeness[taken] + SPREAD * near)
        left &= ~same[taken]
        left[taken] = False
        chosen.append(taken)
    return sorted(chosen)


def extract(captions: Sequence[str], fraction: float = FRACTION, encoder: SentenceEncoder | None = None) -> list[int]:
    """The captions that tell a whole video.

    Args:
        captions: [T], one a second.
        fraction: of the T captions, how many are taken at most: max(1, round(fraction * T)).
        encoder: what compares captions; None for their words. Whether two have the same words is asked in any case,
            because two encoders' cosines do not compare.

    Returns:
        their numbers, ascending.

    Raises:
        Stop: if the encoder cannot be loaded.
        MissingExtra: if scikit-learn is not installed.
    """
    texts, of, times = np.unique(np.array(captions, dtype=object), return_inverse=True, return_counts=True)
    by_words = likeness_of_words(texts.tolist(), times.tolist())
    likeness = by_words if encoder is None else encoder.likeness(texts.tolist())
    everywhere = np.ix_(of, of)
    return choose(likeness[everywhere], by_words[everywhere] >= SAME_WORDS, max(1, round(fraction * len(captions))))


class ExtractiveStage(CommandStage):
    """Chooses captions without a service.

    Args:
        fraction: of a video's captions, how many are taken at most; over 0, up to 1.
        encoder: a text encoder's name or folder, or "shapes"; None compares captions by their words.
        device: of the encoder; None for CUDA where there is one, else the CPU.
    """

    name = "extract"
    recorded = ("fraction", "context_tokens", "thinking_tokens")  # as with an endpoint: sets are compared by them

    def __init__(self, fraction: float = FRACTION, encoder: str | None = None, device: str | None = None) -> None:
        self.fraction = fraction
        self.encoder = None if encoder is None else SentenceEncoder(encoder, device)
        self.model_name = "similarity of words" if encoder is None else name_of(encoder)

    def settings(self) -> dict[str, Any]:
        """All that the choice depends on.

        Raises:
            Stop: if the encoder's folder cannot be read.
        """
        try:
            compared_by = "words" if self.encoder is None else self.encoder.identity()
        except (OSError, V2XumError) as error:
            raise Stop(f"--extract-encoder: {error}") from error
        return {
            "method": "maximal marginal relevance", "compared_by": compared_by, "fraction": self.fraction,
            "balance": BALANCE, "spread": SPREAD, "same_words": SAME_WORDS,
        }  # fmt: skip

    def work(self, source: Source, before: Mapping[str, Any], ledger: Ledger) -> dict[str, Any]:
        """`frames`: those whose captions were taken, ascending, at least one."""
        return {"frames": extract(before["caption"]["captions"], self.fraction, self.encoder)}
