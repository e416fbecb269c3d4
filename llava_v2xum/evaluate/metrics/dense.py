"""Dense captions: sentences with the seconds that they tell of, against the annotated ones.

- Localization and captions at a temporal IoU, as ActivityNet's evaluator has them (Krishna et al. 2017;
  ranjaykrishna/densevid_eval, and its descendant in hanghuacs/V2Xum-LLM, v2xumllm/eval/dvc_eval/eval_dvc.py).
  Every pair of a predicted and an annotated event that overlap by at least the tIoU is one caption with one
  reference; a prediction that overlaps none is a caption without any match. Scores are made within a video (CIDEr's
  document frequencies too, which say little there), then averaged over videos, then over the tIoUs.
  Of several people's annotations all events count as references of a pair, and precision, recall and SODA are those of
  the person that each fits best, as in these evaluators.
- SODA_c (Fujita et al. 2020): the best alignment in time order, each aligned pair earning IoU times METEOR; F1 of the
  sum over the predicted and over the annotated events, averaged over videos.

Two faults of the published evaluators are left out. They drop videos without a prediction, which lifts the figures;
here those score 0. ActivityNet's scores a prediction that overlaps nothing against a random string; here it is one word
that nothing matches, which gives the same figures every time. Until 2019 it was `abc123!@#` instead, several words to
METEOR, which counts them: `dense_meteor_2018` (commit deba7d7; PDVC's evaluate2018.py). SODA's published script hands
METEOR the annotation as the hypothesis and the prediction as the reference: `soda_c` has them the right way round,
`soda_c_script` as it does.

Shapes: V videos, P predicted and R annotated events of a video, K statistics of METEOR.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np

from ...core.errors import V2XumError
from .events import TIOUS, Event, detection_measures, soda_alignment, temporal_iou
from .java import JavaError
from .measures import Measure
from .meteor import choose_meteor, meteor_fails, meteor_scores, meteor_statistics, no_meteor
from .metric import TEXT, Family, Metric
from .ngrams import ORDERS, bleu_measures, cider_measure, rouge_measure
from .tokenizers import choose_tokenizer, tokenize

Pair = tuple[str, str]
UNMATCHED = "zqxjkvwzqxjkvw"  # one word that no text has; the evaluator's random string is one word too
UNMATCHED_2018 = "abc123!@#"  # that of the evaluator until 2019; COCO's tokenizer leaves it as it is
_NOTES = {"soda_c": ("published figures are by the script, which exchanges the two texts: soda_c_script",)}
WITHIN_A_VIDEO = "dense_cider's document frequencies are those of the pairs of one video, as in ActivityNet's evaluator"


@dataclass(frozen=True)
class _Video:
    """A video's events in time order: their IoU [P, R] and their tokenized texts.

    Those of several people follow one another; `cuts` are the places where the next one's begin.
    """

    iou: np.ndarray
    predicted: Sequence[str]
    references: Sequence[str]
    cuts: Sequence[int] = ()

    def pairs(self, tiou: float, unmatched: str = UNMATCHED) -> list[Pair]:
        """The caption of each prediction with the reference of each event that it overlaps, or with none."""
        pairs = []
        for caption, row in zip(self.predicted, self.iou):
            overlapped = [self.references[place] for place in np.flatnonzero(row >= tiou)]
            pairs += [(caption, reference) for reference in overlapped or [unmatched]]
        return pairs

    def every_pair(self) -> list[Pair]:
        """All P x R pairs, the predictions' rows one after another."""
        return [(caption, reference) for caption in self.predicted for reference in self.references]


