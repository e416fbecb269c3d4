"""What TVSum's and SumMe's files say of one video, in the video's own frames.

Shapes: F original frames, T samples, A annotators, S segments. The JSON object `keyshots` of an annotation:

| key | type | what |
| --- | --- | --- |
| `n_frames` | integer > 0 | F |
| `picks` | [T] of integers | the frame number of each sample, ascending |
| `change_points` | [S][2] of integers, or null | first and last frame of each segment, without gaps from frame 0 |
| `user_summaries` | [A][any][2] of integers | each annotator's selected frames as runs, first and last frame |
| `scores` | [A][T] of numbers, or null | each annotator's importance at the picks |
| `mean_scores` | [T] of numbers, or null | the published importance at the picks (`gtscore`) |
| `video_name` | text or null | the video file's name without its ending, where the data set's id is another |

All pairs of frames are inclusive. Keys that may be null or empty may be left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np

from .checks import as_list, check_keys, check_text, checked_numbers, is_frame
from .errors import V2XumError

Run = tuple[int, int]
Runs = tuple[Run, ...]


@dataclass(frozen=True)
class Keyshots:
    """One video of TVSum or SumMe; the fields are those of the module's schema.

    Lists are taken as well and kept as tuples.

    Raises:
        V2XumError: naming the field and what it holds, for what the schema does not allow.
    """

    n_frames: int
    picks: tuple[int, ...]
    change_points: Runs | None = None
    user_summaries: tuple[Runs, ...] = ()
    scores: tuple[tuple[float, ...], ...] | None = None
    mean_scores: tuple[float, ...] | None = None
    video_name: str | None = None

    def __post_init__(self) -> None:
        frames = self.n_frames
        if type(frames) is not int or not 0 < frames < 2**31:
            raise V2XumError(f"n_frames must be a positive integer, got {frames!r}")
        keep = object.__setattr__
        keep(self, "picks", _checked_picks(self.picks, frames))
        samples = len(self.picks)
        if self.change_points is not None:
            keep(self, "change_points", _checked_segments(self.change_points, frames))
        people = enumerate(as_list("user_summaries", self.user_summaries))
        keep(self, "user_summaries", tuple(_checked_runs(f"user_summaries[{n}]", runs, frames) for n, runs in people))
        if self.scores is not None:
            rows = enumerate(as_list("scores", self.scores))
            keep(self, "scores", tuple(checked_numbers(f"scores[{n}]", row, samples) for n, row in rows))
            if not self.scores:
                raise V2XumError("scores must have one row an annotator or be null, got []")
        if self.mean_scores is not None:
            keep(self, "mean_scores", checked_numbers("mean_scores", self.mean_scores, samples))
        if self.video_name is not None:
            check_text("video_name", self.video_name)
        counts = {len(self.user_summaries), len(self.scores or ())} - {0}
        if len(counts) > 1:
            raise V2XumError(f"user_summaries and scores must have as many annotators, got {sorted(counts)}")
        if not counts and self.mean_scores is None:
            raise V2XumError("expected user_summaries, scores or mean_scores, got none of them")

    @property
    def annotators(self) -> int:
        """A; 0 where the file has the mean of their scores alone."""
        return max(len(self.user_summaries), len(self.scores or ()))

    @property
    def n_frame_per_segment(self) -> tuple[int, ...] | None:
        """[S], how many frames each segment has; None where there are no change points."""
        return None if self.change_points is None else tuple(end - start + 1 for start, end in self.change_points)

    def user_summary(self) -> np.ndarray:
        """The frames that each annotator selected: bool [A, F]; [0, F] where there are no user summaries."""
        mask = np.zeros((len(self.user_summaries), self.n_frames), dtype=bool)
        for row, runs in zip(mask, self.user_summaries):
            for start, end in runs:
                row[start : end + 1] = True
        return mask

    def to_record(self) -> dict[str, Any]:
        """The JSON object of the module's schema, with every key."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_record(cls, record: Any) -> Keyshots:
        """Read a JSON object of the module's schema.

        Raises:
            V2XumError: naming the key, for what is missing, unknown or not allowed.
        """
        check_keys(record, [field.name for field in fields(cls)], ("n_frames", "picks"), "keyshots: ")
        try:
            return cls(**record)
        except V2XumError as error:
            raise V2XumError(f"keyshots: {error}") from error


def runs_of(mask: Iterable[Any]) -> Runs:
    """The runs of a mask [F]: first and last place of every stretch that is not zero."""
    on = np.asarray(mask) != 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]).astype(np.int8)))
    return tuple((int(start), int(stop) - 1) for start, stop in edges.reshape(-1, 2))


def _checked_picks(picks: Any, n_frames: int) -> tuple[int, ...]:
    picks = tuple(as_list("picks", picks))
    if not picks or not all(is_frame(pick, n_frames) for pick in picks):
        wrong: Any = next((pick for pick in picks if not is_frame(pick, n_frames)), [])
        raise V2XumError(f"picks must be frame numbers in 0..{n_frames - 1}, got {wrong!r}")
    if any(later <= earlier for earlier, later in pairwise(picks)):
        raise V2XumError("picks must be ascending, each frame once")
    return picks


def _checked_runs(name: str, runs: Any, n_frames: int) -> Runs:
    """Pairs of frames that ascend and do not overlap."""
    checked: list[Run] = []
    for number, run in enumerate(as_list(name, runs)):
        pair = tuple(as_list(f"{name}[{number}]", run))
        if len(pair) != 2 or not all(is_frame(frame, n_frames) for frame in pair) or pair[0] > pair[1]:
            raise V2XumError(f"{name}[{number}] must be [first, last] frame in 0..{n_frames - 1}, got {list(pair)}")
        if checked and pair[0] <= checked[-1][1]:
            raise V2XumError(f"{name}[{number}] begins at {pair[0]}, inside or before the one in front of it")
        checked.append(pair)
    return tuple(checked)


def _checked_segments(change_points: Any, n_frames: int) -> Runs:
    segments = _checked_runs("change_points", change_points, n_frames)
    if not segments:
        raise V2XumError("change_points must have one segment or more, or be null, got []")
    starts = [0, *(end + 1 for _, end in segments)]
    for number, ((start, _), expected) in enumerate(zip(segments, starts)):
        if start != expected:
            raise V2XumError(f"change_points[{number}] must begin at frame {expected}, behind the last, got {start}")
    return segments
