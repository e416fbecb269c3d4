"""The one annotation form that every published data set is read into, in JSON lines.

One line is one video, a JSON object with these keys (A annotators, S sentences, T samples at 1 FPS):

| key | type | what |
| --- | --- | --- |
| `video_id` | text | unique in the file |
| `duration_seconds` | number > 0 | the video's length; null where nobody tells it, of `keyshots` or text alone |
| `source` | text | the data set's format, such as `videoxum` |
| `sampled_frames` | integer or null | T |
| `sentences` | [S] | the text summary, in the published order; may be empty where there are other annotations |
| `sentences[].text` | text | one sentence or caption, as published |
| `sentences[].segment` | [start, end] or null | the part of the video that the sentence tells of, in seconds |
| `sentences[].key_spans` | [A][any][2] | each annotator's key spans for it, in seconds; [] where nobody marked any |
| `alternatives` | [any][S] | what further people said of the video, each in sentences of their own, as `sentences` |
| `key_spans` | [A][any][2] | each annotator's key spans for the video, where they are not those of its sentences |
| `text` | text or null | the text summary, where it is not its sentences joined |
| `selections` | [A][T] of 0 and 1, or null | the samples that each annotator selected |
| `saliency` | [R][T] of numbers, or null | how important each of R people, not those A, found each sample |
| `concepts` | [C][any] of text, or null | what each of C equally long shots shows, which the samples make together |
| `keyshots` | object or null | what TVSum and SumMe say of it, in frames: see `keyshots.py`, also for its own A and T |

A span is closed, 0 <= start <= end <= duration_seconds (where that is told); a single moment has start = end. Keys that
may be null or empty may be left out. A is the same wherever annotators are listed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from .atomic import replacing
from .checks import as_list, check_keys, check_text, checked_numbers, is_number, json_lines
from .errors import V2XumError
from .keyshots import Keyshots
from .summary import canonical_text

Span = tuple[float, float]
Spans = tuple[Span, ...]


@dataclass(frozen=True)
class AnnotatedSentence:
    """One sentence of a text summary and when the video shows it.

    Args:
        text: as published.
        segment: [start, end] in seconds, or None.
        key_spans: [A][any][2], each annotator's key spans in seconds; empty where nobody marked any.
    """

    text: str
    segment: Span | None = None
    key_spans: tuple[Spans, ...] = ()


@dataclass(frozen=True)
class Annotation:
    """One video's annotation; the keys are those of the module's schema.

    Lists are taken as well and kept as tuples.

    Raises:
        V2XumError: naming the field and what it holds, for what the schema does not allow.
    """

    video_id: str
    duration_seconds: float | None
    source: str
    sentences: tuple[AnnotatedSentence, ...] = ()
    sampled_frames: int | None = None
    key_spans: tuple[Spans, ...] = ()
    text: str | None = None
    selections: tuple[tuple[int, ...], ...] | None = None
    keyshots: Keyshots | None = None
    saliency: tuple[tuple[float, ...], ...] | None = None
    alternatives: tuple[tuple[AnnotatedSentence, ...], ...] = ()
    concepts: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        for name in ("video_id", "source"):
            check_text(name, getattr(self, name))
        if self.text is not None:
            check_text("text", self.text)
        keep = object.__setattr__
        if self.duration_seconds is not None:
            if not is_number(self.duration_seconds) or self.duration_seconds <= 0:
                raise V2XumError(f"duration_seconds must be a positive number, got {self.duration_seconds!r}")
            keep(self, "duration_seconds", float(self.duration_seconds))
        elif self.keyshots is None and (self.selections or self.key_spans or not self.sentences):
            raise V2XumError("duration_seconds may be null only where there are keyshots, or sentences alone")
        sentences = enumerate(as_list("sentences", self.sentences))
        keep(self, "sentences", tuple(self._checked(number, one) for number, one in sentences))
        others = enumerate(as_list("alternatives", self.alternatives))
        keep(self, "alternatives", tuple(
            tuple(self._checked(place, one, f"alternative {number}, ") for place, one in enumerate(some))
            for number, some in others
        ))  # fmt: skip
        keep(self, "key_spans", _checked_annotators("key_spans", self.key_spans, self.duration_seconds))
        self._check_selections()
        self._check_saliency()
        self._check_concepts()
        if not self.sentences and not self.key_spans and not self.selections and self.keyshots is None:
            raise V2XumError("expected sentences, key_spans, selections or keyshots, got none of them")
        counts = sorted(self._annotator_counts() - {0})
        if len(counts) > 1:
            raise V2XumError(f"every list of annotators must have the same length, got {counts}")

    @property
    def annotators(self) -> int:
        """A: how many annotators marked key spans or samples; 0 where nobody did. Those of keyshots are their own."""
        return max(self._annotator_counts())

    @property
    def known_duration(self) -> float:
        """`duration_seconds`, which is there wherever spans are.

        Raises:
            V2XumError: if it is null.
        """
        if self.duration_seconds is None:
            raise V2XumError(f"{self.video_id}: times are asked for, and duration_seconds is null")
        return self.duration_seconds

    def to_record(self) -> dict[str, Any]:
        """The JSON object of the module's schema, with every key."""
        record = {name: getattr(self, name) for name in _names(type(self))}
        keyshots = self.keyshots and self.keyshots.to_record()
        others = [[vars(sentence) for sentence in some] for some in self.alternatives]
        for name, value in (("saliency", self.saliency), ("alternatives", others), ("concepts", self.concepts)):
            if value:
                record[name] = value
            else:
                del record[name]
        return {**record, "sentences": [vars(sentence) for sentence in self.sentences], "keyshots": keyshots}

    @classmethod
    def from_record(cls, record: Any) -> Annotation:
        """Read a JSON object of the module's schema.

        Raises:
            V2XumError: naming the key, for what is missing, unknown or not allowed.
        """
        check_keys(record, _names(cls), ("video_id", "duration_seconds", "source"))
        others = enumerate(as_list("alternatives", record.get("alternatives", [])))
        keyshots = record.get("keyshots")
        read = {
            "sentences": _sentences(record.get("sentences", [])),
            "alternatives": tuple(_sentences(some, f"alternative {number}, ") for number, some in others),
            "keyshots": None if keyshots is None else Keyshots.from_record(keyshots),
        }
        return cls(**{**record, **read})

    def _annotator_counts(self) -> set[int]:
        return {len(one.key_spans) for one in self.sentences} | {len(self.key_spans), len(self.selections or ())}

    def _checked(self, number: int, sentence: AnnotatedSentence, of: str = "") -> AnnotatedSentence:
        name = f"{of}sentence {number}"
        check_text(f"{name}: text", sentence.text)
        if not canonical_text(sentence.text):
            raise V2XumError(f"{name}: text holds no words: {sentence.text!r}")
        segment = sentence.segment
        if segment is not None:
            segment = _checked_span(f"{name}: segment", segment, self.duration_seconds)
        spans = _checked_annotators(f"{name}: key_spans", sentence.key_spans, self.duration_seconds)
        return AnnotatedSentence(sentence.text, segment, spans)

    def _check_selections(self) -> None:
        samples = self.sampled_frames
        if samples is not None and (type(samples) is not int or samples < 1):
            raise V2XumError(f"sampled_frames must be a positive integer or null, got {samples!r}")
        if self.selections is None:
            return
        rows = [_one_hot(number, row) for number, row in enumerate(as_list("selections", self.selections))]
        for number, row in enumerate(rows):
            expected = len(rows[0]) if samples is None else samples
            if len(row) != expected:
                raise V2XumError(f"selections[{number}] must have {expected} samples, got {len(row)}")
        if not rows:
            raise V2XumError("selections must have one row an annotator or be null, got []")
        object.__setattr__(self, "selections", tuple(rows))

    def _check_saliency(self) -> None:
        if self.saliency is None:
            return
        if not self.selections:
            raise V2XumError("saliency is of samples, and there are no selections")
        rows = enumerate(as_list("saliency", self.saliency))
        samples = len(self.selections[0])
        object.__setattr__(self, "saliency", tuple(checked_numbers(f"saliency[{n}]", row, samples) for n, row in rows))

    def _check_concepts(self) -> None:
        if self.concepts is None:
            return
        shots = [tuple(as_list(f"concepts[{n}]", one)) for n, one in enumerate(as_list("concepts", self.concepts))]
        for number, shot in enumerate(shots):
            for name in shot:
                check_text(f"concepts[{number}]", name)
        samples = len(self.selections[0]) if self.selections else 0
        if not shots or not samples or samples % len(shots):
            raise V2XumError(f"concepts must be of shots that the {samples} selected or other samples make together, "
                f"got {len(shots)}")  # fmt: skip
        object.__setattr__(self, "concepts", tuple(shots))


