"""`python -m llava_v2xum.infer VIDEO ...`: progress, messages, exit status; its arguments are in options.py."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path

from ..core.atomic import DiskFullError, for_people
from ..core.command_line import ended_by_interrupt
from ..core.errors import V2XumError
from ..core.locks import only_run
from ..core.tasks import ALL
from ..media.console import say
from ..media.file_format import PAGE_NAME
from ..media.formats import FORMATS
from ..media.helper import HelperStartError
from ..media.processes import Rank
from ..media.render import format_for_people
from ..media.video import VideoError, find_videos
from .editing import Editing
from .failures import FAILURES, Failures
from .options import INTERRUPTED, answering_of, loading_of, parse_arguments, settings_of
from .pages import PageOf, lacks_page, page_of, write_page_of_run
from .progress import Progress, format_stats
from .protocols import VideoSummarizer
from .results import FILE_NAME, Asked, OtherSummary, ResultFolder
from .video_summary import VideoSummary, model_name
from .writing import Writers

RESERVED = (FILE_NAME, FAILURES, PAGE_NAME, ".", "..")  # no folders of videos; `...mp4` has the last one for its stem


class InferRun:
    """One run of the command: what failed, and how it tells people."""

    def __init__(self, args: argparse.Namespace, rank: Rank = Rank()) -> None:  # noqa: B008 (frozen)
        self.args = args
        self.rank = rank
        self.failed = 0
        self.reasons: list[tuple[str, str]] = []  # the videos that failed, or what was given for one
        self.failures: Failures | None = None  # of the output folder, once it is open
        self.with_problems = 0  # summaries
        self.done = 0
        self.results: dict[str, ResultFolder] = {}
        self.without_page: list[str] = []  # the ids of videos that are done
        self.ids: dict[Path, str] = {}  # the names of the videos' folders
        self.editing = Editing(args.length, args.snap)
        self.locks = ExitStack()

    def fail(self, message: str, video: str | Path) -> None:
        """Report a video that cannot be summarized."""
        self.failed += 1
        self.reasons.append((str(video), message))
        if self.failures is not None:
            self.failures.add(*self.reasons[-1])
        say(f"error: {self.rank.name}{message}")

    def find(self) -> list[Path]:
        """The videos that the arguments name, by their absolute paths, alike in every rank.

        A path that names none counts as failed, in rank 0.
        """
        fail = self.fail if self.rank.rank == 0 else (lambda message, video: None)
        found: dict[Path, None] = {}
        for path in self.args.videos:
            try:
                found.update(dict.fromkeys(Path(os.path.abspath(video)) for video in find_videos([path])))
            except VideoError as error:
                fail(str(error), path)
        alike = Counter((path.parent, path.stem) for path in found)
        by_id: dict[str, Path] = {}
        for path in found:
            video_id = path.stem if alike[path.parent, path.stem] == 1 else path.name  # beside x.mp4 there is x.mkv
            if video_id in by_id:
                fail(f"{path}: {by_id[video_id]} has the same id {video_id!r}; give it another --output-dir", path)
            elif video_id in RESERVED:
                fail(f"{path}: its id {video_id!r} is not free for a folder; give the video another name", path)
            elif os.fsencode(path) != str(path).encode(errors="replace"):
                fail(f"{str(path)!r}: its name is not UTF-8, and no JSON record can hold it", repr(str(path)))
            else:
                by_id[video_id] = path
        self.ids = {path: video_id for video_id, path in by_id.items()}
        return list(self.ids)

    def id_of(self, path: Path) -> str:
        """What the records call a video, and its folder: the file's stem, or its whole name beside one of that stem."""
        return self.ids.get(path, path.stem)

    def open_results(self) -> None:
        """Open the output folder, or that of each task, for this run alone.

        Raises:
            V2XumError: if another run fills it.
            NotADirectoryError: if it is a file.
        """
        args, part = self.args, f"rank{self.rank.rank:02d}" if self.rank.world_size > 1 else ""
        for task in args.tasks:
            folder = args.output_dir / task if args.task == ALL else args.output_dir
            if folder.exists() and not folder.is_dir():
                raise NotADirectoryError(f"{folder}: the output folder is a file")
            self.locks.enter_context(only_run(folder, part))
            self.results[task] = ResultFolder(folder, args.overwrite, self.rank.rank, self.rank.world_size)
        self.failures = Failures(args.output_dir, self.rank.rank, self.rank.world_size)
        for video, reason in self.reasons:
            self.failures.add(video, reason)

    def still_to_do(self, videos: list[Path], model: str) -> dict[Path, list[str]]:
        """The videos whose files are not all there, each with the tasks that it lacks.

        Raises:
            V2XumError: if some folders hold summaries that these would replace.
        """
        todo, done, others = {}, 0, []
        for path in videos:
            try:
                tasks = []
                for task, results in self.results.items():
                    video_id = self.id_of(path)
                    asked = Asked(task, model, self.args.video_track, self.args.window, self.editing.asked(task))
                    if results.is_done(path, asked, self.args.formats, video_id):
                        self.with_problems += results.has_problems(video_id)  # told again: --strict is about all
                    else:
                        tasks.append(task)
            except OtherSummary as error:
                others.append(str(error))
                continue
            except V2XumError as error:
                self.fail(str(error), path)
                continue
            if tasks:
                todo[path] = tasks
            else:
                if self.args.page and lacks_page(self.results, video_id):
                    self.without_page.append(video_id)
                done += 1
        if others:
            more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
            keep = "give another --output-dir" + ("" if self.args.task == ALL else ", or --task all for all three")
            raise V2XumError(f"{others[0]}{more}: {keep}, or --overwrite to replace it")
        if done:
            say(f"{self.rank.name}{done} of {len(videos)} videos are done already ({self.args.output_dir})")
        self.done += done
        return todo

    def summarize(self, videos: list[Path]) -> None:
        """Summarize and write this rank's share; each video's files come before its line in `summaries.jsonl`."""
        args = self.args
        self.open_results()
        share = videos[self.rank.rank :: self.rank.world_size]
        if not share:
            return
        todo = self.still_to_do(share, model_name(args.model_path))
        workers = self.rank.default_workers() if args.workers is None else args.workers
        self.write_lacking_pages(workers)
        if not todo:
            return
        summarizer = self.load()
        drawing = min((workers + 1) // 2, len(todo) - 1)  # for one video it would take as long to start
        try:
            with Progress(len(todo), self.rank) as progress, Writers(drawing) as writers:
                self.run(summarizer, todo, workers, writers, progress)
        except BaseException:
            if self.rank.world_size == 1:  # else others go on
                with suppress(OSError):
                    self.merge(videos)
            raise
        finally:
            if args.draft_table is not None and self.rank.rank == 0:
                summarizer.save_draft_table(args.draft_table)
        if args.stats:
            say(f"{self.rank.name}{format_stats(summarizer.stats, summarizer.seconds)}")

    def write_lacking_pages(self, workers: int) -> None:
        """Write the pages of videos that are done and have none."""
        if not self.without_page:
            return
        with Writers(min(workers, len(self.without_page) - 1)) as writers:
            for video_id in self.without_page:
                page = page_of(self.results, self.records_of(video_id), self.run_page, self.args.page_copy)
                if page is None:
                    lacks = "its record is of an older release; --overwrite makes it anew"
                    say(f"warning: {video_id}: there is no page of it: {lacks}")
                else:
                    self.note(writers.add_page(page, 0))
            self.note(writers.finish())

    @property
    def run_page(self) -> Path:
        return self.args.output_dir / PAGE_NAME

    def load(self) -> VideoSummarizer:
        """What summarizes, as the arguments ask for it."""
        summarizer = (self._load_ray if self.args.engine == "ray" else self._load_here)()
        if summarizer.note and self.rank.rank == 0:
            say(f"note: {summarizer.note}")
        return summarizer

    def _load_ray(self) -> VideoSummarizer:
        from .ray.summarizer import RaySummarizer

        args = self.args
        return RaySummarizer(settings_of(args), args.model_path, device=args.device, **loading_of(args))

    def _load_here(self) -> VideoSummarizer:
        with ended_by_interrupt(INTERRUPTED):
            from .summarizer import Summarizer

        args, device = self.args, self.rank.device(self.args.device)
        number = device.removeprefix("cuda:")
        if number.isdigit():
            import torch

            if int(number) < torch.cuda.device_count():  # else loading says what is wrong
                torch.cuda.set_device(device)  # else some allocations would open every rank's context on GPU 0 too
        with ended_by_interrupt(INTERRUPTED):  # LLaVA's imports take Ctrl-C for a class that is not there
            return Summarizer.from_pretrained(args.model_path, device=device, rank=self.rank.rank, **loading_of(args))

    def run(
        self,
        summarizer: VideoSummarizer,
        todo: dict[Path, list[str]],
        workers: int,
        writers: Writers,
        progress: Progress,
    ) -> None:
        """Summarize the videos, and write each in its turn."""
        args = self.args

        def leave_out(path: Path, error: V2XumError) -> None:
            self.fail(str(error), path)
            progress.advance(path, is_made=False)

        many = summarizer.summarize_many(
            todo,
            args.task,
            on_error=leave_out,
            workers=workers,
            thumbnails=args.page or any(FORMATS[name].needs_frames for name in args.formats),
            video_track=args.video_track,
            window=args.window,
            **answering_of(args),
        )
        with closing(many):  # after an error too the reading ends here, before anything is told
            for made in many:
                summaries = made if isinstance(made, dict) else {args.task: made}
                path = Path(next(iter(summaries.values())).record["video"])
                summaries = {task: self.finished(one, path) for task, one in summaries.items()}
                for warning in next(iter(summaries.values())).warnings:
                    say(f"warning: {warning}")
                records: dict[str, dict] = {}
                for task in todo[path]:
                    folder = self.results[task].folder_of(self.id_of(path))
                    one, last = summaries[task], task == todo[path][-1]
                    done = writers.add((one.record, last), one.record, one.thumbnails, folder, args.formats)
                    records[task] = one.record
                    self.note(done, progress)
                if args.page and (page := self.page_of(records, one)) is not None:
                    self.note(writers.add_page(page, len(records)), progress)
        self.note(writers.finish(), progress)

    def finished(self, made: VideoSummary, path: Path) -> VideoSummary:
        """A summary as it is kept: under the video's id, and as long as it is to be."""
        return replace(made, record=self.editing.edited({**made.record, "video_id": self.id_of(path)}))

    def page_of(self, records: dict[str, dict], made: VideoSummary) -> PageOf | None:
        """The page of a video with these new records, and with what was there of its other tasks."""
        records = {**self.records_of(next(iter(records.values()))["video_id"]), **records}
        return page_of(self.results, records, self.run_page, self.args.page_copy, made.thumbnails, made.warnings)

    def records_of(self, video_id: str) -> dict[str, dict]:
        """What the output folder has of a video, by task."""
        found = {task: results.record_of(video_id) for task, results in self.results.items()}
        return {task: record for task, record in found.items() if record is not None}

    def note(
        self, written: Iterable[tuple[tuple[dict, bool] | None, list[str]]], progress: Progress | None = None
    ) -> None:
        """Note summaries whose files are there: each record, and whether it is its video's last one; None is a page."""
        for key, warnings in written:
            for warning in warnings:
                say(f"warning: {warning}")
            if key is None or progress is None:
                continue
            record, last = key
            self.results[record["task"]].append(record)
            self.with_problems += bool(record["problems"])
            say(format_for_people(record) + "\n", sys.stdout)
            if last:
                self.done += 1
                progress.advance(Path(record["video"]))

    def still_needed(self, videos: list[Path]) -> str:
        """How much space the videos that are left are likely to take, by those that are done; "" where none is."""
        folders = [results.folder_of(self.id_of(path)) for results in self.results.values() for path in videos]
        sizes = [sum(file.stat().st_size for file in folder.iterdir()) for folder in folders if folder.is_dir()]
        left = len(videos) - self.done - self.failed
        if not self.done or left < 1:
            return ""
        return f"; the {left} videos that are left need about {for_people(sum(sizes) / self.done * left)}"

    def merge(self, videos: list[Path]) -> None:
        """Put the ranks' records together, and write the page of the run."""
        for results in self.results.values():
            results.merge(videos)
        if self.failures is not None:
            reasons = self.failures.merge([*map(str, videos), *(video for video, _ in self.reasons)])
            if self.args.page:
                page = write_page_of_run(self.args.output_dir, self.results, reasons)
                say(f"page: {page}")
            else:
                self.run_page.unlink(missing_ok=True)  # which would not tell of this run

    def tell(self) -> None:
        """Say how it went."""
        total, name, args = self.failed + self.done, self.rank.name, self.args
        if self.failed:
            say(f"{name}{self.failed} of {total} videos could not be summarized")
        elif total > 1:
            say(f"{name}{total} videos summarized: {args.output_dir / ('' if args.task == ALL else FILE_NAME)}")
        if self.with_problems:
            have = "summary has" if self.with_problems == 1 else "summaries have"
            say(f"{name}{self.with_problems} {have} problems, which the records name")
        if self.rank.world_size > 1 and not self.rank.has_launcher:  # nobody knows when all have come
            say(f"{name}the records of all ranks come into {FILE_NAME} when the same command runs in one process")

    @property
    def status(self) -> int:
        if not self.failed:
            return 1 if self.args.strict and self.with_problems else 0
        return 1 if self.done else 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run_command(parse_arguments(arguments))


def run_command(args: argparse.Namespace) -> int:
    """Summarize what the arguments ask for.

    Returns:
        The exit status: 0, 1 (some of several videos failed), 2, or 130 (interrupted).
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    rank = Rank.from_environment()
    run = InferRun(args, rank)
    videos = run.find()
    try:
        with run.locks:
            if videos:
                run.summarize(videos)
            run.tell()
            if rank.world_size == 1:
                run.merge(videos)
            rank.wait_for_all(first=lambda: run.merge(videos))
    except KeyboardInterrupt:
        say(INTERRUPTED)
        return 130
    except (V2XumError, OSError, ImportError, HelperStartError) as error:  # the model, the folders, a helper
        say(f"error: {rank.name}{error}{run.still_needed(videos) if isinstance(error, DiskFullError) else ''}")
        return 1 if run.done else 2
    return run.status
