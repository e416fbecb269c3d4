"""Compare video decoders: speed of reading N evenly spaced frames, and whether they are the right frames.

    python scripts/bench/bench_decode.py --render /tmp/bench clip1.mp4 clip2.mp4

decord and decord2 share the import name `decord`, so each lives in a folder of its own and is run in a
process of its own (a decoder without its folder is left out):

    pip install --no-deps --target /tmp/decord  decord==0.6.0
    pip install --no-deps --target /tmp/decord2 decord2
    python scripts/bench/bench_decode.py --decord /tmp/decord --decord2 /tmp/decord2 VIDEO...

"PyAV" is this package's own `read_video`. The oracle for exact frames is a full sequential decode by PyAV. A
frame counts as wrong when its luma differs from the oracle's by more than one grey level in the mean, which
leaves room for the decoders' different colour conversion. Seconds are medians of several runs, by the clock
and of processor time (all threads), which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from llava_v2xum.core.command_line import Parser

ROOT = Path(__file__).resolve().parents[2]
NUM_FRAMES = 100
LUMA_TOLERANCE = 1.0  # grey levels in the mean: conversion noise is below 0.6, a neighbouring frame is above
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Film:
    """What is rendered: H.264 with moving content.

    Args:
        seconds: how long it is.
        width, height: pixels, even numbers.
        fps: frames a second.
        key_every: frames from one key frame to the next.
        varies: show every other 10 seconds with a third of the frames.
    """

    seconds: int
    width: int
    height: int
    fps: int = 30
    key_every: int = 250
    varies: bool = False

    @property
    def name(self) -> str:
        """The name of its file."""
        kind = f"{'_varying' if self.varies else ''}{f'_gop{self.key_every}' if self.key_every != 250 else ''}"
        return f"rendered_{self.width}x{self.height}_{self.fps}fps_{self.seconds}s{kind}.mp4"

    def shows(self, number: int) -> bool:
        """Whether the frame with that number at the full rate is in the film."""
        return not self.varies or number // (10 * self.fps) % 2 == 0 or number % 3 == 0


def render(folder: Path, film: Film) -> Path:
    """Render a film; it is made once.

    Returns:
        the path of the file in `folder`.
    """
    import av

    path = folder / film.name
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    planes = _wide_picture(film)
    partial = path.with_suffix(".part.mp4")
    with av.open(str(partial), "w", options={"movflags": "faststart"}) as container:
        options = {"preset": "veryfast", "crf": "26", "g": str(film.key_every)}
        if film.key_every > 250:
            options["sc_threshold"] = "0"  # no key frame where the picture changes much either
        stream = container.add_stream("libx264", rate=film.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = film.width, film.height, "yuv420p"
        stream.codec_context.thread_count = 2
        for number in filter(film.shows, range(film.seconds * film.fps)):
            frame = av.VideoFrame.from_ndarray(_picture(planes, film, number), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, film.fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    partial.rename(path)
    return path


def _wide_picture(film: Film) -> list[np.ndarray]:
    """Luma, blue and red of one large blurred-noise picture; the film is a window that wanders over it."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(16, 235, (3, (film.height + 720) // 12, (film.width + 1120) // 12), dtype=np.uint8)
    return [np.kron(plane, np.ones((12, 12), dtype=np.uint8)) for plane in coarse]