def write_annotations(path: str | os.PathLike[str], annotations: Iterable[Annotation]) -> int:
    """Write annotations as JSON lines, all or nothing; returns how many."""
    count = 0
    with replacing(path) as part, open(part, "w", encoding="utf-8") as file:
        for annotation in annotations:
            file.write(annotation_line(annotation))
            count += 1
    return count


def annotation_line(annotation: Annotation) -> str:
    """One line of the file, with its line break."""
    return json.dumps(annotation.to_record(), ensure_ascii=False, separators=(",", ":")) + "\n"


def read_annotations(path: str | os.PathLike[str]) -> Iterator[Annotation]:
    """Read annotations one by one, checking each; blank lines are passed over.

    Raises:
        V2XumError: naming the file, line and video, for a line that the schema does not allow or a video_id that
            came before.
        OSError: if the file cannot be read.
    """
    seen: dict[str, int] = {}
    for number, where, record in json_lines(path):
        try:
            annotation = Annotation.from_record(record)
        except V2XumError as error:
            raise V2XumError(f"{where}: {error}") from error
        first = seen.setdefault(annotation.video_id, number)
        if first != number:
            raise V2XumError(f"{where}: line {first} annotates the same video")
        yield annotation


def _names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


def _sentences(records: Any, of: str = "") -> tuple[AnnotatedSentence, ...]:
    records = as_list(f"{of}sentences", records)
    for number, record in enumerate(records):
        check_keys(record, _names(AnnotatedSentence), ("text",), f"{of}sentence {number}: ")
    return tuple(AnnotatedSentence(**record) for record in records)


