"""The V2T group: text summaries against the annotated text.

The reference rules:

- "plain": the annotation's text, or its sentences joined by blanks.
- "videoxum": what VideoXum's script scores against (jylins/videoxum): data/activitynet_dataset.py joins the sentences
  with nothing between them, then pre_caption of data/utils.py lower-cases, writes a blank for each of the characters
  . ! " ( ) * # : ; ~ and makes one blank of several. Its limit of words is 100,000 for the validation and the test set
  (data/__init__.py), so nothing is cut. The script does nothing to the predictions beyond the tokenizer of COCO's
  scores, and neither does this.

Shapes: V videos, K additive statistics.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...core.annotations import AnnotatedSentence, Annotation, Span
from ...core.errors import V2XumError
from ..formats.cases import Case
from ..formats.predictions import PredictedSentence, Prediction
from ..formats.spans import span_told
from ..metric_registry import families_of
from ..metrics.captions import caption_measures
from ..metrics.dense import dense_measures
from ..metrics.events import Event
from ..metrics.measures import Measure
from ..metrics.ngrams import TokenFamily
from ..models.bertscores import BertScoreOptions, bertscore_measures

Told = tuple[list[Measure], tuple[str, ...]]  # measures and notes
REFERENCE_RULES = ("plain", "videoxum")
_NOWHERE = (0.0, 0.0)  # a moment, which overlaps nothing
_BY_FRAMES = "from the first index i to the last j of N that they cite, i / N to (j + 1) / N of the video, " \
    "or the seconds of these frames where the rate varies"
_DROPPED = re.compile(r"[.!\"()*#:;~]")


def reference_text(annotation: Annotation, rule: str = "plain") -> str | None:
    """The text that a summary of the video is scored against.

    Args:
        rule: "plain" or "videoxum", see the module's docstring.

    Returns:
        None where the annotation has no text; under "videoxum" it may be "" where nothing but punctuation is left.

    Raises:
        V2XumError: if the rule is neither.
    """
    if rule not in REFERENCE_RULES:
        raise V2XumError(f"the reference rule must be one of {', '.join(REFERENCE_RULES)}, got {rule!r}")
    sentences = [sentence.text for sentence in annotation.sentences]
    if annotation.text is None and not sentences:
        return None
    if rule == "plain":
        return annotation.text if annotation.text is not None else " ".join(text.strip() for text in sentences)
    joined = "".join(sentences) or annotation.text or ""
    return re.sub(r"\s{2,}", " ", _DROPPED.sub(" ", joined.lower())).rstrip("\n").strip(" ")


def _reference_texts(annotation: Annotation, rule: str) -> list[str]:
    """The video's text and those of the alternatives."""
    others = [replace(annotation, text=None, sentences=some) for some in annotation.alternatives]
    texts = [reference_text(one, rule) for one in (annotation, *others)]
    return [text for text in texts if text is not None]


def predicted_text(prediction: Prediction | None) -> str | None:
    """The text summary of a prediction: its text, or its sentences joined by blanks; None where it has neither."""
    if prediction is None:
        return None
    if prediction.text is None and prediction.sentences is not None:
        return " ".join(sentence.text.strip() for sentence in prediction.sentences if sentence.text.strip())
    return prediction.text


def v2t_rows(
    cases: Sequence[Case],
    *,
    reference_rule: str = "plain",
    tokenizer: str = "auto",
    meteor: str | bool = "auto",
    bertscore: BertScoreOptions | None = None,
    dense: bool = False,
    progress: Callable[[Sequence[str]], Iterable[str]] | None = None,
) -> tuple[dict[str, list[Measure]], tuple[str, ...]]:
    """Score the text summaries of V videos.

    A video whose annotation has no text is NaN in every measure. One without a predicted text, or with an empty one,
    is a miss. There is no row of people, because few videos have several texts (which are all references), and none of
    random or uniform frames.

    Args:
        cases: [V].
        reference_rule: "plain" or "videoxum".
        tokenizer, meteor: as in `captions.caption_measures`.
        bertscore: how to score BERTScore; None for not at all.
        dense: whether to score the sentences' times too, where the annotations have them: a predicted sentence's
            seconds, or where it has none, those of the frames that it cites.
        progress: is handed the names of the parts and gives them back one by one, such as `tqdm.tqdm`.

    Returns:
        the rows: "system" alone, with the measures of `captions.caption_measures`, `bertscores.bertscore_measures` and
        `dense.dense_measures`, empty where no prediction or no annotation has text; and the notes.

    Raises:
        V2XumError: for an unknown rule or choice.
        JavaError: if "ptb" or METEOR is asked for and there is no Java, or Java fails.
        MissingExtra: if a package that is needed is not installed.
    """
    wanted = {case.annotation.video_id: _reference_texts(case.annotation, reference_rule) for case in cases}
    references = {video: texts for video, texts in wanted.items() if texts}
    predicted = {case.annotation.video_id: predicted_text(case.prediction) for case in cases}
    reason = _nothing_to_score(references, predicted)
    if reason:
        return {"system": []}, (reason,)
    texts = {video: predicted[video] or "" for video in references}
    notes = [f"reference texts by the rule {reference_rule}", *_left_out(references, cases, predicted)]
    there = np.array([video in references for video in wanted], bool)

    missed = [video for video, text in predicted.items() if text is None]
    how: dict[str, Any] = dict(tokenizer=tokenizer, meteor=meteor, families=families_of(TokenFamily), missed=missed)
    parts: dict[str, Callable[[], Told]] = {
        "captions": lambda: _spread(caption_measures(texts, references, **how), there)
    }
    if bertscore is not None:
        parts["BERTScore"] = lambda: _spread(bertscore_measures(texts, references, bertscore), there)
    if dense:
        parts["dense captions"] = lambda: _dense(cases, tokenizer, meteor)
    measures: list[Measure] = []
    for part in progress(list(parts)) if progress else parts:
        more, said = parts[part]()
        measures += more
        notes += said
    return {"system": measures}, tuple(notes)


