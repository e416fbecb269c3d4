"""The one prediction form, in JSON lines: what a system says of a video.

One line is one video, a JSON object with these keys (N frames that the system chose from, S sentences):

| key | type | what |
| --- | --- | --- |
| `video_id` | text | as the annotations have it |
| `num_frames` | integer > 0 | N; may be left out where the caller gives it |
| `frames` | list of integers, or null | the selected indexes of 0..N-1 |
| `importance` | [N] of numbers, or null | the importance of every index |
| `text` | text or null | the text summary; citations such as `[05, 06]` are taken out |
| `sentences` | [S], or null | the text summary in sentences |
| `sentences[].text` | text | may be empty |
| `sentences[].frames` | list of integers | the indexes that the sentence cites |
| `sentences[].start_seconds`, `.end_seconds` | number >= 0, or null | the part of the video that it tells of |
| `clock` | `prompts` (default) or `samples` | index i is temporal prompt i of N, or the annotation's own sample i |

Null, or a key that is left out, means that the system says nothing of that kind; an empty list or text is an empty
answer, and scores as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import as_list, check_text, check_unicode, checked_numbers, is_frame, is_number

CLOCKS = ("prompts", "samples")


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
        ValueError: naming the field and what it holds, for what the module's schema does not allow.
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
            raise ValueError(f"num_frames must be a positive integer, got {count!r}")
        if self.clock not in CLOCKS:
            raise ValueError(f"clock must be one of {', '.join(CLOCKS)}, got {self.clock!r}")
        keep = object.__setattr__
        if self.frames is not None:
            keep(self, "frames", _checked_frames("frames", self.frames, count))
        if self.importance is not None:
            values = self.importance.tolist() if isinstance(self.importance, np.ndarray) else self.importance
            importance = np.array(checked_numbers("importance", values, count))
            importance.setflags(write=False)
            keep(self, "importance", importance)
        if self.text is not None:
            _check_prose("text", self.text)
        if self.sentences is not None:
            sentences = enumerate(as_list("sentences", self.sentences))
            keep(self, "sentences", tuple(_checked_sentence(f"sentences[{n}]", one, count) for n, one in sentences))


def _checked_frames(name: str, frames: Any, count: int) -> tuple[int, ...]:
    frames = as_list(name, frames)
    wrong = [frame for frame in frames if not is_frame(frame, count)]
    if wrong:
        raise ValueError(f"{name} must be indexes in 0..{count - 1}, got {wrong[0]!r}")
    return tuple(sorted(set(frames)))


def _check_prose(name: str, text: Any) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{name} must be text, got {text!r}")
    check_unicode(name, text)


def _checked_sentence(name: str, sentence: PredictedSentence, count: int) -> PredictedSentence:
    _check_prose(f"{name}.text", sentence.text)
    frames = _checked_frames(f"{name}.frames", sentence.frames, count)
    start, end = sentence.start_seconds, sentence.end_seconds
    if start is None and end is None:
        return PredictedSentence(sentence.text, frames)
    if not is_number(start) or not is_number(end) or not 0 <= start <= end:
        raise ValueError(f"{name} must have 0 <= start_seconds <= end_seconds, or null for both, got {[start, end]}")
    return PredictedSentence(sentence.text, frames, float(start), float(end))
