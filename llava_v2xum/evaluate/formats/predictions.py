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
| `frame_seconds` | [N] of numbers, ascending, or null | the second of the file at which each frame is shown |
| `duration_seconds` | number > 0, or null | how long the file is |
| `clock` | one of `CLOCKS`; `frames` by default | what an index stands for |
| `windows` | [any][3] of numbers, or null | moments, the best first: start and end in seconds, and a score |
| `video_track` | integer >= 0, or null | of several video tracks, which was summarized: CLIP is shown that one |

Null, or a key that is left out, means that the system says nothing of that kind; an empty list or text is an empty
answer, and scores as one. Citations such as `[05, 06]` are taken out of every text.

A line of `summaries.jsonl`, which `python -m llava_v2xum.infer` writes (`render.make_record`), is such an object, and
its further keys are known: its `task` says what it speaks of (a VIDEO answer has no text, a TEXT answer no frames).
Any other key is an error, because a slip in a name would score as a miss.

A raw answer is read too: an object with `video_id` and `answer`, the text that a model generated, and none of `frames`,
`importance`, `text` and `sentences`; `answers.parse_answer` reads it. `task` and `num_frames` (100 where nobody gives
it, as the released models have it) may stand beside it, and so may `frame_seconds`, `duration_seconds` and `clock`;
what else stands there is not read.
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
from ...core.clock import CLOCKS as FRAME_CLOCKS
from ...core.clock import FRAMES, FrameTimes, check_duration
from ...core.errors import V2XumError
from ...core.sampling import TRACK_KEY
from .prediction_records import OF_FRAMES, OF_TEXT, content_of

logger = logging.getLogger(__name__)

SAMPLES, SECONDS, VIDEO_FRAMES = "samples", "seconds", "video-frames"
CLOCKS = {
    **FRAME_CLOCKS,
    SAMPLES: "the annotation's own sample i",
    SECONDS: "second i to i + 1 of the video, of which nothing is selected behind the last",
    VIDEO_FRAMES: "frame i of TVSum's or SumMe's video, of which those that were sampled count",
}
_OLDER_NAMES = {"prompts": FRAMES}
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
        clock: of `CLOCKS`. With "samples" index i is the annotation's own sample i (a frame at 1 FPS, or a pick), and N
            must equal the number of samples; with "video-frames" it is frame i of the video, and N the number of those.
        frame_seconds: [N], ascending, the second of the file at which each frame is shown.
        duration_seconds: of the file.
        windows: moments that answer a query, the best first: start and end in seconds, and a score.
        video_track: which of several video tracks was summarized, from 0; None for the one that players choose.

    Raises:
        V2XumError: naming the field and what it holds, for what the module's schema does not allow.
    """

    video_id: str
    num_frames: int
    frames: tuple[int, ...] | None = None
    importance: np.ndarray | None = None
    text: str | None = None
    sentences: tuple[PredictedSentence, ...] | None = None
    clock: str = FRAMES
    frame_seconds: tuple[float, ...] | None = None
    duration_seconds: float | None = None
    video_track: int | None = None
    windows: tuple[tuple[float, float, float], ...] | None = None

    def __post_init__(self) -> None:
        check_text("video_id", self.video_id)
        count = self.num_frames
        if type(count) is not int or not 0 < count < 2**31:
            raise V2XumError(f"num_frames must be a positive integer, got {count!r}")
        if self.video_track is not None and (type(self.video_track) is not int or self.video_track < 0):
            raise V2XumError(f"{TRACK_KEY} must be an integer from 0 on, got {self.video_track!r}")
        keep = object.__setattr__
        keep(self, "clock", checked_clock(self.clock))
        if self.frame_seconds is not None:
            checked_numbers("frame_seconds", self.frame_seconds, count)
            keep(self, "frame_seconds", FrameTimes.of(self.frame_seconds, self.duration_seconds).seconds)
        if self.duration_seconds is not None:
            check_duration(self.duration_seconds)
        if self.frames is not None:
            keep(self, "frames", _checked_frames("frames", self.frames, count))
        if self.importance is not None:
            values = self.importance.tolist() if isinstance(self.importance, np.ndarray) else self.importance
            importance = np.array(checked_numbers("importance", values, count))
            importance.setflags(write=False)
            keep(self, "importance", importance)
        if self.windows is not None:
            windows = enumerate(as_list("windows", self.windows))
            keep(self, "windows", tuple(_checked_window(f"windows[{n}]", one) for n, one in windows))
        if self.text is not None:
            check_prose("text", self.text)
        if self.sentences is not None:
            sentences = enumerate(as_list("sentences", self.sentences))
            keep(self, "sentences", tuple(_checked_sentence(f"sentences[{n}]", one, count) for n, one in sentences))

    @property
    def known_times(self) -> FrameTimes | None:
        """When its frames are shown, if that is known."""
        return None if self.frame_seconds is None else FrameTimes.of(self.frame_seconds, self.duration_seconds)

    @property
    def frame_times(self) -> FrameTimes | None:
        """The same, if the clock asks for it."""
        return self.known_times if self.clock == FRAMES else None

    def at_samples(self, count: int, picks: Sequence[int] | None = None, n_frames: int = 0) -> np.ndarray | None:
        """The indexes that are the annotation's samples, int [T]; None if the clock says that they are others.

        Args:
            count: T.
            picks: [T], the frames that were sampled, of TVSum and SumMe.
            n_frames: F, of how many.

        Raises:
            V2XumError: naming the video, if there are not as many indexes as the clock says.
        """
        if self.clock not in (SAMPLES, VIDEO_FRAMES):
            return None
        if self.clock == VIDEO_FRAMES and picks is None:
            raise V2XumError(f"video {self.video_id!r}: the clock {VIDEO_FRAMES} is that of TVSum and SumMe, and this "
                "video is annotated in seconds")  # fmt: skip
        numbers = {SAMPLES: (count, "samples"), VIDEO_FRAMES: (n_frames, "video frames")}
        expected, what = numbers[self.clock]
        if self.num_frames == expected:
            return np.arange(count) if self.clock == SAMPLES else np.array(picks)
        hint = "if they are of temporal prompts, say the clock frames"
        for other, (number, name) in numbers.items():
            if number == self.num_frames:
                hint = f"that is the number of {name}: say the clock {other}"
        raise V2XumError(f"video {self.video_id!r}: a prediction on the clock of the {what} must have {expected} of "
            f"them, got {self.num_frames}; {hint}")  # fmt: skip

    def to_record(self) -> dict[str, Any]:
        """The JSON object of the module's schema, with every key (`video_track` and `windows` where there are any)."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        for key in (TRACK_KEY, "windows"):
            if record[key] is None:
                del record[key]
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


