"""Annotations -> entries of instruction JSON, the conversations that training reads.

An entry is `{"id": video_id, "num_frames": N, "conversations": [human, gpt]}`, one for each video and task. Where the
answer is one of several annotators' choice, `"annotator"` tells whose; where its indexes are not those of N frames at
even distances, `"frame_sampling"` tells by which rule they count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...core.annotations import Annotation, Spans
from ...core.answer_forms import FORMS
from ...core.answers import format_answer, parse_answer
from ...core.citations import PLACEHOLDER
from ...core.clock import Clocks
from ...core.errors import V2XumError
from ...core.readers import shown
from ...core.sampling import LINSPACE, SAMPLING_KEY
from ...core.summary import Sentence, Summary
from ...core.tasks import TASKS, query_for
from ...core.timeline import Timeline
from .targets import DEFAULT_RULE, RULES, Target, frames_of, targets_of


class NoAnswer(Exception):
    """A task that a video's annotation has no answer for; the message says why."""


@dataclass(frozen=True)
class AnswerSettings:
    """How answers are made.

    Args:
        tasks: of `tasks.TASKS`, in the order of the entries.
        form: "after" (released models) or "before" (Instruct-V2Xum), see `answer_forms.py`.
        annotators: a rule of `targets.RULES`, or an annotator's number.
        timeline: N and the temporal prompt.
        clocks: of the videos, which tell the index of a second.

    Raises:
        V2XumError: if a task, the form or the rule is unknown.
    """

    tasks: tuple[str, ...] = ("both", "video", "text")
    form: str = "after"
    annotators: str | int = DEFAULT_RULE
    timeline: Timeline = field(default_factory=Timeline)
    clocks: Clocks = field(default_factory=Clocks, compare=False)

    def __post_init__(self) -> None:
        if not self.tasks or set(self.tasks) - set(TASKS):
            raise V2XumError(f"tasks must be of {', '.join(TASKS)}, got {', '.join(self.tasks) or 'none'}")
        if self.annotators not in RULES and type(self.annotators) is not int:
            raise V2XumError(f"annotators must be one of {', '.join(RULES)} or a number, got {self.annotators!r}")
        if self.form not in FORMS:
            raise V2XumError(f"form must be one of {', '.join(FORMS)}, got {self.form!r}")


def entries_of(
    annotation: Annotation, settings: AnswerSettings
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """The entries of one video.

    Returns:
        task -> its entries (several for the rule "all"), and task -> why the annotation has no answer for it.

    Raises:
        V2XumError: if no task has an answer, or an answer would not be read back as what it says: such a video
            cannot be learnt from.
    """
    targets = targets_of(annotation, settings.annotators)
    entries, missing = {}, {}
    for task in settings.tasks:
        try:
            entries[task] = [
                _entry(annotation, task, answer_for(annotation, task, target, settings), target, settings)
                for target in (targets[:1] if task == "text" else targets)
            ]
        except NoAnswer as error:
            missing[task] = str(error)
    if not entries:
        raise V2XumError("; ".join(f"no {task.upper()} answer: {reason}" for task, reason in missing.items()))
    return entries, missing


def answer_for(annotation: Annotation, task: str, target: Target, settings: AnswerSettings) -> str:
    """The answer to a task, in the settings' form; `parse_answer` reads the same sentences and frames from it.

    Raises:
        NoAnswer: if the annotation has none for the task.
        V2XumError: if its text cannot be written so that it reads back.
    """
    timeline = settings.timeline
    summary = summary_for(annotation, task, target, settings)
    placeholder = PLACEHOLDER.search(summary.text)
    if placeholder:
        raise V2XumError(f"the text holds {placeholder[0]}, which stands for something else in a conversation")
    answer = format_answer(summary, settings.form, timeline)
    read = parse_answer(answer, timeline.num_frames, task, timeline.citations)
    if read.problems:
        raise V2XumError(f"the {task.upper()} answer does not read back: {'; '.join(read.problems)}")
    # Sentences of plain prose may be cut elsewhere than captions are (two sentences in one): no frame depends on it.
    same = read.text == summary.text and not read.frames if task == "text" else read == summary
    if not same:
        raise V2XumError(f"the {task.upper()} answer does not read back: {shown(answer)} says something else")
    return answer


def summary_for(annotation: Annotation, task: str, target: Target, settings: AnswerSettings) -> Summary:
    """What the answer to a task says.

    Raises:
        NoAnswer: if the annotation has no text, or no key spans, and the task asks for them.
    """

    def cited(spans: Spans) -> tuple[int, ...]:
        return frames_of(spans, annotation.known_duration, settings.timeline, annotation.video_id, settings.clocks)

    if task == "video":
        if not target.video_spans:
            raise NoAnswer("the annotation marks no part of the video")
        return Summary((Sentence("", cited(target.video_spans)),))
    if not annotation.sentences and annotation.text is None:
        raise NoAnswer("the annotation has no text")
    if task == "text":
        if annotation.text is not None:
            return Summary((Sentence(annotation.text),))
        return Summary(tuple(Sentence(one.text) for one in annotation.sentences))
    if not any(target.sentence_spans):
        raise NoAnswer("no sentence of the annotation has a part of the video marked")
    return Summary(
        tuple(
            Sentence(one.text, cited(spans))
            for one, spans in zip(annotation.sentences, target.sentence_spans, strict=True)
        )
    )


def _entry(
    annotation: Annotation, task: str, answer: str, target: Target, settings: AnswerSettings
) -> dict[str, Any]:
    turns = [
        {"from": "human", "value": query_for(task, separator="\n")},
        {"from": "gpt", "value": answer},
    ]
    entry = {"id": annotation.video_id, "num_frames": settings.timeline.num_frames, "conversations": turns}
    if settings.timeline.rule != LINSPACE:
        entry[SAMPLING_KEY] = settings.timeline.rule
    if task != "text" and target.annotator is not None:
        entry["annotator"] = target.annotator
    return entry