def dense_measures(
    predicted: Sequence[Sequence[Event]],
    references: Sequence[Sequence[Event]],
    *,
    further: Sequence[Sequence[Sequence[Event]]] | None = None,
    tious: Sequence[float] = TIOUS,
    tokenizer: str = "auto",
    meteor: str | bool = "auto",
    names: Sequence[Any] | None = None,
) -> tuple[list[Measure], tuple[str, ...]]:
    """Dense-caption scores of V videos.

    A video without predicted events scores 0; one without annotated events has nothing to score and is NaN.

    Args:
        predicted: [V][P] events, in any order.
        references: [V][R] events, in any order.
        further: [V][any][any] events of further people; None where there are none.
        tious: the thresholds; a segment counts as found above one, a pair of captions is scored at or above it.
        tokenizer, meteor: as in `captions.caption_measures`.
        names: [V], the videos', for the notes.

    Returns:
        the measures of `events.detection_measures`; dense_bleu_1 .. dense_bleu_4, dense_rouge_l, dense_cider; and with
        METEOR dense_meteor, dense_meteor_2018, soda_c and soda_c_script. And the notes.

    Raises:
        V2XumError: if the two differ in their number of videos, or a tIoU is not above 0 and at most 1.
        JavaError, MissingExtra: as `captions.caption_measures`.
    """
    if len(predicted) != len(references):
        raise V2XumError(f"expected events of as many videos, got {len(predicted)} and {len(references)}")
    if not tious or not all(0 < tiou <= 1 for tiou in tious):
        raise V2XumError(f"expected tIoUs above 0 and at most 1, got {list(tious)}")
    tokenizer, with_meteor = choose_tokenizer(tokenizer), choose_meteor(meteor)
    videos = _videos(predicted, [[one, *some] for one, some in zip(references, further or repeat(()))], tokenizer)
    names = range(len(videos)) if names is None else names
    there = np.array([bool(video.references) for video in videos], bool)
    values, by_meteor, why_not = _ngram_values(videos, tious), {}, no_meteor(meteor)
    if with_meteor:
        try:
            by_meteor = _meteor_values(videos, tious)
        except JavaError as error:
            if meteor is True:
                raise
            why_not = f"METEOR is absent: {error}"
    values |= by_meteor
    measures = detection_measures([video.iou for video in videos], tious, [video.cuts for video in videos])
    measures += [Measure(key, np.where(there, some, np.nan), notes=_NOTES.get(key, ())) for key, some in values.items()]
    notes = [f"dense captions are tokenized by the {tokenizer} tokenizer", WITHIN_A_VIDEO]
    failed = [one for one, score in zip(names, by_meteor.get("soda_c", ())) if np.isnan(score)]
    if not by_meteor:
        notes.append(f"{why_not}, so dense_meteor and SODA are absent too")
    if failed:
        notes.append(f"dense captions and SODA: {meteor_fails(failed, len(videos))}")
    empty = sum(not video.predicted for video in videos if video.references)
    if empty:
        notes.append(f"{empty} of {there.sum()} videos have no predicted events: their dense-caption scores are 0")
    return measures, tuple(notes)


def _videos(
    predicted: Sequence[Sequence[Event]], people: Sequence[Sequence[Sequence[Event]]], tokenizer: str
) -> list[_Video]:
    """Of the predicted events [V][P] and those of each person [V][any][R]."""
    annotated_events = [[one for events in some for one in sorted(events, key=_start)] for some in people]
    sides = [[sorted(events, key=_start) for events in predicted], annotated_events]
    tokens = iter(tokenize([_ascii(one.text) for side in sides for events in side for one in events], tokenizer))
    captions, annotated = ([[next(tokens) for _ in events] for events in side] for side in sides)
    cuts = [np.cumsum([len(events) for events in some[:-1]], dtype=int).tolist() for some in people]
    return [_Video(temporal_iou(*events), *words) for events, words in zip(zip(*sides), zip(captions, annotated, cuts))]


def _start(event: Event) -> float:
    return event.start_seconds


def _ascii(text: str) -> str:
    """A blank for what is not ASCII, as both published evaluators have it."""
    return "".join(character if character.isascii() else " " for character in text)


def _ngram_values(videos: Sequence[_Video], tious: Sequence[float]) -> dict[str, np.ndarray]:
    """Per video [V], the means over the tIoUs."""
    names = [f"dense_bleu_{n}" for n in range(1, ORDERS + 1)] + ["dense_rouge_l", "dense_cider"]
    scores = [np.mean([_ngram_scores(video.pairs(tiou)) for tiou in tious], axis=0) for video in videos]
    return dict(zip(names, np.array(scores).reshape(-1, len(names)).T))


