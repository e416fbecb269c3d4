"""Measure summarizing: this project against the released method's loop, on the same weights, videos and answers.

    python scripts/bench/bench_infer.py                                       # the demo checkpoint on 64 rendered clips
    python scripts/bench/bench_infer.py --models demo 110m 1b --clips 8 --rounds 1 \\
        --answers released_model_answers.jsonl --tokenizer vicuna/tokenizer.model
    python scripts/bench/bench_infer.py --queue 100,1000  # peak memory of the command over many videos
    python scripts/bench/bench_infer.py --models 7b --tower large ...         # on a GPU

From video files to answers with importance scores, every measurement in a process of its own, in turn, for --rounds
rounds; the figures are medians:

    released   the released method's loop (`released_loop.py`), one video at a time, with this project's video reader
    plain      this project without drafts, --batches rows
    drafts     the same with drafts
    three      the three tasks in three runs, with drafts
    all        `--task all`: the three tasks of each video together

Models: the demo checkpoint; and Llamas of random weights in the shapes 110m, 1b and 7b, whose answers are real ones
that are planted into them (`given_answers.py`), so that lengths and accepted drafts are real: of --answers every other
one, while the drafts' table is built from the rest. They need a LLaMA-type tokenizer (Vicuna's `tokenizer.model`, say).
The tower is the demo's small one; `--tower large` is of LLaVA-1.5's shape, with random weights.

Milliseconds by stage are a video's, added up over processes and overlap. "x base" is of videos a minute, for "all"
against "three" and else against the released loop; in parentheses of processor time, which other work on the machine
disturbs less. "bandwidth" is the share of the memory's read bandwidth (measured, or --bandwidth) that decoding reaches
if every pass reads the weights once. The last line is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench_infer_inputs import real_answers, tokenizer_folder, write_tower
from bench_infer_settings import DEMO, SHAPES, Job
from bench_infer_table import Result, check, median, ratios, table

from llava_v2xum.core.command_line import Parser
from llava_v2xum.media.video import find_videos

HERE = Path(__file__).resolve().parent
WAYS = ("released", "plain", "drafts", "three", "all")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--models", nargs="+", choices=("demo", *SHAPES), default=["demo"])
    add("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="what is measured (all)")
    add("--batches", nargs="+", type=int, default=[1, 8, 32], metavar="ROWS", help="of plain and drafts (1 8 32)")
    add("--task-batch", type=int, default=8, metavar="ROWS", help="of three and all (%(default)s)")
    add("--clips", type=int, default=64, help="rendered clips (%(default)s)")
    add("--videos", type=Path, help="a folder of videos to take instead, the first --clips of it")
    add("--answers", type=Path, help='JSON lines with an "answer" to the BOTH instruction each, for models of random '
        "weights")  # fmt: skip
    add("--tokenizer", type=Path, help="a LLaMA-type tokenizer.model, or its folder, for models of random weights")
    add("--tower", choices=["demo", "large"], default="demo", help="of models of random weights (%(default)s)")
    add("--max-new-tokens", type=int, default=1024, help="where answers are cut off (%(default)s)")
    add("--compile", action="store_true", help="plain, drafts, three and all with the command's --compile")
    add("--workers", type=int, help="processes that read videos (default: the command's own choice)")
    add("--rounds", type=int, default=3)
    add("--device", help="cpu, cuda, ... (a GPU where there is one)")
    add("--dtype", choices=["float32", "bfloat16"], help="default: bfloat16 on a GPU, else float32")
    add("--bandwidth", type=float, metavar="GB/S", help="of the memory (default: measured)")
    add("--queue", type=_numbers, metavar="N,N", help="only the peak memory of the command over so many videos")
    add("--work", type=Path, help="folder for clips and scratch files, kept (default: a temporary one)")
    add("--json", type=Path, help="also write the figures here")
    args = parser.parse_args(arguments)
    if min(args.clips, args.rounds, args.task_batch, args.max_new_tokens, *args.batches, *(args.queue or [1])) < 1:
        parser.error("numbers must be at least 1")
    if any(model != "demo" for model in args.models) and not (args.answers and args.tokenizer):
        parser.error(
            "models of random weights need --answers, and --tokenizer with a LLaMA-type tokenizer.model: the one in "
            "lmsys/vicuna-7b-v1.5, or in any checkpoint's folder"
        )
    args.device = args.device or _default_device()
    args.dtype = args.dtype or ("bfloat16" if args.device.startswith("cuda") else "float32")
    if "7b" in args.models and not args.device.startswith("cuda"):
        parser.error("--models 7b needs a GPU")
    return args


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def find_clips(args: argparse.Namespace, work: Path) -> list[str]:
    """The videos, rendered if need be."""
    folder = args.videos
    if folder is None:
        folder = work / "shapes" / "videos"
        call = [sys.executable, "-m", "llava_v2xum.shapes", "--videos", str(args.clips), "--seed", "11"]
        subprocess.run([*call, "--out", str(folder.parent)], check=True, stdout=subprocess.DEVNULL, env=_environment())
    found = [str(path.absolute()) for path in find_videos(folder)]
    if len(found) < args.clips and args.videos is not None:
        sys.exit(f"{folder}: expected {args.clips} videos (--clips), found {len(found)}")
    return found[: args.clips]


def jobs_of(args: argparse.Namespace, videos: list[str], work: Path) -> Iterator[Job]:
    """All measurements of a round."""
    for model in args.models:
        job = Job(
            "", model, tuple(videos), str(work), device=args.device, dtype=args.dtype, workers=args.workers,
            max_new_tokens=args.max_new_tokens, compile=args.compile,
        )  # fmt: skip
        if model != "demo":
            given, others = real_answers(args.answers, len(videos))
            tower = write_tower(work / "large_tower") if args.tower == "large" else DEMO / "vision_tower"
            tokenizer = tokenizer_folder(args.tokenizer, work)
            job = dataclasses.replace(
                job, tower=str(tower), tokenizer=str(tokenizer), answers=tuple(given), learnt=tuple(others)
            )
        for way in args.ways:
            batches = {"plain": args.batches, "drafts": args.batches, "released": [1]}.get(way, [args.task_batch])
            for batch in batches:
                yield dataclasses.replace(job, what=way, batch=batch)


def _environment() -> dict[str, str]:
    paths = [str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def run_job(job: Job) -> dict:
    """One measurement in a process of its own."""
    text = json.dumps(dataclasses.asdict(job))
    call = [sys.executable, "-W", "ignore", str(HERE / "bench_infer_job.py")]
    done = subprocess.run(call, input=text, capture_output=True, text=True, env=_environment())
    if done.returncode:
        sys.exit(f"{job.model} {job.what} {job.batch} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def results_of(rounds: dict[Job, list[dict]], args: argparse.Namespace) -> dict[str, list[Result]]:
    """For each model its ways, compared."""
    medians = {job: median(runs) for job, runs in rounds.items()}
    made: dict[str, list[Result]] = {}
    for job, figures in medians.items():
        of_model = {other.what: found for other, found in medians.items() if other.model == job.model}
        bases = {"plain": "released", "drafts": "released", "all": "three"}
        rate = 1e9 * args.bandwidth if args.bandwidth else max(found["bandwidth"] for found in medians.values())
        base = of_model.get(bases.get(job.what))
        made.setdefault(job.model, []).append(Result(job.what, job.batch, len(job.videos), figures, base, rate))
    return made


def machine(device: str) -> str:
    """What the figures are of."""
    import torch
    import transformers

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()
    return (
        f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads of torch {torch.__version__}, "
        f"transformers {transformers.__version__}"
    )


def queue(args: argparse.Namespace, videos: list[str], work: Path) -> dict[str, dict]:
    """Peak memory of the command over as many links to the videos as --queue says."""
    made: dict[str, dict] = {}
    print("| videos | videos/min | peak MB | its readers' |\n| --- | --- | --- | --- |")
    for count in args.queue:
        with tempfile.TemporaryDirectory(dir=work) as scratch:
            links = Path(scratch) / "links"
            links.mkdir()
            for number in range(count):
                source = Path(videos[number % len(videos)])
                (links / f"video_{number:06d}{source.suffix}").symlink_to(source)
            job = Job("queue", "demo", (str(links),), scratch, batch=args.task_batch, device=args.device)
            made[str(count)] = figures = run_job(job)
        speed = 60 * count / figures["seconds"]
        sizes = (figures[name] / 1e6 for name in ("peak_bytes", "reader_bytes"))
        print(f"| {count} | {speed:.0f} | " + " | ".join(f"{size:.1f}" for size in sizes) + " |", flush=True)
    return made


def measure(args: argparse.Namespace, videos: list[str], work: Path) -> tuple[dict[str, list[Result]], list[str]]:
    """All rounds, and the tables as they come out; what is wrong with the answers."""
    jobs = list(jobs_of(args, videos, work))
    for tower in dict.fromkeys(job.tower for job in jobs if job.model != "demo"):
        of_tower = next(job for job in jobs if job.tower == tower and job.model != "demo")
        run_job(dataclasses.replace(of_tower, what="means"))
    rounds: dict[Job, list[dict]] = {}
    for number in range(args.rounds):
        for job in jobs:
            print(f"round {number + 1} of {args.rounds}: {job.model} {job.what} {job.batch}", file=sys.stderr)
            rounds.setdefault(job, []).append(run_job(job))
    results = results_of(rounds, args)
    for model, rows in results.items():
        print(f"\n## {model}: {len(videos)} videos, {args.dtype}, milliseconds a video by stage\n\n{table(rows)}")
    return results, check(results, args.dtype)


def main() -> None:
    """Measure, print the tables, and the ratios as JSON on the last line."""
    args = parse()
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        videos = find_clips(args, work)
        print(machine(args.device))
        if args.queue:
            figures = queue(args, videos, work)
            peaks = [figures[str(count)]["peak_bytes"] for count in args.queue]
            last, wrong = {"peak_ratios": [round(peak / peaks[0], 4) for peak in peaks]}, []
        else:
            results, wrong = measure(args, videos, work)
            last = ratios(results)
            figures = {model: {f"{one.way} {one.rows}": one.figures for one in rows} for model, rows in results.items()}
    if args.json:
        told = {"machine": machine(args.device), "arguments": vars(args), "figures": figures, "ratios": last}
        args.json.write_text(json.dumps(told, indent=1, default=str) + "\n")
    if wrong:
        sys.exit("\n".join(wrong))
    print(json.dumps(last))


if __name__ == "__main__":
    main()