def _picture(planes: list[np.ndarray], film: Film, number: int) -> np.ndarray:
    """One frame in YUV 4:2:0, uint8 [H * 3 / 2, W]."""
    luma, blue, red = planes
    width, height = film.width, film.height
    x = int(500 + 490 * np.sin(number / 97)) // 2 * 2
    y = int(350 + 340 * np.sin(number / 71)) // 2 * 2
    picture = np.empty((height * 3 // 2, width), dtype=np.uint8)
    picture[:height] = luma[y : y + height, x : x + width]
    # A bar that moves in every frame, so that no two neighbours are alike.
    picture[:height, number * 16 % (width - 80) :][:, :80] = 16 + number % 2 * 200
    chroma = [plane[y // 2 :, x // 2 :][: height // 2, : width // 2] for plane in (blue, red)]
    picture[height:] = np.concatenate([plane.ravel() for plane in chroma]).reshape(height // 2, width)
    return picture


def read_with_decord(path: str, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame numbers [N] and frames [N, H, W, 3] by the `decord` that this process imports."""
    import decord

    reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=threads)
    indices = np.linspace(0, len(reader) - 1, NUM_FRAMES).astype(np.int64)
    return indices, reader.get_batch(indices).asnumpy()


def read_with_pyav(path: str, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame numbers [N] and frames [N, H, W, 3] by this package's reader (one thread for each core)."""
    from llava_v2xum.core.timeline import Timeline
    from llava_v2xum.media.video import read_video

    video = read_video(path, Timeline(NUM_FRAMES))
    return video.frame_indices, video.frames


def work(reader: str, path: str, threads: int, runs: int, output: str) -> None:
    """The child process: time `runs` reads, save the last frames and print the seconds as JSON."""
    read = read_with_pyav if reader == "PyAV" else read_with_decord
    seconds = []
    for _ in range(runs):
        start, start_processor = time.perf_counter(), time.process_time()
        indices, frames = read(path, threads)
        seconds.append((time.perf_counter() - start, time.process_time() - start_processor))
    np.savez(output, indices=indices, frames=frames)
    print(json.dumps(seconds))


def measure(
    reader: str, folder: str, path: Path, args: argparse.Namespace
) -> tuple[list[tuple[float, float]], dict | str]:
    """Run one decoder on one video in a process of its own: the times of each run, its frames or error."""
    paths = [folder, str(ROOT)] if folder else [str(ROOT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        output = f"{scratch}/frames.npz"
        command = [sys.executable, __file__, "--child", reader, output, "--threads", str(args.threads)]
        command += ["--runs", str(args.runs), str(path)]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            return [], (result.stderr.strip().splitlines() or ["failed"])[-1]
        with np.load(output) as saved:
            return json.loads(result.stdout.splitlines()[-1]), dict(saved)


def oracle_luma(path: Path) -> dict[int, np.ndarray]:
    """The luma of the N evenly spaced frames by a full sequential decode: frame number -> float32 [H, W]."""
    import av

    with av.open(str(path)) as container:
        total = sum(1 for _ in container.decode(video=0))
    wanted = set(np.linspace(0, total - 1, NUM_FRAMES).astype(int).tolist())
    with av.open(str(path)) as container:
        return {
            number: frame.to_ndarray(format="rgb24").astype(np.float32) @ LUMA
            for number, frame in enumerate(container.decode(video=0))
            if number in wanted
        }


def wrong_frames(oracle: dict[int, np.ndarray], answer: dict) -> tuple[int, float]:
    """How many frames are not the oracle's, and the largest mean luma difference (grey levels)."""
    wrong, largest = 0, 0.0
    expected = [number for number in sorted(oracle)]
    if sorted(set(answer["indices"].tolist())) != expected:
        return NUM_FRAMES, float("nan")  # the decoder counts the frames otherwise
    for number, frame in zip(answer["indices"].tolist(), answer["frames"]):
        truth = oracle[number]
        if frame.shape[:2] != truth.shape:
            return NUM_FRAMES, float("nan")
        difference = float(np.abs(frame.astype(np.float32) @ LUMA - truth).mean())
        wrong += difference > LUMA_TOLERANCE
        largest = max(largest, difference)
    return wrong, largest


def report(videos: list[Path], readers: dict[str, str], args: argparse.Namespace) -> None:
    """Measure every decoder on every video and print a markdown table."""
    print("| video | decoder | seconds | times PyAV | processor seconds | wrong frames | max luma diff |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for path in videos:
        oracle, baseline = oracle_luma(path), None
        for reader, folder in readers.items():
            times, answer = measure(reader, folder, path, args)
            if isinstance(answer, str):
                print(f"| {path.name} | {reader} | failed: {answer} | | | | |", flush=True)
                continue
            seconds, processor = (statistics.median(column) for column in zip(*times, strict=True))
            baseline = baseline or seconds
            wrong, largest = wrong_frames(oracle, answer)
            cells = [
                f"{seconds:.3f}",
                f"{seconds / baseline:.2f}",
                f"{processor:.3f}",
                str(wrong),
                f"{largest:.2f}",
            ]
            print(f"| {path.name} | {reader} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("videos", nargs="*", help="video files")
    parser.add_argument(
        "--render", metavar="DIR", help="also measure a 10-minute 720p film, rendered once into DIR"
    )
    parser.add_argument("--decord", metavar="DIR", help="the folder that holds decord (pip install --target)")
    parser.add_argument(
        "--decord2", metavar="DIR", help="the folder that holds decord2 (pip install --target)"
    )
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each decoder on each video")
    parser.add_argument("--threads", type=int, default=2, help="decoding threads for decord and decord2")
    parser.add_argument("--child", nargs=2, metavar=("DECODER", "OUTPUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        work(args.child[0], args.videos[0], args.threads, args.runs, args.child[1])
        return
    videos = [Path(video) for video in args.videos]
    if args.render:
        videos.append(render(Path(args.render), Film(600, 1280, 720)))
    if not videos:
        parser.error("name at least one video, or --render DIR")
    readers = {"PyAV": ""}
    readers |= {
        name: folder for name, folder in (("decord", args.decord), ("decord2", args.decord2)) if folder
    }
    report(videos, readers, args)


if __name__ == "__main__":
    main()
