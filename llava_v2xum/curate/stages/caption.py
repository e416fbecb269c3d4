"""Caption: every second's frame described in detail (arXiv 2404.12353, section 3.1).

Shapes: k frames, H and W pixels.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np

from ...core.command_line import at_least
from ...core.endpoint.budget import Budget
from ...core.endpoint.outcomes import Failed, NoResult, Stop, counted
from ...core.endpoint.store import Ledger
from ...core.errors import V2XumError
from ...core.sampling import TRACK_KEY
from ...evaluate.models.frames import Second, read_moments
from ...media.video import VideoError
from ..store.stage import GPU, Rejected, Source
from . import captioners
from .captioner import MAX_NEW_TOKENS, NO_FEATURES, Captioner
from .command_stage import CommandStage
from .prompts import Prompt


class CaptionStage(CommandStage):
    """Describes the frames of a video at 1 FPS.

    Args:
        captioner: what describes them; never sees more than one frame for a caption.
        prompt: what it is asked.
        workers: videos at a time: while the captioner is at work for one, another is decoded.
        features: a folder that each video's features for training are put into on the way, by the captioner's own
            tower; only for a captioner that is a checkpoint. A video whose captions are stored is not looked at again.
        track: which of several video tracks is read, as `SelectStage`.

    Raises:
        V2XumError: if features are wanted of a captioner that has none.
    """

    name = "caption"
    does = "a detailed caption of every second's frame: a LLaVA-1.5 checkpoint, or an OpenAI-compatible endpoint"
    recorded = ("caption_tokens",)
    reads_video = True
    needs = GPU
    prompt: Prompt

    @classmethod
    def add_options(cls, add: Callable[..., Any]) -> None:
        add("--captioner", default="liuhaotian/llava-v1.5-7b", metavar="NAME",
            help="; ".join(captioner.takes for captioner in captioners.CAPTIONERS) + " (%(default)s)")  # fmt: skip
        add("--caption-prompt", metavar="FILE", help="in place of the packaged one")
        add("--caption-tokens", type=at_least(1), default=MAX_NEW_TOKENS, metavar="N",
            help="most tokens of a caption (%(default)s)")  # fmt: skip
        add("--features", metavar="DIR", help="also store the features for training there of each video that is "
            "captioned now, by the captioner's own tower, as `python -m llava_v2xum.features` does")  # fmt: skip
        for captioner in captioners.CAPTIONERS:
            captioner.add_options(add)

    @classmethod
    def problem(cls, args: argparse.Namespace) -> str | None:
        if args.features and args.caption_endpoint:
            return "--features are made by a captioner that is a checkpoint here, not by --caption-endpoint"
        return None

    @classmethod
    def from_arguments(cls, args: argparse.Namespace, budget: Budget) -> CaptionStage:
        captioner = captioners.captioner_of(args, budget)
        prompt = Prompt.load("caption", args.caption_prompt)
        return cls(captioner, prompt, features=args.features, track=args.video_track)

    def __init__(
        self,
        captioner: Captioner,
        prompt: Prompt,
        workers: int = 2,
        features: str | Path | None = None,
        track: int | None = None,
    ) -> None:
        if features is not None and not captioner.makes_features:
            raise V2XumError(NO_FEATURES)
        self.captioner, self.prompt, self.workers, self.features = captioner, prompt, workers, features
        self.model_name, self.track = captioner.name, track

    def settings(self) -> dict[str, Any]:
        """As `Stage`."""
        of_track = {} if self.track is None else {TRACK_KEY: self.track}
        return {**self.captioner.settings(), "prompt": self.prompt.hash, **of_track}

    def work(self, source: Source, before: Mapping[str, Any], ledger: Ledger) -> dict[str, Any]:
        """As `Stage`; frames that were described before are neither decoded nor described again.

        Returns:
            `captions`, one for each of the `sampled_frames` of "select": one line each, never empty.
        """
        count, size = before["select"]["sampled_frames"], self.captioner.frames_at_once
        parts = [range(start, min(start + size, count)) for start in range(0, count, size)]
        stored = {part: ledger.get(_name(part)) for part in parts}
        missing = [part for part in parts if stored[part] is None]
        try:
            if self.features is not None:
                self.captioner.store_features(source.path, source.video_id, self.features, self.track)
            stored.update(self._describe(source.path, missing, ledger))
        except VideoError as error:
            raise _unreadable(source.path, error) from error
        captions = [caption for part in parts for caption in stored[part]]
        if "" in captions:
            raise Rejected("caption", f"frame {captions.index('')}: the captioner's answer is empty")
        return {"captions": captions}

    def _describe(self, path: Path, parts: Sequence[range], ledger: Ledger) -> dict[range, list[str]]:
        """The captions of parts; each is stored when it is there, whatever becomes of the others."""
        told: dict[range, list[str]] = {}
        question = self.prompt.filled()
        lock = threading.Lock()  # the ledger's count of what was spent is one thread's at a time

        def describe(part: range, frames: np.ndarray) -> None:
            try:
                captions, cost = self.captioner.caption(frames, question)
            except NoResult as error:
                if not isinstance(error, Stop):
                    error.args = (f"{_name(part)}: {error}",)
                with lock, counted(ledger):
                    raise
            with lock:
                ledger.put(_name(part), captions, cost)
                told[part] = captions

        running: set[Future] = set()
        with ThreadPoolExecutor(self.captioner.in_flight, thread_name_prefix="caption") as pool:
            try:
                for part, frames in _frames_of(path, parts, self.track):
                    running.add(pool.submit(describe, part, frames))
                    if len(running) > self.captioner.in_flight:  # one waits, decoded, for the next free place
                        running = _checked(*wait(running, return_when=FIRST_COMPLETED))
                _checked(*wait(running))
            finally:
                pool.shutdown(cancel_futures=True)  # those that have begun are waited for, and stored
        return told


def _frames_of(path: Path, parts: Sequence[range], track: int | None) -> Iterator[tuple[range, np.ndarray]]:
    """Each part with the frames nearest to its seconds, uint8 [k, H, W, 3]; no more than a few parts are in memory."""
    moments = [Second(float(second)) for part in parts for second in part]
    waiting, held = list(reversed(parts)), []
    for _, frames in read_moments(path, moments, track=track):  # in the order of the file, which is theirs
        for frame in frames:
            held.append(frame)
            if len(held) == len(waiting[-1]):
                if len({one.shape for one in held}) > 1:
                    raise VideoError(f"{path}: the picture's size changes within the file")
                yield waiting.pop(), np.stack(held)
                held = []


def _checked(done: set[Future], running: set[Future]) -> set[Future]:
    """Those that still run; an error of one that is done is raised."""
    for future in done:
        future.result()
    return running


def _name(part: range) -> str:
    """Of a part, in the store and for people: "frame 7", "frames 0 to 31"."""
    return f"frame {part[0]}" if len(part) == 1 else f"frames {part[0]} to {part[-1]}"


def _unreadable(path: Path, error: VideoError) -> Exception:
    """What an error of reading means; the reason does not name the path."""
    if not path.is_file():
        return Failed("the file is gone")
    return Rejected("unreadable", str(error).replace(str(path), "the file"))
