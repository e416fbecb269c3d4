"""What the stages of `--engine ray` have in common: rows, their states, and what all workers are told.

A row is one video, or a window of a film: its path, its state and the seconds that each stage took. The state is what
the last stage made of it, pickled, so that Ray's blocks hold bytes and nothing that it would convert. What goes wrong
becomes the state too: Ray sees no exception, and every row comes back.

Shapes: N frames, m visual tokens of a frame, C feature width.
"""

from __future__ import annotations

import pickle
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from ...core.errors import V2XumError
from ...core.sampling import FrameSampling
from ...features import FeatureFolder, FrameEncoder
from ...features.video_features import VideoFeatures
from ..engine import EngineStats
from ..video_summary import VideoSummary
from .pipeline import Attempts, refusal


@dataclass(frozen=True)
class FailedVideo:
    """The video cannot be summarized; the others can."""

    error: V2XumError


class StageError(RuntimeError):
    """An error that nobody foresaw in a worker, with the traceback from there."""


@dataclass(frozen=True)
class Broken:
    """The stage cannot work at all: the run ends with this error."""

    error: Exception


@dataclass(frozen=True)
class Made:
    """The last state.

    Attributes:
        summaries: of the video or the window, by task.
        process: which one made it.
        stats: of that process's engine so far.
    """

    summaries: dict[str, VideoSummary]
    process: str
    stats: EngineStats


class Register(Attempts):
    """An actor that outlives the stages' processes, and counts what they must not count for themselves."""

    def __init__(self) -> None:
        super().__init__()
        self._members = 0

    def enlist(self) -> int:
        """A number that no other process of this run has."""
        self._members += 1
        return self._members - 1


@dataclass(frozen=True)
class Plan:
    """What the stages have in common; made where the run is started, and sent to every worker.

    Attributes:
        model: arguments of `Summarizer.from_pretrained`, with a device that torch has in the workers.
        model_name: what the records call it.
        note: what people are to know about it, or None.
        image_processor, aspect_ratio, batch_size: how the tower takes frames (`FrameEncoder`).
        description, shape: of the features, (N, C) or (N, m, C).
        feature_folder: where features are kept, or None.
        thumbnails: whether small frames are wanted.
        track: which of several video tracks (`opening.opened`).
        threads: of torch on a CPU in an encoding or generating process; None leaves them.
        register: a handle of the `Register`; None where there is only one process.
    """

    model: dict
    model_name: str
    note: str | None
    image_processor: Any
    aspect_ratio: str | None
    batch_size: int
    description: dict
    shape: tuple[int, ...]
    feature_folder: str | None
    thumbnails: bool = True
    track: int | None = None
    threads: int | None = None
    register: Any = None

    @property
    def sampling(self) -> FrameSampling:
        """Which frames stand for a video."""
        return FrameSampling.of_fields(self.description)

    def features(self, encoder: FrameEncoder, folder: FeatureFolder | None) -> VideoFeatures:
        """What reads and encodes with that tower."""
        return VideoFeatures(encoder, self.sampling, self.shape, folder, self.thumbnails, track=self.track)

    def folder(self, rank: int) -> FeatureFolder | None:
        """The feature folder, for a process that writes as that rank."""
        return None if self.feature_folder is None else FeatureFolder(self.feature_folder, self.description, rank)


class RowStage:
    """A row in, a row out; subclasses say what becomes of a video in `work`."""

    name = ""  # what the stage does with a video: for messages, and the row's key of its seconds

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def work(self, path: Path, state: Any) -> Any:
        """The video's next state.

        Raises:
            V2XumError: if this video cannot be done; whatever else it raises ends the run.
        """
        raise NotImplementedError

    def __call__(self, row: dict) -> dict:
        """Do the work, unless an earlier stage failed."""
        path, state, start = row["path"], pickle.loads(row["state"]), time.perf_counter()
        if not isinstance(state, (FailedVideo, Broken)):
            try:
                self._begin(path)
                state = self.work(Path(path), state)
            except V2XumError as error:
                state = FailedVideo(portable(error))
            except Exception as error:
                state = Broken(portable(error))
        return {**row, "state": pickle.dumps(state, protocol=5), self.name: time.perf_counter() - start}

    def _begin(self, path: str) -> None:
        """Refuse a video that keeps ending this stage's process."""
        if self.plan.register is not None and (reason := refusal(self.plan.register, self.name, path)) is not None:
            raise V2XumError(f"{path}: {reason}")


@overload
def portable(error: V2XumError) -> V2XumError: ...


@overload
def portable(error: Exception) -> Exception: ...


def portable(error: Exception) -> Exception:
    """The error itself if it is one that tells people what to change and can be sent; else one with its traceback."""
    if isinstance(error, (V2XumError, OSError, ImportError)):
        try:
            return pickle.loads(pickle.dumps(error))
        except Exception:
            return V2XumError(str(error))
    return StageError("".join(traceback.format_exception(error)))
