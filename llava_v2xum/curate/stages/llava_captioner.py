"""Captions by a LLaVA-1.5 checkpoint, on this machine.

Shapes: k frames, H and W pixels, h and w the tower's, P patches, D hidden size.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.command_line import at_least
from ...core.endpoint.budget import Budget
from ...core.endpoint.outcomes import Failed, Stop
from ...core.endpoint.store import Cost
from ...core.errors import V2XumError
from .captioner import BATCH_SIZE, MAX_NEW_TOKENS, Captioner, clean_caption

logger = logging.getLogger(__name__)

CONVERSATION = "v1"  # LLaVA-1.5's, Vicuna's
DTYPES = ("auto", "float32", "bfloat16", "float16")
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_WEIGHTS = ("*.json", "*.model", "*.safetensors", "*.bin")
_SAMPLE_BYTES = 1 << 16  # of either end of a file


class LlavaCaptioner(Captioner):
    """Greedy captions of frames, each for itself, several in the making at a time.

    In float32 a caption does not depend on `batch_size`; in 16 bits a near tie between two tokens may fall otherwise.

    Args:
        model_path: a folder or hub name, as `load_pretrained` takes.
        device, dtype: as `load_pretrained`; "auto" is bfloat16 on a GPU that has it, and float32 on the CPU.
        batch_size: frames in one pass of the tower, and captions in the making at a time.
        max_new_tokens: where a caption is cut off.
        name: for people; None is the hub name or the folder's own.
    """

    takes = "a LLaVA-1.5 checkpoint: a folder or hub name"
    makes_features = True

    @classmethod
    def add_options(cls, add: Callable[..., Any]) -> None:
        add("--caption-batch", type=at_least(1), default=BATCH_SIZE, metavar="N",
            help="frames captioned at a time (%(default)s)")  # fmt: skip
        add("--dtype", default="auto", choices=DTYPES, metavar="TYPE",
            help="of the captioner's weights (%(default)s: bfloat16 on a GPU, else float32)")  # fmt: skip

    @classmethod
    def from_arguments(cls, args: argparse.Namespace, budget: Budget) -> LlavaCaptioner | None:
        name, path = args.captioner, Path(args.captioner).expanduser()
        if not name or (not path.is_dir() and (path.exists() or not _HUB_NAME.fullmatch(name))):
            raise V2XumError(f"expected 'shapes', a LLaVA-1.5 checkpoint's folder or its hub name, got {name!r}")
        return cls(path if path.is_dir() else name, args.device, args.dtype, args.caption_batch, args.caption_tokens)

    def __init__(
        self,
        model_path: str | os.PathLike[str],
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = BATCH_SIZE,
        max_new_tokens: int = MAX_NEW_TOKENS,
        name: str | None = None,
    ) -> None:
        self.model_path, self.device, self.dtype = model_path, device, dtype
        self.batch_size, self.max_new_tokens = batch_size, max_new_tokens
        self.name = name or (Path(model_path).resolve().name if Path(model_path).is_dir() else str(model_path))
        self.frames_at_once = 2 * batch_size  # a row that is done takes the next frame rather than wait for the others
        self.in_flight = 1
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    def __reduce__(self):
        given = (self.model_path, self.device, self.dtype, self.batch_size, self.max_new_tokens, self.name)
        return type(self), given  # loaded again where it arrives

    def settings(self) -> dict[str, Any]:
        """As `Captioner`; a folder's files are known by samples, a hub name by itself.

        Raises:
            V2XumError: if the folder holds no checkpoint.
        """
        settings = {"captioner": self.name, "max_new_tokens": self.max_new_tokens, "dtype": self.dtype}
        folder = Path(self.model_path)
        return {**settings, "weights": sample_of(folder)} if folder.is_dir() else settings

    def caption(self, frames: np.ndarray, prompt: str) -> tuple[list[str], Cost]:
        """As `Captioner`; prompt tokens are the decoder's positions, the frame's patches among them.

        Raises:
            Stop: if the checkpoint cannot be loaded, the prompt is too long for it, or the GPU's memory too small.
        """
        model = self._model()
        started = time.perf_counter()
        pixels = model.encoder.preprocess(frames)  # on the CPU: the next frames' meanwhile
        seconds = time.perf_counter() - started
        with self._lock:
            started = time.perf_counter()
            answers, prompt_tokens = model.answers(pixels, prompt, self.batch_size, self.max_new_tokens)
            seconds += time.perf_counter() - started
        completion_tokens = sum(len(answer.token_ids) for answer in answers)
        captions = [clean_caption(answer.text, answer.finished) for answer in answers]
        return captions, Cost(len(captions), prompt_tokens, completion_tokens, seconds)

    def store_features(
        self, path: Path, video_id: str, folder: str | os.PathLike[str], track: int | None = None
    ) -> None:
        """As `Captioner`, and as `llava_v2xum.features` does.

        They are what a model trained from this checkpoint reads: those of its N frames, which are not the frames at
        1 FPS. The folder may have no other writer.

        Raises:
            VideoError: naming the file, if it cannot be read.
            Failed: if the folder holds features of another video of that name, or these cannot be stored.
            Stop: as `caption`, and if the folder's features are of another kind or made by another tower.
        """
        from ...features.extract import read_whole

        model = self._model()
        with self._lock:
            put = model.feature_folder(folder)
            if model.holds(put, path, video_id, track):
                return
        _, source, pixels = read_whole(path, model.encoder, model.model.config.timeline, track=track)
        with self._lock:
            model.put_features(put, path, video_id, source, pixels)

    def _model(self) -> _Loaded:
        with self._lock:
            if self._loaded is None:
                self._loaded = _load(self.model_path, self.device, self.dtype)
            return self._loaded


@dataclass
class _Loaded:
    """The checkpoint, at hand; one thread at a time."""

    tokenizer: Any
    model: Any
    encoder: Any
    put: Any = None  # `FeatureFolder`

    def answers(self, pixels, prompt: str, rows: int, max_new_tokens: int) -> tuple[list, int]:
        """What the model says of frames [k, 3, h, w], in their order, and the positions that it read for them.

        What it said of a frame is drafted for those behind it, which are much alike; drafts save time and change
        nothing. Nothing is kept from one call to the next, so that in 16 bits, too, the same frames give the same.
        """
        from torch.cuda import OutOfMemoryError

        from ...infer.drafting import drafter_for
        from ...infer.engine import Engine, Job
        from ...model.tokens import build_input_ids

        ids = build_input_ids(self.tokenizer, f"<image>\n{prompt}", CONVERSATION)
        drafter = drafter_for(self.tokenizer, self.model.config.timeline, kinds=("ngrams",))
        engine = Engine(self.model, self.tokenizer, rows=rows, max_new_tokens=max_new_tokens, drafter=drafter)
        read = 0

        def jobs() -> Iterator[Job]:
            nonlocal read
            for number, seen in enumerate(self._seen(pixels, rows)):
                read += len(ids) - 1 + len(seen)
                yield Job(number, (ids,), seen)

        try:
            answers = dict(engine.run(jobs()))
        except V2XumError as error:
            raise Stop(f"the captioner cannot take the prompt: {error}") from error
        except OutOfMemoryError as error:
            raise Stop(f"the GPU's memory is too small for {rows} frames at a time: {error}") from error
        return [answers[number][0] for number in range(len(pixels))], read

    def _seen(self, pixels, batch_size: int) -> Iterator:
        """Each frame as the decoder reads it, [P, 1, 1, D]: an item that the model takes as embedded already."""
        import torch

        for batch in pixels.split(batch_size):
            with torch.inference_mode():
                seen = self.model.encode_images(batch.to(self.model.device))
            yield from seen[:, :, None, None]

    def feature_folder(self, folder: str | os.PathLike[str]):
        """The folder, opened once: it remembers which file each video's features were made of."""
        from ...features import FeatureFolder

        if self.put is None or self.put.path != Path(folder):
            try:
                self.put = FeatureFolder(folder, self.encoder.description)
            except (V2XumError, NotADirectoryError) as error:
                raise Stop(str(error)) from error
        return self.put

    def holds(self, put, path: Path, video_id: str, track: int | None = None) -> bool:
        """Whether the folder has the features of this very file."""
        from ...features import DamagedFeatures, file_source

        try:
            return put.holds(video_id, self.model.config.feature_shape, file_source(path, track))
        except DamagedFeatures as error:
            logger.warning("%s; it is made again", error)
            return False
        except (V2XumError, OSError) as error:
            raise Failed(str(error)) from error

    def put_features(self, put, path: Path, video_id: str, source: dict, pixels) -> None:
        """Encode a video that was read, and store its features, float16 [N, C]."""
        from ...features.extract import encode_videos

        ((_, features),) = encode_videos(self.encoder, [(path, pixels)])
        try:
            put.save(video_id, features, source)
        except V2XumError as error:
            raise Failed(str(error)) from error


