"""The one prediction form, in JSON lines: what a system says of a video.

One line is one video, a JSON object with these keys (N frames that the system chose from, S sentences):

| key | type | what |
| --- | --- | --- |
| `video_id` | text | as the annotations have it |
| `num_frames` | integer > 0 | N; may be left out where `importance` is there, or the caller gives it |
| `frames` | list of integers, or null | the selected indexes of 0..N-1 |
| `importance` | [N] of numbers, or null | the importance of every index |
| `text` | text or null | the text summary; where `sentences` are there, may be left out: they are joined |
| `sentences` | [S], or null | the text summary in sentences |
| `sentences[].text` | text | may be empty |
| `sentences[].frames` | list of integers | the indexes that the sentence cites |
| `sentences[].start_seconds`, `.end_seconds` | number >= 0, or null | the part of the video that it tells of |
| `clock` | `prompts` (default) or `samples` | index i is temporal prompt i of N, or the annotation's own sample i |

Null, or a key that is left out, means that the system says nothing of that kind; an empty list or text is an empty
answer, and scores as one. Citations such as `[05, 06]` are taken out of every text.

A line of `summaries.jsonl`, which `python -m llava_v2xum.infer` writes (`render.make_record`), is such an object, and
its further keys are known: its `task` says what it speaks of (a VIDEO answer has no text, a TEXT answer no frames).
Any other key is an error, because a slip in a name would score as a miss.

A raw answer is read too: an object with `video_id` and `answer`, the text that a model generated, and none of `frames`,
`importance`, `text` and `sentences`; `answers.parse_answer` reads it. `task` and `num_frames` (100 where nobody gives
it, as the released models have it) may stand beside it; what else stands there is not read.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.atomic import replacing
from ...core.checks import as_list, check_prose, check_text, checked_numbers, is_frame, is_number, json_lines
from ...core.errors import V2XumError
from .prediction_records import OF_FRAMES, OF_TEXT, content_of

logger = logging.getLogger(__name__)

CLOCKS = ("prompts", "samples")
SUMMARIES = "summaries.jsonl"  # what infer writes


@dataclass(frozen=True)
class PredictedSentence:
    """One sentence of a predicted text summary.

    Args:
        text: without citations; may be empty.
        frames: the cited indexes, ascending, each once.
        start_seconds, end_seconds: the part of the video that it tells of; both or neither.
    """

    text: str
    frames: tuple[int, ...] = ()
    start_seconds: float | None = None
    end_seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a system says of one video; None is what it says nothing of, empty is an empty answer.

    Indexes are taken in any order and kept ascending, each once.

    Args:
        num_frames: N, how many frames the system chose from.
        frames: the selected indexes.
        importance: float [N].
        text: the text summary, without citations.
        sentences: the same in sentences.
        clock: "prompts": index i is the temporal prompt i of N; "samples": index i is the annotation's own sample i
            (a frame at 1 FPS, or a pick), and N must equal the number of samples.

    Raises:
        V2XumError: naming the field and what it holds, for what the module's schema does not allow.
    """

    video_id: str
    num_frames: int
    frames: tuple[int, ...] | None = None
    importance: np.ndarray | None = None
    text: str | None = None
    sentences: tuple[PredictedSentence, ...] | None = None
    clock: str = "prompts"

    def __post_init__(self) -> None:
        check_text("video_id", self.video_id)
        count = self.num_frames
        if type(count) is not int or not 0 < count < 2**31:
            raise V2XumError(f"num_frames must be a positive integer, got {count!r}")
        if self.clock not in CLOCKS:
            raise V2XumError(f"clock must be one of {', '.join(CLOCKS)}, got {self.clock!r}")
        keep = object.__setattr__
        if self.frames is not None:
            keep(self, "frames", _checked_frames("frames", self.frames, count))
        if self.importance is not None:
            values = self.importance.tolist() if isinstance(self.importance, np.ndarray) else self.importance
            importance = np.array(checked_numbers("importance", values, count))
            importance.setflags(write=False)
            keep(self, "importance", importance)
        if self.text is not None:
            check_prose("text", self.text)
        if self.sentences is not None:
            sentences = enumerate(as_list("sentences", self.sentences))
            keep(self, "sentences", tuple(_checked_sentence(f"sentences[{n}]", one, count) for n, one in sentences))

    def check_samples(self, count: int) -> None:
        """Check that it has so many indexes, if those are the annotation's own samples.

        Raises:
            V2XumError: naming the video.
        """
        if self.clock == "samples" and self.num_frames != count:
            raise V2XumError(
                f"video {self.video_id!r}: a prediction on the clock of the samples must have {count} of them, "
                f"got {self.num_frames}; if they are of temporal prompts, say the clock prompts"
            )

    def to_record(self) -> dict[str, Any]:
        """The JSON object of the module's schema, with every key."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            **record,
            "importance": None if self.importance is None else self.importance.tolist(),
            "sentences": None if self.sentences is None else [asdict(sentence) for sentence in self.sentences],
        }

    @classmethod
    def from_record(cls, record: Any, num_frames: int | None = None) -> Prediction:
        """Read a JSON object of the module's schema, a line of `summaries.jsonl`, or a raw answer.

        Args:
            num_frames: N, where the object does not say it.

        Raises:
            V2XumError: naming the key, for what is missing, unknown or not allowed.
        """
        content = content_of(record, num_frames)
        if content["sentences"] is not None:
            content["sentences"] = tuple(PredictedSentence(**sentence) for sentence in content["sentences"])
        return cls(**content)


def read_predictions(path: str | os.PathLike[str], num_frames: int | None = None) -> dict[str, Prediction]:
    """Read a prediction file; blank lines are passed over.

    In a `summaries.jsonl` the later of two lines of one video counts, because infer appends when a video is done again;
    how many were replaced is logged. In any other file a second line of a video is an error.

    Args:
        num_frames: N, for lines that do not say it.

    Returns:
        the predictions by video id, in the order of the file.

    Raises:
        V2XumError: naming the file, line and video, for a line that the schema does not allow or a video that came
            before; or if the file has no line at all.
        OSError: if the file cannot be read.
    """
    lines: dict[str, int] = {}
    predictions: dict[str, Prediction] = {}
    replaced = 0
    for number, where, record in json_lines(path):
        try:
            prediction = Prediction.from_record(record, num_frames)
        except V2XumError as error:
            raise V2XumError(f"{where}: {error}") from error
        first = lines.setdefault(prediction.video_id, number)
        if first != number:
            if Path(path).name != SUMMARIES:
                raise V2XumError(f"{where}: line {first} predicts the same video")
            replaced += 1
        predictions[prediction.video_id] = prediction
    if not predictions:
        raise V2XumError(f"{Path(path)}: expected one prediction a line, got an empty file")
    if replaced:
        logger.warning("%s: %d lines were replaced by later ones of the same video", path, replaced)
    return predictions


def write_predictions(path: str | os.PathLike[str], predictions: Iterable[Prediction]) -> int:
    """Write predictions as JSON lines, all or nothing; returns how many."""
    count = 0
    with replacing(path) as part, open(part, "w", encoding="utf-8") as file:
        for prediction in predictions:
            file.write(json.dumps(prediction.to_record(), ensure_ascii=False, separators=(",", ":")) + "\n")
            count += 1
    return count


def merge_predictions(files: Sequence[Mapping[str, Prediction]]) -> dict[str, Prediction]:
    """Bring the predictions of several files together, such as of a VIDEO, a TEXT and a BOTH run.

    For each video, frames and importance come from the first file that has either, text and sentences from the first
    that has either.

    Raises:
        V2XumError: naming the video, if its frames and the frames that its sentences cite are of different N or clock.
    """
    video_ids = dict.fromkeys(video_id for file in files for video_id in file)
    return {one: _merged([file[one] for file in files if one in file]) for one in video_ids}


def _merged(predictions: Sequence[Prediction]) -> Prediction:
    def first(names: tuple[str, ...]) -> Prediction | None:
        return next((one for one in predictions if any(getattr(one, name) is not None for name in names)), None)

    shown, told = first(OF_FRAMES), first(OF_TEXT)
    if shown is None or told is None or shown is told:
        return shown or told or predictions[0]
    scales = {(one.num_frames, one.clock) for one in (shown, told)}
    if len(scales) > 1 and any(sentence.frames for sentence in told.sentences or ()):
        raise V2XumError(f"video {shown.video_id!r}: its frames and its sentences' are of different N or clock: "
            f"{' and '.join(f'{count} {clock}' for count, clock in sorted(scales))}")  # fmt: skip
    return replace(shown, text=told.text, sentences=told.sentences)


def _checked_frames(name: str, frames: Any, count: int) -> tuple[int, ...]:
    frames = as_list(name, frames)
    wrong = [frame for frame in frames if not is_frame(frame, count)]
    if wrong:
        raise V2XumError(f"{name} must be indexes in 0..{count - 1}, got {wrong[0]!r}")
    return tuple(sorted(set(frames)))


def _checked_sentence(name: str, sentence: PredictedSentence, count: int) -> PredictedSentence:
    check_prose(f"{name}.text", sentence.text)
    frames = _checked_frames(f"{name}.frames", sentence.frames, count)
    start, end = sentence.start_seconds, sentence.end_seconds
    if start is None and end is None:
        return PredictedSentence(sentence.text, frames)
    if not is_number(start) or not is_number(end) or not 0 <= start <= end:
        raise V2XumError(f"{name} must have 0 <= start_seconds <= end_seconds, or null for both, got {[start, end]}")
    return PredictedSentence(sentence.text, frames, float(start), float(end))