def _ngram_scores(pairs: Sequence[Pair]) -> list[float]:
    captions, references = [caption for caption, _ in pairs], [[reference] for _, reference in pairs]
    if not pairs:
        return [0.0] * (ORDERS + 2)
    measures = [*bleu_measures(captions, references), rouge_measure(captions, references)]
    cider = cider_measure(captions, references)  # a single pair has none, and 0 in the evaluator
    return [*np.nan_to_num([measure.value for measure in measures]), 0.0 if cider is None else cider.value]


def _meteor_values(videos: Sequence[_Video], tious: Sequence[float]) -> dict[str, np.ndarray]:
    """Per video [V]: both METEORs (the mean over the tIoUs) and both SODA_c; NaN where it cannot take a caption."""
    groups = {
        name: [video.pairs(tiou, word) for video in videos for tiou in tious]
        for name, word in (("dense_meteor", UNMATCHED), ("dense_meteor_2018", UNMATCHED_2018))
    }
    table = _Meteor(
        [pair for some in groups.values() for pairs in some for pair in pairs]
        + [way for video in videos for pair in video.every_pair() for way in (pair, pair[::-1])]
    )
    values = {
        **{name: table.of_groups(some).reshape(-1, len(tious)).mean(1) for name, some in groups.items()},
        "soda_c": np.array([_soda(video, table, script=False) for video in videos]),
        "soda_c_script": np.array([_soda(video, table, script=True) for video in videos]),
    }
    fails = [any(table.fails(way) for pair in video.every_pair() for way in (pair, pair[::-1])) for video in videos]
    return {name: np.where(fails, np.nan, scores) for name, scores in values.items()}


def _soda(video: _Video, table: _Meteor, script: bool) -> float:
    if not video.predicted or not video.references:
        return 0.0
    pairs = [pair[::-1] if script else pair for pair in video.every_pair()]
    gains = np.split(video.iou * table.of_pairs(pairs).reshape(video.iou.shape), video.cuts, axis=1)
    # the harmonic mean of gained / P and gained / R; of several people's the greatest
    return max(2 * soda_alignment(some) / sum(some.shape) for some in gains if some.shape[1])


class _Meteor:
    """METEOR of many pairs of a hypothesis and a reference, each scored once, all by one start of Java.

    A reference without words gives 0.
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._places = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
        self._statistics = meteor_statistics([one for one, _ in self._places], [[other] for _, other in self._places])
        self._fails = np.isnan(self._statistics).any(axis=1)
        self._statistics[self._fails] = 0
        self._scores = np.nan_to_num(meteor_scores(self._statistics))

    def fails(self, pair: Pair) -> bool:
        """Whether METEOR cannot take the pair, which has no score then."""
        return bool(self._fails[self._places[pair]])

    def of_pairs(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Each pair's score."""
        return self._scores[[self._places[pair] for pair in pairs]]

    def of_groups(self, groups: Sequence[Sequence[Pair]]) -> np.ndarray:
        """The score of each group's summed statistics; 0 for an empty group."""
        places = [[self._places[pair] for pair in group] for group in groups]
        return np.nan_to_num(meteor_scores(np.array([self._statistics[some].sum(axis=0) for some in places])))


_OF_OVERLAPPING = "of overlapping events, mean over tIoUs"

DENSE = Family(
    (
        *(
            Metric(f"dense_{key}", f"dense {heading}", "V2T", _OF_OVERLAPPING, (TEXT,))
            for key, heading in (
                *((f"bleu_{n}", f"BLEU@{n}") for n in range(1, ORDERS + 1)),
                ("meteor", "METEOR"),
                ("meteor_2018", "METEOR 2018"),
                ("rouge_l", "ROUGE-L"),
                ("cider", "CIDEr"),
            )
        ),
        Metric("soda_c", "SODA_c", "V2T", "dense captions matched in time order", (TEXT,)),
        Metric("soda_c_script", "SODA_c script", "V2T", "the same as its published script computes it", (TEXT,)),
    )
)
