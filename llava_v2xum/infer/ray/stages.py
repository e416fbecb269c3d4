"""The stages of `--engine ray`, as they run in Ray's workers.

    path --> Read --> Encode --> Generate --> summary
"""

from __future__ import annotations

import os
import pickle
import platform
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import torch

from ...core.errors import V2XumError
from ...core.tasks import ALL, TASKS
from ...features import FeatureFolder, FrameEncoder
from ...features.video_features import ReadVideo, VideoFeatures
from ...shapes import DEMO_CHECKPOINT
from ..answer_options import AnswerOptions
from ..engine import Job
from ..films import Part
from ..shared_engine import SharedEngine
from ..summarizer import Summarizer, seed_of
from ..video_summary import VideoSummary
from .rows import Broken, Made, Plan, RowStage, portable


class Read(RowStage):
    """Decodes and resizes a video, or takes its features from the folder; needs no tower."""

    name = "read"

    def work(self, path: Path, state: Part) -> ReadVideo:
        plan = self.plan
        face = SimpleNamespace(image_processor=plan.image_processor, is_loaded=True, device=torch.device("cpu"))
        encoder = FrameEncoder(face, plan.aspect_ratio, plan.description, batch_size=plan.batch_size)
        folder = _folder_to_read(pickle.dumps(plan.description), plan.feature_folder)
        return plan.features(encoder, folder).read(state.path, window=state.window)


@lru_cache(maxsize=1)
def _folder_to_read(description: bytes, path: str | None) -> FeatureFolder | None:
    """A worker's view of the feature folder: opened once, because it reads the list of all sources."""
    return None if path is None else FeatureFolder(path, pickle.loads(description))


class Encode(RowStage):
    """Runs the tower, which is loaded with the first video that needs it, and fills the feature folder."""

    name = "encode"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._features: VideoFeatures | None = None

    def work(self, path: Path, state: ReadVideo) -> ReadVideo | Broken:
        if state.features is None:
            if self._features is None:
                try:
                    self._features = self._load()
                except V2XumError as error:  # no fault of this video
                    return Broken(portable(error))
            state = self._features.encode(state)
            state.features = None if state.features is None else state.features.cpu()
        return state

    def _load(self) -> VideoFeatures:
        plan = self.plan
        set_threads(plan.threads)
        rank = 0
        if plan.register is not None:
            import ray

            rank = ray.get(plan.register.enlist.remote())
        return plan.features(tower_of(**plan.model), plan.folder(rank))


class Generate(RowStage):
    """Holds the model; threads may call it together, and their videos share the engine's rows.

    Args:
        task: what is asked for; "all" is the three.
        how: how it is answered.
    """

    name = "summarize"

    def __init__(self, plan: Plan, task: str, how: AnswerOptions) -> None:
        super().__init__(plan)
        self.task, self.tasks = task, TASKS if task == ALL else (task,)
        self.process = f"{platform.node()} {os.getpid()}"
        self.error: Exception | None = None
        try:
            set_threads(plan.threads)
            self.summarizer = Summarizer.from_pretrained(**plan.model)
            self.seed = how.seed
            self.shared = SharedEngine(self.summarizer.runner(how))
        except Exception as error:  # told with the first video: Ray would bury it in a report of its own
            self.error = error

    def work(self, path: Path, state: ReadVideo) -> Made | Broken:
        if self.error is not None:
            return Broken(portable(self.error))
        mine = self.summarizer
        part = Part(state.video.path, state.window)
        answers = self.shared.answers(Job(path, mine.prompts(self.tasks), state.features, seed_of(part, self.seed)))
        facts = mine.timeline, self.plan.model_name
        made = {task: VideoSummary.of(state.video, task, one, *facts) for task, one in zip(self.tasks, answers)}
        stats = replace(mine.stats, seconds=dict(mine.stats.seconds))  # another thread goes on counting
        return Made(made, self.process, stats)


STAGES = (Read, Encode, Generate)


def tower_of(model_path=None, vision_tower=None, device="cpu", dtype="auto", **_) -> FrameEncoder:
    """A model's tower without its decoder, on the device and in the dtype that `load_pretrained` gives the model.

    Raises:
        FileNotFoundError, V2XumError: naming the file, as `load_pretrained`.
    """
    from ...features.checkpoint_files import default_dtype, named_dtype
    from ...features.settings import encoder_of_checkpoint

    device = torch.device(device)
    encoder = encoder_of_checkpoint(model_path or DEMO_CHECKPOINT, vision_tower)
    return encoder.to(device, default_dtype(device) if dtype == "auto" else named_dtype(dtype))


def set_threads(threads: int | None) -> None:
    """Give torch its share of a machine's cores."""
    if threads is not None:
        torch.set_num_threads(threads)