def _nothing_to_score(references: dict, predicted: dict) -> str | None:
    if not references:
        return "no annotation has a text summary: V2T is not scored"
    if all(text is None for text in predicted.values()):
        return "no prediction has a text summary: V2T is not scored"
    return None


def _left_out(references: dict, cases: Sequence[Case], predicted: dict) -> list[str]:
    notes = []
    if len(references) < len(predicted):
        notes.append(f"{len(predicted) - len(references)} videos have no annotated text and are not scored in V2T")
    there = [one.annotation.video_id for one in cases if one.prediction is not None]
    silent = sum(video in references and predicted[video] is None for video in there)
    if silent:
        notes.append(f"{silent} of {len(references)} videos are predicted without text and score as misses in V2T")
    return notes


def _spread(scored: Told, there: np.ndarray) -> Told:
    measures, notes = scored
    return [_among_all(measure, there) for measure in measures], notes


def _among_all(measure: Measure, there: np.ndarray) -> Measure:
    """A measure of the videos that have a reference as one of all V, with NaN and no counts for the others."""
    values = np.full(len(there), np.nan)
    values[there] = measure.values
    if measure.statistics is None:
        return replace(measure, values=values)
    statistics = np.zeros((len(there), measure.statistics.shape[1]))
    statistics[there] = measure.statistics
    return replace(measure, values=values, statistics=statistics)


def _dense(cases: Sequence[Case], tokenizer: str, meteor: str | bool) -> Told:
    references = [
        [_events(some) for some in (case.annotation.sentences, *case.annotation.alternatives)] for case in cases
    ]
    if not any(map(any, references)):
        return [], ("no annotation has sentences with seconds: dense captions are not scored",)
    sentences = [_sentences(case.prediction) for case in cases]
    spans = [[_span(one, case) for one in some] for some, case in zip(sentences, cases)]
    told = [(one.start_seconds is not None, span) for some in zip(sentences, spans) for one, span in zip(*some)]
    nowhere = sum(span is None for _, span in told)
    if nowhere == len(told):
        return [], ("no prediction has sentences with seconds or frames: dense captions are not scored",)
    measures, notes = dense_measures(
        [[Event(*(span or _NOWHERE), one.text) for one, span in zip(*some)] for some in zip(sentences, spans)],
        [some[0] for some in references],
        further=[some[1:] for some in references],
        tokenizer=tokenizer,
        meteor=meteor,
        names=[case.annotation.video_id for case in cases],
    )
    by_frames = sum(not timed and span is not None for timed, span in told)
    if by_frames:
        notes += (f"{by_frames} of {len(told)} predicted sentences have no seconds: {_BY_FRAMES}",)
    if nowhere:
        notes += (f"{nowhere} of {len(told)} predicted sentences have neither seconds nor frames and overlap nothing",)
    return measures, notes


def _events(sentences: Iterable[AnnotatedSentence]) -> list[Event]:
    return [Event(*one.segment, one.text) for one in sentences if one.segment is not None]


def _sentences(prediction: Prediction | None) -> tuple[PredictedSentence, ...]:
    return () if prediction is None else prediction.sentences or ()


def _span(sentence: PredictedSentence, case: Case) -> Span | None:
    return None if case.prediction is None else span_told(sentence, case.prediction, case.annotation.duration_seconds)
