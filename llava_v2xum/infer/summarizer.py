"""The Summarizer: video files in, summaries out. `python -m llava_v2xum.infer VIDEO` is its command line (run.py)."""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from torch import LongTensor

from ..core.errors import V2XumError
from ..core.tasks import ALL, CONVERSATION, TASKS, query_for
from ..core.windows import AUTO
from ..data.dataset import build_input_ids
from ..features import FeatureFolder, FrameEncoder
from ..features.video_features import ReadVideo, VideoFeatures
from ..media.helper import Helper
from ..media.processes import Rank
from ..media.read_ahead import Line, Ticket, in_turn
from ..media.video import Video
from ..model.checkpoint import load_pretrained
from ..shapes import DEMO_CHECKPOINT
from .answer_options import AnswerOptions
from .drafting import DEFAULT_DRAFTER, load_drafter
from .engine import Answer, Engine, EngineStats, Job
from .films import Gathering, Part, parts_of
from .protocols import Summaries
from .video_summary import VideoSummary, model_name


class Summarizer:
    """Summarizes videos with one model.

    Args:
        tokenizer, model, frame_encoder: as `load_pretrained` returns them.
        name: what the records call the model.
        conversation: the conversation template, a name in LLaVA's `conv_templates`.
        feature_folder: a folder to take frame features from, and to put in those that are not there yet.
        draft_table: a file with what earlier answers taught about how answers go on, if it is there; it changes
            none, only how fast they come (`save_draft_table`).
        rank: this process's number among those that write to the feature folder at the same time.
        drafter: who guesses how answers go on, a name in `drafting.DRAFTERS`.

    Attributes:
        stats: of the decoder, over all that was summarized so far.
        seconds: by part, likewise: "read" and "encode", added up over threads, and "wait", when the decoder had no
            video to work on and waited for one.
    """

    def __init__(
        self,
        tokenizer,
        model,
        frame_encoder: FrameEncoder,
        name: str,
        conversation: str = CONVERSATION,
        feature_folder: str | os.PathLike | None = None,
        draft_table: str | os.PathLike | None = None,
        rank: int = 0,
        drafter: str = DEFAULT_DRAFTER,
    ) -> None:
        self.tokenizer = tokenizer
        self.model = model
        self.frame_encoder = frame_encoder
        self.name = name
        self.conversation = conversation
        self.timeline = model.config.timeline
        self.note = getattr(model.config, "checkpoint_note", None)
        self.features = FeatureFolder(feature_folder, frame_encoder.description, rank) if feature_folder else None
        self.drafter = load_drafter(drafter, tokenizer, self.timeline, draft_table)
        self.stats = EngineStats()
        self.seconds: dict[str, float] = defaultdict(float)

    @classmethod
    def from_pretrained(
        cls,
        model_path: str | os.PathLike | None = None,
        *,
        conversation: str = CONVERSATION,
        feature_folder: str | os.PathLike | None = None,
        draft_table: str | os.PathLike | None = None,
        rank: int = 0,
        drafter: str = DEFAULT_DRAFTER,
        **load_arguments,
    ) -> Summarizer:
        """Load a model (`load_pretrained` takes the other arguments).

        Args:
            model_path: None is the demo checkpoint that ships with the package; it knows only rendered shapes.
        """
        loaded = load_pretrained(str(model_path or DEMO_CHECKPOINT), **load_arguments)
        return cls(*loaded, model_name(model_path), conversation, feature_folder, draft_table, rank, drafter)

    def save_draft_table(self, path: str | os.PathLike) -> None:
        """Write what the answers so far have taught, for another Summarizer's `draft_table`.

        Raises:
            V2XumError: if answers are not drafted, because the tokenizer does not write a digit a token, or nothing is
                learnt from them.
        """
        if self.drafter is None:
            raise V2XumError(f"{path}: there is no draft table to save: answers of this tokenizer are not drafted")
        self.drafter.save(path)

    def summarize(
        self, path: str | os.PathLike, task: str = "both", **options
    ) -> VideoSummary | dict[str, VideoSummary]:
        """Summarize one video; see `summarize_many`.

        Raises:
            VideoError: naming the file, if it cannot be read.
        """
        return next(self.summarize_many([path], task, **{"workers": 0, **options}))

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
        **options: Any,
    ) -> Summaries:
        """Summaries in the order of the paths; reading, encoding and answering go on at the same time.

        No answer depends on its neighbours or on drafts: exactly so in float32; in 16 bits a batch may round otherwise
        than one video alone, and a near tie between two tokens fall the other way. However many paths there are, only
        some ahead of the decoder are read, and only so many summaries wait for an older one.

        Args:
            task: "video", "text" or "both"; or "all", for the three of each video at the price of little more than one.
            on_error: called for a video that cannot be read or whose stored features are no good, which is then left
                out; without it the error is raised.
            workers: processes that read, so that a file on which the decoder crashes costs that file alone; 0 reads in
                this one, without a thread. None is one for each core, at most 16.
            thumbnails: whether summaries come with frames, for `save` to draw. Without, a video whose features are
                stored need not be decoded.
            video_track: which of several video tracks, from 0; None for the default one, of several the largest.
            window: how films are told that are too long for N frames: "auto", "off" or seconds (`windows_of`).
            options: how to answer (`AnswerOptions`).

        Yields:
            The summary; of "all" a dict of the three by task, in the order of `tasks.TASKS`.

        Raises:
            V2XumError: if the task is none of these, a number is out of range, or the model cannot be compiled.
            VideoError, V2XumError: naming the file, if a video cannot be had and there is no `on_error`.
        """
        how, tasks = AnswerOptions(**options), TASKS if task == ALL else (task,)
        prompts, run = self.prompts(tasks), self.runner(how)
        gathering, facts = Gathering(self.timeline, window), (self.timeline, self.name)
        videos = self._features_of(thumbnails, video_track)
        kept: dict[Ticket, Video] = {}

        def job_of(ticket: Ticket, made: ReadVideo) -> Job[Ticket]:
            made = videos.encode(made)
            kept[ticket] = made.video
            return Job(ticket, prompts, made.features, seed_of(ticket.path, how.seed))

        parts = parts_of(map(Path, paths), self.timeline, window, video_track)
        for ticket, outcome in self._in_turn(parts, videos, run, job_of, workers, how.batch_size):
            if not isinstance(outcome, V2XumError):
                video = kept.pop(ticket)
                outcome = {name: VideoSummary.of(video, name, one, *facts) for name, one in zip(tasks, outcome)}
            for made in gathering.add(ticket.path, outcome):
                if not isinstance(made, V2XumError):
                    yield made if task == ALL else made[task]
                elif on_error is None:
                    raise made
                else:
                    on_error(ticket.path.path, made)

    def _features_of(self, thumbnails: bool, track: int | None) -> VideoFeatures:
        shape = self.model.config.feature_shape
        return VideoFeatures(
            self.frame_encoder, self.timeline, shape, self.features, thumbnails, self.seconds, track=track
        )

    def _in_turn(self, parts: Iterable[Part], videos: VideoFeatures, run, job_of, workers: int | None, rows: int):
        threads = Rank.from_environment().default_workers() if workers is None else workers
        ahead = threads + rows  # our choice: all rows may become free at once
        # our choice: one runaway answer does not hold up the others before they are as much shorter
        window = max(4 * rows, ahead + rows)

        def read(part: Part, helper: Helper | None) -> ReadVideo:
            made = videos.read(part.path, helper, part.window)
            return videos.encode(made) if helper is not None and videos.on_gpu else made  # there beside the decoder

        line = Line(parts, read, threads, ahead, window)
        try:
            yield from in_turn(line, run, job_of)
        finally:
            line.close()
            self.seconds["wait"] += line.waited_seconds

    def prompts(self, tasks: Iterable[str]) -> tuple[LongTensor, ...]:
        """What is asked for each of the tasks: input ids int64 [S].

        Raises:
            V2XumError: if one is no task.
        """
        return tuple(build_input_ids(self.tokenizer, query_for(task), self.conversation) for task in tasks)

    def runner(
        self, how: AnswerOptions
    ) -> Callable[[Iterable[Job[Ticket] | None]], Iterator[tuple[Ticket, list[Answer]]]]:
        """What takes jobs, whose keys are tickets, and gives answers as `Engine.run` does; they count in `stats`."""
        engine = Engine(
            self.model,
            self.tokenizer,
            rows=how.batch_size,
            max_new_tokens=how.max_new_tokens,
            drafter=self.drafter if how.drafts else None,
            max_draft=how.max_draft,
            compile=how.compile,
            temperature=how.temperature,
            end_loops=how.end_loops,
        )
        engine.stats = self.stats
        return engine.run


def seed_of(part: Part, seed: int) -> int:
    """The seed of a video's sampled answers: by its name, so that none depends on which videos are at work."""
    return zlib.crc32(f"{seed} {part.name}".encode())
