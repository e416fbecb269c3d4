"""`python -m llava_v2xum.features VIDEOS ... --out STORE`: arguments, ranks, progress, messages, exit status."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from ..ranks import MOST_WORKERS, Rank
from ..timeline import DEFAULT_NUM_FRAMES, Timeline
from ..video import VideoError, find_videos
from .encoder import FrameEncoder
from .extract import Extraction, FailureLog
from .kinds import FRAME_FEATURES, PATCH_MEAN, FrameFeature
from .settings import DEFAULT_SELECT_LAYER, DEFAULT_TOWER, encoder_of_checkpoint, encoder_of_tower
from .store import FeatureFolder
from .workers import WorkerError

EXAMPLES = """examples:
  python -m llava_v2xum.features videos/ --out features
      what training from LLaVA-1.5 takes: 100 frames, layer -2 of its CLIP, mean over the patches; about 205 kB a video
  python -m llava_v2xum.features videos/ --out features-demo --model-path ./v2xum-7b
      what a checkpoint takes, by its own tower and settings (its decoder is not loaded)
  torchrun --nproc_per_node 8 -m llava_v2xum.features videos/ --out features
      on eight GPUs; also: deepspeed --module llava_v2xum.features videos/ --out features

Killed, the same command goes on where it stopped. STORE then goes to training (--feature_folder STORE) and to
python -m llava_v2xum.infer (--features STORE), which refuse it if their model takes other features.

exit status: 0 all done; 1 some of several videos failed (STORE/failed.jsonl has the reasons); 2 none could be done,
or bad arguments
"""
_OF_MODEL = ("frame_feature", "frame_tokens", "num_frames", "select_layer", "aspect_ratio")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m llava_v2xum.features",
        description="Store the frame features of videos, for training and inference without decoding.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("videos", nargs="+", metavar="VIDEO", help="video files, or folders of them")
    add("--out", type=Path, required=True, metavar="STORE", help="the folder of features; ID.npy for ID.mp4")
    add("--strict", action="store_true", help="stop at the first video that cannot be done")
    model = parser.add_argument_group("what the features are: a checkpoint's, or as these flags say")
    add = model.add_argument
    add("--model-path", help="checkpoint folder or hub name whose tower and settings to use")
    add("--vision-tower", help=f"CLIP folder or hub name, or OpenAI's ViT-L-14.pt (default: the checkpoint's, or "
        f"{DEFAULT_TOWER})")  # fmt: skip
    add("--frame-feature", choices=FRAME_FEATURES, help=f"mean of the patches, class token, or CLIP's image embedding "
        f"(default: {PATCH_MEAN})")  # fmt: skip
    add("--frame-tokens", type=int, help="visual tokens of a frame, means over a grid of patches: 1, 4 or 9 "
        "(default: 1)")  # fmt: skip
    add("--num-frames", type=int, help=f"N, the frames that stand for a video (default: {DEFAULT_NUM_FRAMES})")
    add("--select-layer", type=int, help=f"the tower's layer (default: {DEFAULT_SELECT_LAYER})")
    add("--aspect-ratio", choices=("pad", "square"), help="pad frames to a square, or crop its middle (default: pad)")
    speed = parser.add_argument_group("how they are computed")
    add = speed.add_argument
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (%(default)s: a GPU for each process)")
    add("--dtype", default="auto", help="what the tower computes in: auto, float32, bfloat16, float16 (%(default)s: "
        "bfloat16 on a GPU that has it); stored is float16")  # fmt: skip
    add("--batch-size", type=int, default=64, help="frames in one pass of the tower (%(default)s)")
    add("--workers", type=int, help="decoding processes, each with the N frames of a video in memory, 0.6 GB of 100 "
        f"in full HD; 0 decodes in the main one (default: one for each core, at most {MOST_WORKERS})")  # fmt: skip
    add("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)  # deepspeed's; LOCAL_RANK says it too
    return parser


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = build_parser()
    args = parser.parse_args(arguments)
    if args.model_path is not None:
        for name in _OF_MODEL:
            if getattr(args, name) is not None:
                parser.error(f"--{name.replace('_', '-')} is the checkpoint's to say: leave it out with --model-path")
    for name, least in (("batch_size", 1), ("workers", 0), ("num_frames", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
    try:
        args.feature = FrameFeature(args.frame_feature or PATCH_MEAN, args.frame_tokens or 1)
    except ValueError as error:
        parser.error(str(error))
    return args


def make_encoder(args: argparse.Namespace, rank: Rank) -> FrameEncoder:
    """The encoder that the arguments ask for, on its device.

    Raises:
        FileNotFoundError, ValueError: naming what cannot be loaded, or the argument.
    """
    from ..checkpoint.files import named_dtype
    from ..checkpoint.load import default_dtype

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
            args.num_frames or DEFAULT_NUM_FRAMES,
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
        raise ValueError(f"--device must be 'auto' or one that torch has here, got {name!r} ({reason})") from error
    return device


class Run:
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
            ValueError: if two of them have the same id; names both.
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
                raise ValueError(f"{path}: {first} has the same id {path.stem!r}; give it another --out")
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
        self.bar.update()

    def extract(self, videos: list[Path]) -> None:
        """Do this rank's share of the videos."""
        args, rank = self.args, self.rank
        encoder = make_encoder(args, rank)
        num_frames = encoder.description["num_frames"]
        digits = max(2, len(str(num_frames - 1)))
        folder = FeatureFolder(args.out, encoder.description, rank.rank)
        share = videos[rank.rank :: rank.world_size]
        folder.clean(path.stem for path in share)
        workers = rank.default_workers() if args.workers is None else args.workers
        extraction = Extraction(
            folder, encoder, Timeline(num_frames, f"[{{:0{digits}d}}]"), workers,
            on_done=self.finish, on_failure=self.fail, on_warning=lambda text: say(f"warning: {text}"),
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


def say(message: str) -> None:
    """Print a line clear of the progress bar."""
    tqdm.write(message, file=sys.stderr)
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0, 1 (some of several videos failed) or 2.
    """
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    run = Run(args, Rank.from_environment())
    try:
        run.log = FailureLog(args.out, run.rank.rank, run.rank.world_size)
        videos = run.find()
        if videos:
            run.extract(videos)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on where it stopped")
        return 130
    except (ValueError, OSError, ImportError, WorkerError) as error:  # the tower, the folder, or --strict's video
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


if __name__ == "__main__":
    raise SystemExit(main())
