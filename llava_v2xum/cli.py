"""`python -m llava_v2xum.infer VIDEO ...`: arguments, progress, messages, exit status."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from . import __version__
from .render import FILE_NAMES, ClipError, format_for_people
from .results import FILE_NAME, ResultFolder
from .tasks import TASKS
from .video import VideoError, find_videos

EXAMPLES = """examples:
  python -m llava_v2xum.infer clip.mp4
      a summary by the demo checkpoint, which knows only rendered shapes
  python -m llava_v2xum.infer videos/ --model-path ./v2xum-7b --task text --output-dir out
      a text summary of every video in a folder; started again after a kill, it goes on
  python -m llava_v2xum.infer a.mp4 --model-path checkpoints/v2xumllm-vicuna-v1-5-7b-stage2-e2 \\
      --model-base lmsys/vicuna-7b-v1.5 --vision-tower checkpoints/clip/ViT-L-14.pt \\
      --pretrain-mm-mlp-adapter checkpoints/llava-vicuna-v1-5-7b-stage1/mm_projector.bin
      the released V2Xum-LLM

exit status: 0 all summarized; 1 some of several videos failed; 2 none could be summarized, or bad arguments
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m llava_v2xum.infer",
        description="Summarize videos: key frames, a text summary, or both.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("videos", nargs="+", metavar="VIDEO", help="video files, or folders of them")
    add("--task", choices=TASKS, default="both", help="key frames, text, or both (default)")
    add("--output-dir", type=Path, default=Path("summaries"), help=f"for {FILE_NAME} and a folder a video (summaries)")
    add("--format", default=",".join(FILE_NAMES), help="files to write for each video, comma-separated (%(default)s)")
    add("--features", metavar="DIR", help="reuse the frame features in DIR, and add those that are missing")
    add("--overwrite", action="store_true", help=f"also do the videos that {FILE_NAME} has already")
    add("--version", action="version", version=__version__)
    model = parser.add_argument_group("model")
    add = model.add_argument
    add("--model-path", help="checkpoint folder or hub name: this plugin's, LLaVA-1.5's or the released "
        "V2Xum-LLM's (default: the demo that ships with the package)")  # fmt: skip
    add("--model-base", help="the base model of a LoRA checkpoint")
    add("--pretrain-mm-mlp-adapter", metavar="FILE", help="the projector, where it is a file of its own")
    add("--vision-tower", help="vision tower, where the checkpoint's own path does not hold here")
    add("--conv-mode", default="v2xum", help="conversation template (%(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (%(default)s)")
    add("--dtype", default="auto", help="auto, float32, bfloat16, float16 (%(default)s)")
    answer = parser.add_argument_group("answer")
    add = answer.add_argument
    add("--temperature", type=float, default=0.0, help="0 is greedy (default); above it, sampled")
    add("--seed", type=int, default=0, help="for a temperature above 0 (%(default)s)")
    add("--max-new-tokens", type=int, default=1024, help="where an answer is cut off (%(default)s)")
    add("--batch-size", type=int, default=8, help="videos generated together (%(default)s)")
    return parser


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = build_parser()
    args = parser.parse_args(arguments)
    args.formats = [name.strip() for name in args.format.split(",") if name.strip()]
    unknown = [name for name in args.formats if name not in FILE_NAMES]
    if unknown:
        parser.error(f"--format takes {', '.join(FILE_NAMES)}, got {', '.join(unknown)}")
    for name in ("batch_size", "max_new_tokens"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")
    if args.temperature < 0:
        parser.error(f"--temperature must not be negative, got {args.temperature}")
    return args


class Run:
    """One run of the command: what failed, and how it tells people."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.failed = 0
        self.done = 0

    def fail(self, message: str) -> None:
        """Report a video that cannot be summarized."""
        self.failed += 1
        say(f"error: {message}")

    def find(self) -> list[Path]:
        """The videos that the arguments name, by their absolute paths; a path that names none counts as failed."""
        found: dict[Path, None] = {}
        for path in self.args.videos:
            try:
                found.update(dict.fromkeys(Path(os.path.abspath(video)) for video in find_videos([path])))
            except VideoError as error:
                self.fail(str(error))
        by_id: dict[str, Path] = {}
        for path in found:
            first = by_id.setdefault(path.stem, path)
            if first != path:
                self.fail(f"{path}: {first} has the same id {path.stem!r}; give it another --output-dir")
            elif path.stem == FILE_NAME:
                self.fail(f"{path}: its id is the name of the file of all summaries; give the video another name")
                del by_id[path.stem]
            elif os.fsencode(path) != str(path).encode(errors="replace"):
                self.fail(f"{str(path)!r}: its name is not UTF-8, and no JSON record can hold it")
                del by_id[path.stem]
        return list(by_id.values())

    def still_to_do(self, videos: list[Path], results: ResultFolder, model: str) -> list[Path]:
        """The videos whose files are not all there."""
        todo, done = [], 0
        for path in videos:
            try:
                if results.is_done(path, self.args.task, model, self.args.formats):
                    done += 1
                else:
                    todo.append(path)
            except ValueError as error:
                self.fail(str(error))
        if done:
            say(f"{done} of {len(videos)} videos are done already ({results.file})")
        self.done += done
        return todo

    def summarize(self, videos: list[Path]) -> None:
        """Summarize and write; each video's files come before its line in `summaries.jsonl`."""
        from .infer import Summarizer, model_name

        args = self.args
        results = ResultFolder(args.output_dir, fresh=args.overwrite)
        todo = self.still_to_do(videos, results, model_name(args.model_path))
        if not todo:
            return
        summarizer = Summarizer.from_pretrained(
            args.model_path,
            model_base=args.model_base,
            pretrain_mm_mlp_adapter=args.pretrain_mm_mlp_adapter,
            vision_tower=args.vision_tower,
            device=args.device,
            dtype=args.dtype,
            conversation=args.conv_mode,
            feature_folder=args.features,
        )
        if summarizer.note:
            say(f"note: {summarizer.note}")
        with Progress(len(todo)) as progress:

            def leave_out(path: Path, error: ValueError) -> None:
                self.fail(str(error))
                progress.advance(path)

            for made in summarizer.summarize_many(
                todo,
                args.task,
                batch_size=args.batch_size,
                max_new_tokens=args.max_new_tokens,
                temperature=args.temperature,
                seed=args.seed,
                on_error=leave_out,
            ):
                self.write(made, results)
                progress.advance(Path(made.record["video"]))

    def write(self, made, results: ResultFolder) -> None:
        for warning in made.warnings:
            say(f"warning: {warning}")
        folder = results.folder_of(made.record["video_id"])
        try:
            made.save(folder, self.args.formats)
        except (ClipError, VideoError) as error:  # frames could be read, but the clip cannot be cut from the source
            say(f"warning: {error}; the summary is kept without a clip")
            (folder / FILE_NAMES["clip"]).unlink(missing_ok=True)  # of an earlier answer
            made.save(folder, [name for name in self.args.formats if name != "clip"])
        results.append(made.record)
        self.done += 1
        say(format_for_people(made.record) + "\n", sys.stdout)

    @property
    def status(self) -> int:
        if not self.failed:
            return 0
        return 1 if self.done else 2


def say(message: str, file: TextIO | None = None) -> None:
    """Print a line clear of a progress bar; a message goes to standard error, a summary to standard output."""
    tqdm.write(message, file=file or sys.stderr)
    (file or sys.stderr).flush()


class Progress:
    """A progress bar on a terminal, a plain line for each video elsewhere; neither for one video."""

    def __init__(self, total: int) -> None:
        self.total, self.count = total, 0
        self.bar = tqdm(total=total, unit="video", leave=False) if total > 1 and sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        return self

    def advance(self, path: Path) -> None:
        """One more video is dealt with."""
        self.count += 1
        if self.bar is not None:
            self.bar.update()
        elif self.total > 1:
            say(f"[{self.count}/{self.total}] {path}")

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0, 1 (some of several videos failed) or 2.
    """
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    run = Run(args)
    videos = run.find()
    if videos:
        try:
            run.summarize(videos)
        except (ValueError, OSError, ImportError) as error:  # the model, the output folder or stored features
            say(f"error: {error}")
            return 1 if run.done else 2
    if run.failed:
        say(f"{run.failed} of {run.failed + run.done} videos could not be summarized")
    elif run.done > 1:
        say(f"{run.done} videos summarized: {args.output_dir / FILE_NAME}")
    return run.status