def _checked_annotators(name: str, annotators: Any, duration: float | None) -> tuple[Spans, ...]:
    return tuple(
        tuple(
            _checked_span(f"{name}[{person}][{number}]", span, duration)
            for number, span in enumerate(as_list(f"{name}[{person}]", spans))
        )
        for person, spans in enumerate(as_list(name, annotators))
    )


def _checked_span(name: str, span: Any, duration: float | None) -> Span:
    if not isinstance(span, (list, tuple)) or len(span) != 2 or not all(map(is_number, span)):
        raise V2XumError(f"{name} must be [start, end] in seconds, got {span!r}")
    start, end = map(float, span)
    if not 0 <= start <= end or (duration is not None and end > duration):
        limit = "" if duration is None else f" <= {duration} (the duration)"
        raise V2XumError(f"{name} must have 0 <= start <= end{limit}, got {[start, end]}")
    return start, end


def _one_hot(number: int, row: Any) -> tuple[int, ...]:
    row = as_list(f"selections[{number}]", row)
    try:
        wrong = set(row) - {0, 1}
    except TypeError:  # a list in the row
        wrong = {"a list or an object"}
    if wrong:
        raise V2XumError(f"selections[{number}] must hold 0 and 1 alone, got {sorted(map(str, wrong))[:3]}")
    return tuple(map(int, row))