def _load(model_path: str | os.PathLike[str], device: str, dtype: str) -> _Loaded:
    from ...model.checkpoint import load_pretrained

    try:
        tokenizer, model, encoder = load_pretrained(model_path, device=device, dtype=dtype)
        config = model.config
        for key, expected in (("mm_patch_merge_type", "flat"), ("mm_use_im_start_end", False)):
            if (got := getattr(config, key, expected)) != expected:
                raise V2XumError(f"{model_path}: expected LLaVA-1.5, whose {key} is {expected!r}, got {got!r}")
        if getattr(config, "image_aspect_ratio", None) == "anyres" or not config.feature.reads_images:
            raise V2XumError(f"{model_path}: expected LLaVA-1.5, which reads a picture whole and by its patches")
    except (FileNotFoundError, V2XumError) as error:
        raise Stop(f"the captioner cannot be loaded: {error}") from error
    return _Loaded(tokenizer, model, encoder)


def sample_of(folder: Path) -> str:
    """By what a checkpoint's files are known, wherever they lie: their names, their sizes and both their ends.

    Raises:
        V2XumError: if there is no config among them.
    """
    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise V2XumError(f"{folder}: expected a LLaVA-1.5 checkpoint, found no config.json")
    hashed = hashlib.sha256()
    places = (folder, folder / "vision_tower")
    for file in sorted(file for place in places for pattern in _WEIGHTS for file in place.glob(pattern)):
        size = file.stat().st_size
        hashed.update(f"{file.relative_to(folder).as_posix()} {size}\n".encode())
        with open(file, "rb") as content:
            hashed.update(content.read(_SAMPLE_BYTES))
            content.seek(max(0, size - _SAMPLE_BYTES))
            hashed.update(content.read(_SAMPLE_BYTES))
    return hashed.hexdigest()[:16]
