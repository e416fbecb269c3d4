"""Videos read in parallel, so that a file on which the decoder crashes costs that file and nothing else."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
import torch

from ..core.errors import V2XumError
from ..core.timeline import Timeline
from ..media.video import read_video
from .encoder import resize
from .sources import file_source

logger = logging.getLogger(__name__)


class WorkerError(RuntimeError):
    """The processes that read videos cannot start."""


@dataclass(frozen=True)
class ReadVideo:
    """A video's frames as the tower takes them.

    Args:
        pixels: uint8 [N, 3, h, w].
        source: what is known of its file.
        warnings: what was wrong with the file and did not stop it from being read.
    """

    pixels: np.ndarray
    source: dict
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """Why a video could not be read; names the file."""

    reason: str


@dataclass(frozen=True)
class FrameReader:
    """Reads videos for a tower without having it; can be sent to another process.

    Args:
        timeline: says which frames stand for a video.
        image_processor: the tower's.
        aspect_ratio: see `FrameEncoder`.
    """

    timeline: Timeline
    image_processor: object
    aspect_ratio: str | None
    frames_at_once: int = 32  # bounds what padding and resizing hold beside the video's own frames

    def __call__(self, path: Path) -> ReadVideo:
        """Decode and resize a video.

        Raises:
            VideoError: naming the file, if it cannot be read.
        """
        video = read_video(path, self.timeline)
        starts = range(0, len(video.frames), self.frames_at_once)
        parts = [video.frames[start : start + self.frames_at_once] for start in starts]
        pixels = np.concatenate([resize(part, self.image_processor, self.aspect_ratio).numpy() for part in parts])
        return ReadVideo(pixels, file_source(path, video.total_frames, not video.warnings), video.warnings)


def read_all(
    reader: Callable[[Path], ReadVideo], paths: Iterable[Path], workers: int
) -> Iterator[tuple[Path, ReadVideo | Failure]]:
    """Each video as it is ready, in no fixed order; at most one a worker waits to be taken.

    Args:
        reader: importable by its name in a fresh process.
        workers: processes that read; 0 reads in this one.

    Raises:
        WorkerError: if a worker ends before it can read anything.
    """
    if workers == 0:
        for path in paths:
            yield path, _attempt(reader, path)
        return
    pool = _Pool(reader)
    try:
        yield from pool.run(list(paths), workers)
    finally:
        pool.close()


def _attempt(reader, path: Path) -> ReadVideo | Failure:
    try:
        return reader(path)
    except V2XumError as error:  # VideoError names the file
        return Failure(str(error))
    except Exception as error:  # whatever it is, it is this video's, and the reason is told with its name
        return Failure(f"{path}: {type(error).__name__}: {error}")


class _Pool:
    """The processes, and which video each has."""

    def __init__(self, reader) -> None:
        self.reader = reader
        self.context = multiprocessing.get_context("spawn")  # a fork would copy CUDA's and OpenMP's state
        self.processes: dict[Connection, multiprocessing.process.BaseProcess] = {}
        self.reading: dict[Connection, Path | None] = {}  # None before the first word of a process

    def start(self) -> None:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_serve, args=(theirs, self.reader), daemon=True)
        process.start()
        theirs.close()  # so that the end of the process ends the connection
        self.processes[ours], self.reading[ours] = process, None

    def run(self, paths: list[Path], workers: int) -> Iterator[tuple[Path, ReadVideo | Failure]]:
        queue = list(reversed(paths))
        for _ in range(min(workers, len(paths))):
            self.start()
        while self.processes:
            for connection in wait(list(self.processes)):
                path, answer = self.answer_of(connection)
                if connection in self.processes:
                    self.hand_out(connection, queue)
                elif queue:
                    self.start()
                if path is not None:
                    yield path, answer

    def answer_of(self, connection: Connection) -> tuple[Path | None, ReadVideo | Failure | None]:
        """What a process has said; one that is gone is taken off."""
        path = self.reading[connection]
        try:
            return path, connection.recv()
        except (EOFError, OSError):
            code = self.take_off(connection)
        if path is None:
            raise WorkerError(f"a process that reads videos could not start (exit status {code}); try --workers 0")
        return path, Failure(f"{path}: the process that read it was ended ({_exit_reason(code)})")

    def hand_out(self, connection: Connection, queue: list[Path]) -> None:
        """Give a process its next video, or let it go."""
        if not queue:
            self.take_off(connection)
            return
        self.reading[connection] = queue[-1]
        try:
            connection.send(queue[-1])
        except OSError:  # it ended between two videos: the next look at it tells
            logger.debug("a process that reads videos is gone")
        queue.pop()

    def take_off(self, connection: Connection) -> int | None:
        """Forget a process that has ended or has nothing to do; returns its exit status."""
        connection.close()
        process = self.processes.pop(connection)
        self.reading.pop(connection)
        process.join()
        return process.exitcode

    def close(self) -> None:
        """End what still runs."""
        for connection, process in self.processes.items():
            connection.close()
            process.terminate()
        for process in self.processes.values():
            process.join()
        self.processes.clear()


def _serve(connection: Connection, reader) -> None:
    """A process's life: one video after the other, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends it
    torch.set_num_threads(1)  # the processes share the cores
    try:
        connection.send(None)
        while True:
            connection.send(_attempt(reader, connection.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the main process is done, or gone; what libraries do at exit may hang on a dead terminal


def _exit_reason(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit status {code}"
