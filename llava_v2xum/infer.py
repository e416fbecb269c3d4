"""The Summarizer: video files in, summaries out. `python -m llava_v2xum.infer VIDEO` is its command line (cli.py)."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from . import __version__
from .checkpoint import load_pretrained
from .dataset import build_input_ids
from .decoding import generate_answers
from .features import FeatureFolder, FrameEncoder, file_source
from .plugin import CONVERSATION
from .render import FILE_NAMES, make_record, write_outputs
from .summary import Summary, parse_answer
from .tasks import query_for
from .video import Video, read_video

logger = logging.getLogger(__name__)

DEMO_CHECKPOINT = Path(__file__).with_name("shapes") / "checkpoint"
THUMBNAIL_SIDE = 480  # pixels of the longer side: what a contact sheet can show, at a fraction of the memory


@dataclass(frozen=True)
class VideoSummary:
    """A video's summary with all that its files are made of.

    Attributes:
        summary: the parsed answer.
        record: what `summary.json` holds.
        thumbnails: uint8 [N, h, w, 3], the frames, made small.
        warnings: what was wrong with the file and did not stop it from being read.
    """

    summary: Summary
    record: dict
    thumbnails: np.ndarray
    warnings: tuple[str, ...] = ()

    def save(self, directory: str | os.PathLike, formats: Iterable[str] = tuple(FILE_NAMES)) -> list[Path]:
        """Write its files (`render.write_outputs`)."""
        return write_outputs(self.record, self.thumbnails, self.record["video"], directory, tuple(formats))


class Summarizer:
    """Summarizes videos with one model.

    Args:
        tokenizer, model, frame_encoder: as `load_pretrained` returns them.
        name: what the records call the model.
        conversation: the conversation template, a name in LLaVA's `conv_templates`.
        feature_folder: a folder to take frame features from, and to put in those that are not there yet.
    """

    def __init__(
        self,
        tokenizer,
        model,
        frame_encoder: FrameEncoder,
        name: str,
        conversation: str = CONVERSATION,
        feature_folder: str | os.PathLike | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.model = model
        self.frame_encoder = frame_encoder
        self.name = name
        self.conversation = conversation
        self.timeline = model.config.timeline
        self.note = getattr(model.config, "checkpoint_note", None)
        self.features = FeatureFolder(feature_folder, frame_encoder.description) if feature_folder else None

    @classmethod
    def from_pretrained(
        cls,
        model_path: str | os.PathLike | None = None,
        *,
        conversation: str = CONVERSATION,
        feature_folder: str | os.PathLike | None = None,
        **load_arguments,
    ) -> Summarizer:
        """Load a model (`load_pretrained` takes the other arguments).

        Args:
            model_path: None is the demo checkpoint that ships with the package; it knows only rendered shapes.
        """
        loaded = load_pretrained(str(model_path or DEMO_CHECKPOINT), **load_arguments)
        return cls(*loaded, model_name(model_path), conversation, feature_folder)

    def summarize(self, path: str | os.PathLike, task: str = "both", **generation) -> VideoSummary:
        """Summarize one video; see `summarize_many`.

        Raises:
            VideoError: naming the file, if it cannot be read.
        """
        return next(self.summarize_many([path], task, **generation))

    def summarize_many(
        self,
        paths: Iterable[str | os.PathLike],
        task: str = "both",
        *,
        batch_size: int = 8,
        max_new_tokens: int = 1024,
        temperature: float = 0.0,
        seed: int = 0,
        on_error: Callable[[Path, ValueError], None] | None = None,
    ) -> Iterator[VideoSummary]:
        """Summaries in the order of the paths, generated `batch_size` together.

        No answer depends on its neighbours: exactly so in float32; in 16 bits a batch may round otherwise than one
        video alone, and a near tie between two tokens fall the other way.

        Args:
            task: "video", "text" or "both".
            max_new_tokens: where an answer is cut off (a problem is listed then).
            temperature: 0 is greedy; above it answers are sampled, one video at a time.
            seed: of the sampling; together with the video's name it decides the answer.
            on_error: called for a video that cannot be read or whose stored features are no good, which is then left
                out; without it the error is raised.

        Raises:
            ValueError: if the task is none of the three.
            VideoError, ValueError: naming the file, if a video cannot be had and there is no `on_error`.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        prompt = build_input_ids(self.tokenizer, query_for(task), self.conversation)
        readable = self._read_all(map(Path, paths), on_error)
        while batch := list(islice(readable, batch_size if temperature == 0 else 1)):
            if temperature > 0:
                torch.manual_seed(zlib.crc32(f"{seed} {batch[0][0].path.stem}".encode()))
            answers = generate_answers(
                self.model,
                self.tokenizer,
                [prompt] * len(batch),
                [features for _, features in batch],
                max_new_tokens,
                temperature,
            )
            for (video, _), answer in zip(batch, answers):
                yield self._summary_of(video, task, answer)

    def _read_all(self, paths: Iterable[Path], on_error) -> Iterator[tuple[Video, torch.Tensor]]:
        """Each video with its features; of the frames only thumbnails are kept."""
        for path in paths:
            try:
                video = read_video(path, self.timeline)
                features = self.features_of(video)
            except ValueError as error:  # VideoError is one
                if on_error is None:
                    raise
                on_error(path, error)
                continue
            yield replace(video, frames=thumbnails(video.frames)), features

    def features_of(self, video: Video) -> torch.Tensor:
        """Frame features [N, C]: from the feature folder if they are there, else computed (and stored there)."""
        if self.features is None:
            return self.frame_encoder(video.frames)
        video_id, source = video.path.stem, file_source(video.path, video.total_frames)
        stored = self.features.load(video_id, self.model.config.feature_shape, source)
        if stored is None:
            stored = self.frame_encoder(video.frames).float().cpu().numpy()
            self.features.save(video_id, stored, source)
        # what was stored is float16: taken in float16 also the first time, so that a second run answers the same
        return torch.from_numpy(stored.astype(np.float16))

    def _summary_of(self, video: Video, task: str, answer) -> VideoSummary:
        summary = parse_answer(answer.text, self.timeline.num_frames, task, self.timeline.digits)
        if not answer.finished:
            problem = f"the answer was cut off after {len(answer.token_ids)} tokens (max_new_tokens)"
            summary = replace(summary, problems=(*summary.problems, problem))
        record = make_record(
            summary,
            video_id=video.path.stem,
            video=video.path,
            duration_seconds=video.duration_seconds,
            fps=video.fps,
            frame_seconds=video.frame_seconds.tolist(),
            task=task,
            answer=answer.text,
            importance=None if answer.importance is None else answer.importance.tolist(),
            model=self.name,
            versions=versions(),
        )
        return VideoSummary(summary, record, video.frames, video.warnings)


def model_name(model_path: str | os.PathLike | None) -> str:
    """What the records call the model of that path; None is the demo."""
    return "llava_v2xum shapes demo" if model_path is None else str(model_path)


def thumbnails(frames: np.ndarray, side: int = THUMBNAIL_SIDE) -> np.ndarray:
    """uint8 [N, H, W, 3] -> the same with the longer side at most `side` pixels."""
    height, width = frames.shape[1:3]
    scale = side / max(height, width)
    if scale >= 1:
        return frames
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in frames])


def versions() -> dict[str, str]:
    """The versions that an answer depends on."""
    import transformers

    return {"llava_v2xum": __version__, "torch": torch.__version__, "transformers": transformers.__version__}


if __name__ == "__main__":
    from .cli import main

    raise SystemExit(main())
