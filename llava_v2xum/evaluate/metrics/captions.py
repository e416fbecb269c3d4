"""The caption scores of text summaries, as COCO's evaluation has them: BLEU, METEOR, ROUGE-L and CIDEr.

With Java the figures equal those of pycocoevalcap's COCOEvalCap (PTB tokenizer, METEOR 1.5). Without it BLEU, ROUGE-L
and CIDEr are computed on the tokens of a plain tokenizer and METEOR is absent; the notes say so.

An empty prediction scores 0 in every metric and counts in the lengths that BLEU and METEOR sum: it is a miss.

Shapes: V videos.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ...core.checks import check_unicode, first_few
from ...core.errors import V2XumError
from .java import JavaError
from .measures import Measure
from .meteor import METEOR, choose_meteor, meteor_fails, no_meteor
from .ngrams import BLEU, CIDER, ROUGE_L, TokenFamily
from .tokenizers import TOKENIZER_CHOICES, choose_tokenizer, tokenize

__all__ = ["COCO", "TOKENIZER_CHOICES", "caption_measures", "caption_scores", "token_measures"]
COCO: tuple[TokenFamily, ...] = (BLEU, METEOR, ROUGE_L, CIDER)
_NOTES = {
    "ptb": "text is tokenized by Stanford's PTB tokenizer with COCO's options and punctuation list",
    "plain": "text is tokenized by this project's plain tokenizer, not PTB: figures differ from COCO's",
}
NO_CIDER = "CIDEr is absent: it is undefined for one video and for references without words"


def caption_scores(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    tokenizer: str = "auto",
    meteor: str | bool = "auto",
) -> dict[str, float]:
    """BLEU-1 to 4, METEOR, ROUGE-L and CIDEr of predicted texts; see `caption_measures`, which takes the same.

    Returns:
        the figures by name: bleu_1 .. bleu_4, meteor, rouge_l, cider, as fractions (CIDEr is ten times a fraction).
        meteor is not among them without Java, cider not where it is undefined.
    """
    measures, _ = caption_measures(predictions, references, tokenizer=tokenizer, meteor=meteor)
    return {measure.name: measure.value for measure in measures}


def caption_measures(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    tokenizer: str = "auto",
    meteor: str | bool = "auto",
    families: Sequence[TokenFamily] = COCO,
    missed: Collection[str] = (),
) -> tuple[list[Measure], tuple[str, ...]]:
    """The caption scores with what an interval or a test needs, and what a reader must know about them.

    Args:
        predictions: [V] texts by id, without citations.
        references: by the same ids, each with at least one text; their order is the order of the videos.
        tokenizer: "ptb" (COCO's, needs Java), "plain", or "auto": the first where there is Java.
        meteor: True, False, or "auto": where there is Java.
        families: what is scored.
        missed: the ids whose text is empty because there is none, which others count.

    Returns:
        measures in the order bleu_1 .. bleu_4, meteor, rouge_l, cider, without those that are absent; and the notes:
        the tokenizer, what is absent and why, how many predictions are empty.

    Raises:
        V2XumError: if the ids differ, an id has no reference, a text is no valid Unicode, or there is no video.
        JavaError: if "ptb" or METEOR is asked for and there is no Java, or Java fails in what is asked for.
        MissingExtra: if pycocoevalcap is not installed.
    """
    _check(predictions, references)
    tokenizer, with_meteor = choose_tokenizer(tokenizer), choose_meteor(meteor)
    texts = [predictions[video] for video in references]
    counts = [len(several) for several in references.values()]
    tokens = tokenize(texts + [text for several in references.values() for text in several], tokenizer)
    hypotheses, rest = tokens[: len(texts)], iter(tokens[len(texts) :])
    tokenized = [[next(rest) for _ in range(count)] for count in counts]
    notes = [_NOTES[tokenizer]]
    try:
        measures = token_measures(hypotheses, tokenized, with_meteor, families)
    except JavaError as error:
        if meteor is True:
            raise
        measures = token_measures(hypotheses, tokenized, False, families)
        notes.append(f"METEOR is absent: {error}")
    failed = [
        video
        for measure in measures
        for video, value in zip(references, measure.values)
        if measure.name == "meteor" and np.isnan(value)
    ]
    if failed:
        notes.append(meteor_fails(failed, len(references)))
    if not with_meteor:
        notes.append(no_meteor(meteor))
    if not any(measure.name == "cider" for measure in measures):
        notes.append(NO_CIDER)
    empty = sum(not text and video not in missed for video, text in zip(references, hypotheses))
    if empty:
        notes.append(f"{empty} of {len(hypotheses)} predicted texts hold no words and score 0")
    return measures, tuple(notes)


def token_measures(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    meteor: bool,
    families: Sequence[TokenFamily] = COCO,
) -> list[Measure]:
    """The caption scores of texts that are tokenized already.

    Args:
        hypotheses: [V], tokens joined by single blanks.
        references: [V][at least one], the same.
        meteor: whether to score METEOR, where it is among the families.

    Raises:
        JavaError: if METEOR fails.
        MissingExtra: if pycocoevalcap is not installed.
    """
    scored = [family for family in families if meteor or family is not METEOR]
    return [measure for family in scored for measure in family.score(hypotheses, references)]


def _check(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    apart = {
        "predictions without a reference": predictions.keys() - references.keys(),
        "references without a prediction": references.keys() - predictions.keys(),
        "ids with an empty list of references": {video for video, several in references.items() if not len(several)},
    }
    for what, ids in apart.items():
        if ids:
            raise V2XumError(f"{len(ids)} {what}: {first_few(sorted(ids, key=str))}")
    if not references:
        raise V2XumError("expected at least one video, got none")
    for video, several in references.items():
        if isinstance(several, str):
            raise V2XumError(f"the references of {video!r} must be a list of texts, got one text")
        for text in (predictions[video], *several):
            _check_text(video, text)


def _check_text(video: str, text: str) -> None:
    if not isinstance(text, str):
        raise V2XumError(f"{video!r}: expected text, got {text!r}")
    check_unicode(repr(video), text)
