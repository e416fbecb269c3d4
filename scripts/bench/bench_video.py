"""Measure reading the 100 frames of a video, from files of several kinds, and of many files at once.

    python scripts/bench/bench_video.py --render /tmp/bench            # renders the files once, 150 MB, some minutes
    python scripts/bench/bench_video.py CLIP.mp4 ... --render /tmp/bench --runs 5 --json out.json

For each file: `read_video`, against a full sequential decode that takes the same frames out of all (PyAV with its
threads on, each frame's picture made only if it is wanted). Both must give the same frames, or the run fails. Then the
files are read together, one by one and by 2 and 4 threads. Seconds are medians of --runs runs in turn; only the ratios
mean something on a machine with other work. The last line is JSON.

    short                 6 s of 640x360
    long                  10 minutes of 1280x720
    1080p                 1 minute of 1920x1080
    variable frame rate   2 minutes of 854x480, of which every other 10 s has a third of the frames
    long GOP              2 minutes of 854x480 with the only key frame at the start
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from bench_decode import Film, render

from llava_v2xum.core.command_line import Parser
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.media.video import read_video

FILMS = {
    "short": Film(6, 640, 360),
    "long": Film(600, 1280, 720),
    "1080p": Film(60, 1920, 1080),
    "variable frame rate": Film(120, 854, 480, varies=True),
    "long GOP": Film(120, 854, 480, key_every=100_000),
}
THREADS = (2, 4)


def read_sequentially(path: Path) -> np.ndarray:
    """The frames uint8 [N, H, W, 3] that stand for a video, by decoding all of it."""
    import av

    with av.open(str(path)) as container:  # counting needs no decoding where packets are frames, as in these files
        total = sum(1 for packet in container.demux(video=0) if packet.size)
    wanted = Timeline().sample(total)
    taken = {}
    numbers = set(wanted.tolist())
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for number, frame in enumerate(container.decode(video=0)):
            if number in numbers:
                taken[number] = frame.to_ndarray(format="rgb24")
    return np.stack([taken[number] for number in wanted.tolist()])


def in_turn(ways: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """The median seconds of each, run one after the other so that other work disturbs all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, work in ways.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def measure_file(path: Path, runs: int) -> dict[str, float]:
    """Seconds of both ways, and their ratio; leaves with the file's name if they do not give the same frames."""
    frames: dict[str, np.ndarray] = {}
    ways = {
        "read": lambda: frames.update(read=read_video(path).frames),
        "full": lambda: frames.update(full=read_sequentially(path)),
    }
    taken = in_turn(ways, runs)
    if not np.array_equal(frames["read"], frames["full"]):
        sys.exit(f"{path}: read_video and a full decode give other frames")
    return {**taken, "ratio": taken["full"] / taken["read"]}


def measure_overlap(paths: Sequence[Path], runs: int) -> dict[str, float]:
    """Seconds for all files one by one, and by several threads."""

    def together(threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(read_and_forget, paths):
                pass

    ways: dict[str, Callable[[], object]] = {"1": lambda: [read_and_forget(path) for path in paths]}
    ways.update({str(threads): lambda n=threads: together(n) for threads in THREADS})
    return in_turn(ways, runs)


def read_and_forget(path: Path) -> int:
    """Read a video; its frames are not kept, so that memory does not grow with the files."""
    return len(read_video(path).frames)


def report(files: dict[str, Path], repeat: int, runs: int) -> dict[str, dict]:
    """Measure, and print the tables as they come out."""
    print("| file | seconds | full decode | ratio |\n| --- | --- | --- | --- |", flush=True)
    found = {}
    for name, path in files.items():
        found[name] = figures = measure_file(path, runs)
        print(f"| {name} | {figures['read']:.2f} | {figures['full']:.2f} | {figures['ratio']:.2f} |", flush=True)
    overlap = measure_overlap([*files.values()] * repeat, runs)
    print(f"\n| {len(files) * repeat} files | seconds | times one by one |\n| --- | --- | --- |")
    for threads, seconds in overlap.items():
        name = "one by one" if threads == "1" else f"{threads} threads"
        print(f"| {name} | {seconds:.2f} | {overlap['1'] / seconds:.2f} |")
    return {"files": found, "overlap": overlap}


def main() -> None:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("videos", nargs="*", type=Path, help="further video files")
    parser.add_argument("--render", type=Path, metavar="DIR", help="the five kinds of files, rendered once into DIR")
    parser.add_argument("--only", nargs="+", choices=FILMS, default=list(FILMS), help="of these kinds (all)")
    parser.add_argument("--runs", type=int, default=3, help="that a median is taken of (%(default)s)")
    parser.add_argument("--repeat", type=int, default=1, help="times that each file is read for the overlap (1)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    if min(args.runs, args.repeat) < 1:
        parser.error("numbers must be at least 1")
    files = {str(path): path for path in args.videos}
    if args.render:
        files |= {name: render(args.render, FILMS[name]) for name in args.only}
    if not files:
        parser.error("name at least one video, or --render DIR")
    what = f"{Timeline().num_frames} frames of each file, medians of {args.runs} runs"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {what}\n", flush=True)
    made = report(files, args.repeat, args.runs)
    if args.json:
        args.json.write_text(json.dumps(made, indent=1) + "\n")
    ratios = {name: round(figures["ratio"], 2) for name, figures in made["files"].items()}
    threads = {count: round(made["overlap"]["1"] / seconds, 2) for count, seconds in made["overlap"].items()}
    print(json.dumps({**ratios, "threads": threads}))


if __name__ == "__main__":
    main()
