"""Instruct-V2Xum: conversations whose answers cite `<fK>`, the K-th second of a table.

A JSON list of `{"id", "meta": {"duration", "sampled_frames", "token": {"<f0>": second, ...}}, "conversations":
[{"from": "human", "value": "<video>\\nPlease generate ..."}, {"from": "gpt", "value": "\\n[<f0>]A ..."}],
"vsum_onehot": [T]}`. Source: Hua et al. 2024, arXiv 2404.12353.

A video's three tasks may be three entries with one id, several turns of one entry, or only some of them. They are
read into one annotation of one annotator: the sentences are those of the BOTH answer (of the TEXT answer where there
is none); what TEXT and VIDEO say otherwise is kept beside them. An entry that contradicts an earlier one of its id
(another duration, other samples, another answer to the same task), or says the same again, is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.annotations import AnnotatedSentence, Annotation, Spans
from ...core.answers import parse_answer
from ...core.citations import FRAME_TOKEN, PUBLISHED
from ...core.data_sets import CROSS_MODAL_TABLE, DataSet
from ...core.errors import V2XumError
from ...core.readers import (
    Accepted,
    Reader,
    Rejected,
    TimeBounds,
    checked_list,
    checked_object,
    id_of,
    load_list,
    shown,
)
from ...core.tasks import TASKS

NAME = "instruct-v2xum"
HUB_NAME = "hhua2/Instruct-V2Xum"
_TASK_WORD = re.compile(rf"\b({'|'.join(task.upper() for task in TASKS)})\b")

_Answer = tuple[tuple[str, tuple[float, ...]], ...]  # sentences, each with the seconds that it cites


@dataclass
class _Video:
    """What the entries of one id have said so far; None is what they have not said."""

    place: int
    duration_seconds: float
    sampled_frames: int | None
    selection: list[int] | None
    answers: dict[str, _Answer]
    clipped: int


def read(path: Path, tolerance_seconds: float) -> Iterator[Accepted | Rejected]:
    """Read the file; see the module's docstring. Entries that are rejected come first.

    Raises:
        SourceError: if it is no such file.
    """
    videos: dict[str, _Video] = {}
    for place, entry in enumerate(load_list(path, "Instruct-V2Xum entries")):
        try:
            video = _read_entry(entry, place, tolerance_seconds)
            known = videos.setdefault(entry["id"], video)
            if known is not video:
                _add(known, video)
        except V2XumError as error:
            yield Rejected(id_of(entry, "id"), place, str(error))
    for video_id, video in videos.items():
        try:
            yield Accepted(_annotation(video_id, video), video.place, video.clipped)
        except V2XumError as error:
            yield Rejected(video_id, video.place, str(error))


def _read_entry(entry: Any, place: int, tolerance_seconds: float) -> _Video:
    entry = checked_object(entry, "id", "meta", "conversations")
    if not isinstance(entry["id"], str) or not entry["id"].strip():
        raise V2XumError(f"id must be text that is not empty, got {entry['id']!r}")
    meta = checked_object(entry["meta"], "duration")
    bounds = TimeBounds(meta["duration"], tolerance_seconds)
    seconds = checked_object(meta.get("token") or {})
    answers: dict[str, _Answer] = {}
    for task, answer in _rounds(entry["conversations"]):
        if task in answers:
            raise V2XumError(f"two turns ask for {task.upper()}")
        answers[task] = _read_answer(answer, task, seconds, bounds)
    selection = entry.get("vsum_onehot")
    if selection is not None:
        selection = checked_list("vsum_onehot", selection)
    return _Video(place, bounds.duration_seconds, meta.get("sampled_frames"), selection, answers, bounds.moved)


def _rounds(turns: Any) -> Iterator[tuple[str, str]]:
    """The tasks that the human turns ask for, each with the answer."""
    turns = checked_list("conversations", turns)
    for number, turn in enumerate(turns):
        expected = ("human", "gpt")[number % 2]
        turn = checked_object(turn, "from", "value")
        if turn["from"] != expected or not isinstance(turn["value"], str):
            raise V2XumError(f"turn {number} must be text from {expected!r}, got one from {turn['from']!r}")
    if len(turns) % 2:
        raise V2XumError(f"the last of {len(turns)} turns has no answer")
    for number in range(0, len(turns), 2):
        asked = {word.lower() for word in _TASK_WORD.findall(turns[number]["value"])}
        if len(asked) != 1:
            words = ", ".join(task.upper() for task in TASKS)
            raise V2XumError(f"turn {number} must ask for one of {words}, got {shown(turns[number]['value'])}")
        yield asked.pop(), turns[number + 1]["value"]


def _read_answer(answer: str, task: str, seconds: dict[str, Any], bounds: TimeBounds) -> _Answer:
    """The answer's sentences; each `<fK>` is read as a frame of its own, so that none can get lost."""
    name = f"the {task.upper()} answer"
    plain = PUBLISHED.closed_list.search(answer)
    if plain:
        raise V2XumError(f"{name} cites {plain[0]}: expected <fK> with its second in meta.token")
    cited: list[float] = []

    def number_of(match: re.Match) -> str:
        if match[0] not in seconds:
            raise V2XumError(f"{match[0]} has no second in meta.token")
        cited.append(bounds.second(match[0], seconds[match[0]]))
        return str(len(cited) - 1)

    summary = parse_answer(FRAME_TOKEN.sub(number_of, answer), max(answer.count("<f"), 1), task, PUBLISHED)
    frames = [frame for sentence in summary.sentences for frame in sentence.frames]
    if frames != list(range(len(cited))):
        raise V2XumError(f"{name} has <fK> outside of brackets: {shown(answer)}")
    if summary.problems:
        raise V2XumError(f"{name} cannot be read: {'; '.join(summary.problems)}")
    return tuple((one.text, tuple(cited[frame] for frame in one.frames)) for one in summary.sentences)


