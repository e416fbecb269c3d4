"""Answers as lmms-eval hands them over, scored together, as `python -m llava_v2xum.evaluate` scores predictions."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...core.annotations import read_annotations
from ...core.answers import parse_answer
from ...core.errors import V2XumError
from ...core.timeline import DEFAULT_NUM_FRAMES
from ..formats.cases import Case
from ..formats.predictions import Prediction
from ..metrics.measures import Measure
from .documents import KEYSHOT_SETS, annotation_file

log = logging.getLogger(__name__)

FRAME_METRICS = ("f1", "f1_max", "kendall", "spearman")
TEXT_METRICS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider")
KEYSHOT_METRICS = (
    "keyshot_f1_avg",
    "keyshot_f1_max",
    "kendall_per_annotator",
    "spearman_per_annotator",
    "kendall_summary",
    "spearman_summary",
)


class Answer(NamedTuple):
    """What an aggregation is handed of each document: hashable, and short, because it is logged under every metric."""

    data_set: str
    task: str
    video_id: str
    text: str


def metrics_of(data_set: str, task: str) -> tuple[str, ...]:
    """The metrics of a task, named as the reports of this package name them."""
    if data_set in KEYSHOT_SETS:
        return KEYSHOT_METRICS
    return (FRAME_METRICS if task != "text" else ()) + (TEXT_METRICS if task != "video" else ())


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Answer]:
    """One answer under the name of every metric: all of them are computed over all answers together."""
    answer = Answer(doc["data_set"], doc["task"], doc["video_id"], results[0])
    return dict.fromkeys(metrics_of(doc["data_set"], doc["task"]), answer)


def prediction_of(video_id: str, answer: str, task: str) -> Prediction:
    """Read an answer as a prediction.

    The importance of index i is the share of the answer's citations that are i: what the paper's importance (appendix
    A, the mean of the probabilities p_i over the citations) is when every digit is certain, since lmms-eval hands over
    no probabilities.

    Args:
        task: "text": no frames are taken from the answer; "video": no text.
    """
    record = {"video_id": video_id, "answer": answer, "task": task, "num_frames": DEFAULT_NUM_FRAMES}
    prediction = Prediction.from_record(record)
    if task == "text":
        return prediction
    sentences = parse_answer(answer, DEFAULT_NUM_FRAMES).sentences
    cited = np.array([frame for sentence in sentences for frame in sentence.frames], dtype=int)
    importance = np.bincount(cited, minlength=DEFAULT_NUM_FRAMES) / max(len(cited), 1)
    return replace(prediction, importance=importance)


def aggregate(metric: str, answers: Sequence[Sequence[str]]) -> float:
    """A metric over all answers.

    Args:
        metric: one of `metrics_of` the answers' task.
        answers: `Answer`s, or lists of their fields.

    Returns:
        the figure as this package's reports have it: a fraction, a correlation, or pycocoevalcap's CIDEr. NaN where it
        cannot be computed here (METEOR without Java) or for these answers (CIDEr of one video); the log says so.

    Raises:
        V2XumError: naming the video, if an answer is of none that is annotated.
    """
    figures = _figures(tuple(Answer(*answer) for answer in answers))
    if metric not in figures:
        log.warning("%s cannot be computed here", metric)
        return math.nan
    return figures[metric]


@lru_cache(maxsize=1)  # lmms-eval asks for one metric after another with the same answers
def _figures(answers: tuple[Answer, ...]) -> dict[str, float]:
    """The figures of every metric, by name."""
    from ..groups.v2t import v2t_rows  # here, because they load what indexing the tasks does not need
    from ..groups.v2v import keyshot_rows, v2v_rows

    data_set, task = answers[0].data_set, answers[0].task
    annotations = {one.video_id: one for one in read_annotations(annotation_file(data_set))}
    cases = []
    for answer in answers:
        if answer.video_id not in annotations:
            raise V2XumError(f"{annotation_file(data_set)} has no video {answer.video_id!r}, which was answered about")
        cases.append(Case(annotations[answer.video_id], prediction_of(answer.video_id, answer.text, task)))
    measures: list[Measure] = []
    notes: tuple[str, ...] = ()
    if data_set in KEYSHOT_SETS:
        measures += keyshot_rows(cases, seeds=0)["system"]
    elif task != "text":
        measures += v2v_rows(cases, seeds=0)["system"]
    if task != "video":
        rows, notes = v2t_rows(cases)
        measures += rows["system"]
    measures = [measure for measure in measures if measure.name in metrics_of(data_set, task)]
    for note in dict.fromkeys([*notes, *(note for measure in measures for note in measure.notes)]):
        log.warning("%s", note)
    return {measure.name: measure.value for measure in measures}
