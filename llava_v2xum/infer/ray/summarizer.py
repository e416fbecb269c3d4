"""`--engine ray`: the stages of a run as a Ray Data pipeline, on this machine or on a cluster.

    paths --> Read (tasks) --> Encode (actors with the tower) --> Generate (actors with the model) --> the caller

One video is one block, so a stage takes the next as soon as it is ready, and what a dead process had in hand is all
that is done again. Summaries come in the order in which they are done; the caller alone writes them. Importing this
module loads neither Ray nor torch.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import V2XumError
from ...core.tasks import ALL, TASKS, query_for
from ...core.windows import AUTO
from ...media.processes import Rank
from ..answer_options import AnswerOptions
from .cluster import Layout, RaySettings, cluster, require_ray
from .pipeline import LOST, rows_through

if TYPE_CHECKING:
    from ..engine import EngineStats
    from ..films import Part
    from ..protocols import Summaries
    from ..video_summary import VideoSummary
    from .rows import Plan

logger = logging.getLogger(__name__)


class RaySummarizer:
    """A `Summarizer` whose work other processes do; summaries come in the order in which they are done.

    Ray runs while summaries are taken. A process of it that dies is started again, and its videos are given out again.

    Args:
        settings: how the work is spread.
        model_path, conversation, feature_folder, draft_table, load_arguments: as for `Summarizer.from_pretrained`;
            every process with the model loads it by them. The draft table is read only.

    Attributes:
        note, stats, seconds: as a `Summarizer` has them; the stats are added up over the processes.

    Raises:
        MissingExtra: if Ray is not installed.
        FileNotFoundError, V2XumError: naming the file, if the tower or the feature folder is not what it must be.
    """

    def __init__(
        self,
        settings: RaySettings = RaySettings(),  # noqa: B008 (frozen)
        model_path: str | os.PathLike | None = None,
        *,
        feature_folder: str | os.PathLike | None = None,
        **arguments,
    ) -> None:
        if (ranks := Rank.from_environment().world_size) > 1:
            raise V2XumError(f"--engine ray starts its processes itself: expected one process, got {ranks}")
        self.ray = require_ray()
        self.settings = settings
        self.plan = _plan({"model_path": model_path, **arguments}, feature_folder)
        self.note = self.plan.note
        self.seconds: dict[str, float] = defaultdict(float)
        self._stats: dict[str, EngineStats] = {}  # of every process that has answered

    @property
    def stats(self) -> EngineStats:
        """Of the decoders, over all processes."""
        from ..engine import EngineStats

        return sum(self._stats.values(), EngineStats())

    def save_draft_table(self, path: str | os.PathLike) -> None:
        """Say that there is none: what is learnt ends with the processes."""
        logger.warning("%s: --engine ray reads a draft table and does not add to it", path)

    def summarize_many(
        self,
        paths: Iterable[str | os.PathLike],
        task: str = "both",
        *,
        on_error: Callable[[Path, V2XumError], None] | None = None,
        workers: int | None = None,
        thumbnails: bool = True,
        video_track: int | None = None,
        window: str | float = AUTO,
        **options,
    ) -> Summaries:
        """The summary of every video that has one, each once; see `Summarizer.summarize_many`.

        Args:
            paths: each video once.
            workers: not used here; `RaySettings.readers` is.
            options: how to answer (`AnswerOptions`); every process with the model has `batch_size` rows.

        Raises:
            ConnectionError: if there is no cluster at the address.
            V2XumError: if the cluster has not the GPUs that are asked for, or the task is none.
            V2XumError, OSError, ImportError: as loading the model raises.
            StageError: for any other error in a stage, with its traceback.
            VideoError, V2XumError: naming the file, if a video cannot be had and there is no `on_error`.
        """
        todo = [Path(os.path.abspath(path)) for path in paths]
        for path, made in self.outcomes(todo, task, thumbnails, video_track, window, **options):
            if not isinstance(made, V2XumError):
                yield made if task == ALL else made[task]
            elif on_error is None:
                raise made
            else:
                on_error(path, made)

    def outcomes(
        self,
        todo: Sequence[Path],
        task: str,
        thumbnails: bool,
        video_track: int | None = None,
        window: str | float = AUTO,
        **options,
    ) -> Iterator[tuple[Path, dict[str, VideoSummary] | V2XumError]]:
        """Every video's path with its summaries or with why there are none; see `summarize_many`."""
        from ..films import Gathering, parts_of
        from .rows import Broken, FailedVideo, Register

        how = AnswerOptions(**options)
        for name in TASKS if task == ALL else (task,):
            query_for(name)  # refuses what is no task
        sampling = self.plan.sampling
        gathering = Gathering(sampling, window)
        parts = {str(part): part for part in parts_of(todo, sampling, window, video_track)}
        if not parts:
            return
        ray = self.ray
        with cluster(ray, self.settings) as resources:
            layout = Layout.of(self.settings, resources, self.plan.model.get("device", "auto"), len(parts))
            register = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Register).remote()
            model = {**self.plan.model, "device": layout.device}
            plan = replace(
                self.plan, register=register, model=model, threads=layout.threads, thumbnails=thumbnails,
                track=video_track,
            )  # fmt: skip
            for row in _rows(ray, layout, plan, task, how, parts):
                for stage in ("read", "encode"):
                    self.seconds[stage] += row.get(stage) or 0.0
                state = pickle.loads(row["state"])
                if isinstance(state, Broken):
                    raise state.error
                part = parts.pop(row["path"])
                if isinstance(state, FailedVideo):
                    made = state.error
                else:
                    self._stats[state.process], made = state.stats, state.summaries
                for one in gathering.add(part, made):
                    yield part.path, one
            for lost in parts.values():
                for one in gathering.add(lost, V2XumError(f"{lost}: lost: {LOST}")):
                    yield lost.path, one
            if again := ray.get(register.begun_again.remote()):
                logger.warning("%d times a video was begun again, because a process was lost", again)