def _add(known: _Video, more: _Video) -> None:
    """Take over what a further entry of the same id says.

    Raises:
        V2XumError: if the two contradict each other, or the entry has nothing new.
    """
    for name in ("duration_seconds", "sampled_frames", "selection"):
        old, new = getattr(known, name), getattr(more, name)
        if None not in (old, new) and old != new:
            shown = "" if name == "selection" else f": {new}, not {old}"
            raise V2XumError(f"contradicts item {known.place} of the same id in its {name}{shown}")
    for task in known.answers.keys() & more.answers.keys():
        if known.answers[task] != more.answers[task]:
            raise V2XumError(f"gives another {task.upper()} answer than an earlier item of the same id")
    if not more.answers.keys() - known.answers.keys():
        raise V2XumError("duplicate id: an earlier item has the same answers")
    known.answers.update(more.answers)
    known.sampled_frames = more.sampled_frames if known.sampled_frames is None else known.sampled_frames
    known.selection = more.selection if known.selection is None else known.selection
    known.clipped += more.clipped


def _annotation(video_id: str, video: _Video) -> Annotation:
    both, text, clips = (video.answers.get(task) for task in ("both", "text", "video"))
    if both:
        sentences = tuple(AnnotatedSentence(one, None, (_points(seconds),)) for one, seconds in both)
    else:
        sentences = tuple(AnnotatedSentence(one) for one, _ in text or ())
    key_spans: Spans = _points(second for _, seconds in clips or () for second in seconds)
    if set(key_spans) == set(_points(second for _, seconds in both or () for second in seconds)):
        key_spans = ()
    joined = " ".join(one for one, _ in text or ())
    return Annotation(
        video_id,
        video.duration_seconds,
        NAME,
        sentences,
        video.sampled_frames,
        (key_spans,) if key_spans else (),
        joined if both and text and joined != " ".join(one for one, _ in both) else None,
        None if video.selection is None else (tuple(video.selection),),
    )


def _points(seconds: Any) -> Spans:
    return tuple((second, second) for second in seconds)


READER = Reader(
    read,
    "Instruct-V2Xum: its published JSON (training also reads it as it is)",
    "Reads Instruct-V2Xum's published JSON. Training reads that file as it is, too; converting it adds the tasks "
    "that a video's entries leave out, writes either answer form, checks every entry, and gives the annotation form.",
    (
        (f"{HUB_NAME} --out data", "every split that the Hugging Face hub has; frames behind the sentences"),
        ("instruct_v2xum_train.json --out data", "frames behind the sentences, as the released models write"),
        (
            "instruct_v2xum_train.json --out data --form before --strict",
            "frames in front, as published; stops at the first bad entry",
        ),
    ),
    looks=lambda look: look.is_json(list, "id", "meta", "conversations"),
    sign="the id, meta and conversations of its first entry",
    endings=(".json",),
    hub_name=HUB_NAME,
    data_set=DataSet(
        "Instruct-V2Xum: the same, against one annotator", "its published JSON", (NAME,), CROSS_MODAL_TABLE
    ),
)