def checked_clock(name: Any) -> str:
    """A name in `CLOCKS`; older files call the clock of the frames that of the prompts.

    Raises:
        V2XumError: if it is none.
    """
    name = _OLDER_NAMES.get(name, name) if isinstance(name, str) else name
    if name not in tuple(CLOCKS):
        raise V2XumError(f"clock must be one of {', '.join(CLOCKS)}, got {name!r}")
    return name


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


def merge_predictions(
    files: Sequence[Mapping[str, Prediction]], names: Sequence[str] | None = None
) -> dict[str, Prediction]:
    """Bring the predictions of several files together, such as of a VIDEO and a TEXT run.

    For each video, frames and importance come from the file that has either, text and sentences from the one that has
    either.

    Args:
        names: of the files, for errors.

    Raises:
        V2XumError: naming the video, if two files say different things of its frames, or of its text; or if its frames
            and the frames that its sentences cite are of different N or clock.
    """
    names = names or [f"file {number}" for number in range(1, len(files) + 1)]
    video_ids = dict.fromkeys(video_id for file in files for video_id in file)
    return {one: _merged({name: file[one] for name, file in zip(names, files) if one in file}) for one in video_ids}


def _merged(predictions: Mapping[str, Prediction]) -> Prediction:
    shown, told = _only(predictions, OF_FRAMES, ("num_frames", "clock", "windows")), _only(predictions, OF_TEXT)
    if shown is None or told is None or shown is told:
        return shown or told or next(iter(predictions.values()))
    scales = {(one.num_frames, one.clock) for one in (shown, told)}
    if len(scales) > 1 and any(sentence.frames for sentence in told.sentences or ()):
        raise V2XumError(f"video {shown.video_id!r}: its frames and its sentences' are of different N or clock: "
            f"{' and '.join(f'{count} {clock}' for count, clock in sorted(scales))}")  # fmt: skip
    return replace(shown, text=told.text, sentences=told.sentences)


def _only(
    predictions: Mapping[str, Prediction], fields: tuple[str, ...], scale: tuple[str, ...] = ()
) -> Prediction | None:
    """The prediction that has one of the fields; of several that say the same, on the same scale, the first."""
    having = {
        name: one for name, one in predictions.items() if any(getattr(one, field) is not None for field in fields)
    }
    first, *others = having or [""]
    for name in others:
        pairs = [(getattr(having[first], field), getattr(having[name], field)) for field in (*fields, *scale)]
        if not all(np.array_equal(one, other) for one, other in pairs):
            raise V2XumError(f"video {having[name].video_id!r}: {first} and {name} both say its {' or '.join(fields)}, "
                "and not the same: give one of them, for nothing tells which is meant (where each is of a split of "
                "TVSum or SumMe, --splits scores it in its own)")  # fmt: skip
    return having.get(first)


def _checked_frames(name: str, frames: Any, count: int) -> tuple[int, ...]:
    frames = as_list(name, frames)
    wrong = [frame for frame in frames if not is_frame(frame, count)]
    if wrong:
        raise V2XumError(f"{name} must be indexes in 0..{count - 1}, got {wrong[0]!r}")
    return tuple(sorted(set(frames)))


def _checked_window(name: str, window: Any) -> tuple[float, float, float]:
    start, end, score = checked_numbers(name, window, 3)
    if not 0 <= start <= end:
        raise V2XumError(f"{name} must have 0 <= start <= end, got {[start, end]}")
    return start, end, score


def _checked_sentence(name: str, sentence: PredictedSentence, count: int) -> PredictedSentence:
    check_prose(f"{name}.text", sentence.text)
    frames = _checked_frames(f"{name}.frames", sentence.frames, count)
    start, end = sentence.start_seconds, sentence.end_seconds
    if start is None and end is None:
        return PredictedSentence(sentence.text, frames)
    if not is_number(start) or not is_number(end) or not 0 <= start <= end:
        raise V2XumError(f"{name} must have 0 <= start_seconds <= end_seconds, or null for both, got {[start, end]}")
    return PredictedSentence(sentence.text, frames, float(start), float(end))
