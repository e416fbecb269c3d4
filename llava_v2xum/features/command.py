"""What `python -m llava_v2xum.features VIDEOS ... --out STORE` does: ranks, progress, messages, exit status."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from ..core.errors import V2XumError
from ..core.sampling import FrameSampling
from ..media.console import say
from ..media.helper import HelperStartError
from ..media.processes import Rank
from ..media.video import VideoError, find_videos
from .encoder import FrameEncoder
from .extract import Extraction, FailureLog
from .kinds import DEFAULT_SELECT_LAYER, DEFAULT_TOWER
from .settings import encoder_of_checkpoint, encoder_of_tower
from .store import FeatureFolder


def make_encoder(args: argparse.Namespace, rank: Rank) -> FrameEncoder:
    """The encoder that the arguments ask for, on its device.

    Raises:
        FileNotFoundError, V2XumError: naming what cannot be loaded, or the argument.
    """
    from .checkpoint_files import default_dtype, named_dtype

    device = _device(args.device, rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # else pinned memory would open every rank's context on GPU 0 too
    dtype = default_dtype(device) if args.dtype == "auto" else named_dtype(args.dtype)
    if args.model_path is not None:
        encoder = encoder_of_checkpoint(args.model_path, args.vision_tower)
    else:
        encoder = encoder_of_tower(
            args.vision_tower or DEFAULT_TOWER,
            args.feature,
            args.sampling,
            DEFAULT_SELECT_LAYER if args.select_layer is None else args.select_layer,
            args.aspect_ratio or "pad",
        )
    encoder.batch_size = args.batch_size
    return encoder.to(device, dtype)


def _device(name: str, rank: Rank) -> torch.device:
    try:
        device = torch.device(rank.device(name))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise V2XumError(f"--device must be 'auto' or one that torch has here, got {name!r} ({reason})") from error
    return device


class FeaturesRun:
    """One run of the command: what failed, and how it tells people."""

    def __init__(self, args: argparse.Namespace, rank: Rank) -> None:
        self.args = args
        self.rank = rank
        self.done = self.failed = 0
        self.log: FailureLog | None = None
        self.bar: tqdm | None = None

    def find(self) -> list[Path]:
        """All videos that the arguments name, in an order that every rank sees alike.

        Raises:
            V2XumError: if two of them have the same id; names both.
        """
        found: dict[Path, None] = {}
        for path in self.args.videos:
            try:
                found.update(dict.fromkeys(Path(os.path.abspath(video)) for video in find_videos([path])))
            except VideoError as error:
                if self.rank.rank == 0:
                    self.fail(Path(path), str(error))
        by_id: dict[str, Path] = {}
        for path in found:
            first = by_id.setdefault(path.stem, path)
            if first != path:
                raise V2XumError(f"{path}: {first} has the same id {path.stem!r}: rename one, or give it another --out")
        return list(found)

    def fail(self, path: Path, reason: str) -> None:
        """Report a video that cannot be done.

        Raises:
            VideoError: with --strict.
        """
        self.failed += 1
        if self.log is not None:
            self.log.append(path, reason)
        if self.args.strict:
            raise VideoError(reason)
        say(f"error: {reason}")
        if self.bar is not None:
            self.bar.update()

    def finish(self, path: Path) -> None:
        self.done += 1
        if self.bar is not None:
            self.bar.update()

    def extract(self, videos: list[Path]) -> None:
        """Do this rank's share of the videos."""
        args, rank = self.args, self.rank
        encoder = make_encoder(args, rank)
        folder = FeatureFolder(args.out, encoder.description, rank.rank)
        share = videos[rank.rank :: rank.world_size]
        folder.clean(path.stem for path in share)
        workers = rank.default_workers() if args.workers is None else args.workers
        extraction = Extraction(
            folder, encoder, FrameSampling.of_fields(encoder.description), workers,
            on_done=self.finish, on_failure=self.fail, on_warning=lambda text: say(f"warning: {text}"),
            track=args.video_track,
        )  # fmt: skip
        failed = self.failed
        todo = extraction.still_to_do(share)
        stored = len(share) - len(todo) - (self.failed - failed)
        if stored:
            say(f"{rank.name}{stored} of {len(share)} videos are done already ({args.out})")
        self.done += stored
        with tqdm(
            total=len(todo), unit="video", desc=rank.name.rstrip(": "), position=rank.local_rank,
            mininterval=0.1 if sys.stderr.isatty() else 30, disable=not todo,
        ) as self.bar:  # fmt: skip
            extraction.run(todo)

    @property
    def status(self) -> int:
        if not self.failed:
            return 0
        return 1 if self.done else 2


def run_command(args: argparse.Namespace) -> int:
    """Store the features that the arguments ask for.

    Returns:
        The exit status: 0, 1 (some of several videos failed) or 2.
    """
    run = FeaturesRun(args, Rank.from_environment())
    try:
        run.log = FailureLog(args.out, run.rank.rank, run.rank.world_size)
        videos = run.find()
        if videos:
            run.extract(videos)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on where it stopped")
        return 130
    except (V2XumError, OSError, ImportError, HelperStartError) as error:  # the tower, the folder, or --strict's video
        say(f"error: {run.rank.name}{error}")
        return 1 if run.done else 2
    except torch.cuda.OutOfMemoryError as error:
        say(f"error: {run.rank.name}{error}; give a --batch-size below {args.batch_size}")
        return 1 if run.done else 2
    total = run.failed + run.done
    if run.failed:
        say(f"{run.rank.name}{run.failed} of {total} videos could not be done: {run.log.file}")
    elif total:
        say(f"{run.rank.name}{total} videos done: {args.out}")
    run.rank.wait_for_all()
    return run.status