def _plan(model: dict, feature_folder: str | os.PathLike | None) -> Plan:
    """What all stages need to know; only the tower is loaded for it."""
    from ...features import FeatureFolder
    from ...features.checkpoint_files import CONFIG, read_json_object
    from ...shapes import DEMO_CHECKPOINT
    from ..video_summary import model_name
    from .rows import Plan
    from .stages import tower_of

    name = model_name(model["model_path"])
    for key in ("model_path", "model_base", "pretrain_mm_mlp_adapter", "vision_tower", "draft_table"):
        if model.get(key) is not None and os.path.exists(model[key]):  # else a hub name
            model[key] = os.path.abspath(model[key])
    encoder = tower_of(**{**model, "device": "cpu"})
    if feature_folder is not None:
        feature_folder = os.path.abspath(feature_folder)
        FeatureFolder(feature_folder, encoder.description)  # refuses those of another model
    config = Path(model["model_path"] or DEMO_CHECKPOINT) / CONFIG
    return Plan(
        model=model,
        model_name=name,
        note=read_json_object(config).get("checkpoint_note") if config.is_file() else None,
        image_processor=encoder.tower.image_processor,
        aspect_ratio=encoder.aspect_ratio,
        batch_size=encoder.batch_size,
        description=encoder.description,
        shape=encoder.feature.shape(encoder.description["num_frames"], encoder.tower.hidden_size),
        feature_folder=feature_folder,
    )


def _rows(ray, layout: Layout, plan: Plan, task: str, how: AnswerOptions, parts: Mapping[str, Part]) -> Iterator[dict]:
    """The row of each part as it comes out of the last stage; one that Ray gives up does not come."""
    from ray.data import ActorPoolStrategy, TaskPoolStrategy

    from . import stages

    read, encode, generate = stages.STAGES
    items = [{"path": name, "state": pickle.dumps(part)} for name, part in parts.items()]

    def through(videos):
        return (
            videos.map(read(plan).__call__, compute=TaskPoolStrategy(size=layout.readers), num_cpus=1)
            .map(
                encode,
                fn_constructor_kwargs={"plan": plan},
                compute=ActorPoolStrategy(size=layout.encoders, max_tasks_in_flight_per_actor=2),
                **layout.resources_of_encoders,
            )
            .map(
                generate,
                fn_constructor_kwargs={"plan": plan, "task": task, "how": how},
                compute=ActorPoolStrategy(
                    size=layout.actors,
                    max_concurrent_calls_per_actor=how.batch_size + 2,  # one is at hand when a row becomes free
                    max_tasks_in_flight_per_actor=how.batch_size + 4,
                    enable_true_multi_threading=True,
                ),
                **layout.resources_of_actors,
            )
        )

    return rows_through(ray, items, through)
