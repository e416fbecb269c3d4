"""One measurement of `bench_infer.py`, in a process of its own so that its peak memory is its own.

    echo '{"what": "drafts", "model": "demo", "batch": 8, ...}' | python scripts/bench/bench_infer_job.py

Prints the figures as JSON on its last line. `Job` names the settings.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import threading
import time
from pathlib import Path

import psutil
import torch
from bench_infer_settings import DEMO, Job
from given_answers import GivenAnswers, make_model, plant
from released_loop import released_answer, synchronize

CHUNK = 2**28  # bytes read at a time to learn the memory's bandwidth: larger than caches


def load_tokenizer(folder: str):
    """A LLaMA tokenizer, padding as this project's models want it."""
    from transformers import LlamaTokenizer

    tokenizer = LlamaTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.unk_token
    return tokenizer


def load(job: Job):
    """Tokenizer, model and frame encoder of a job."""
    if job.model == "demo":
        from llava_v2xum.model.checkpoint import load_pretrained

        return load_pretrained(DEMO, device=job.device, dtype=job.dtype)
    tokenizer = load_tokenizer(job.tokenizer)
    model, encoder = make_model(job.model, tokenizer, job.tower, job.device, getattr(torch, job.dtype))
    plant(model, GivenAnswers.of(model, tokenizer, torch.load(job.means_file), job.answers))
    return tokenizer, model, encoder


def mean_features(job: Job) -> None:
    """Write the mean feature of every video, [M, C], by which a planted model knows it."""
    from llava_v2xum.media.video import read_video

    tokenizer = load_tokenizer(job.tokenizer)
    _, encoder = make_model("tiny", tokenizer, job.tower, job.device, getattr(torch, job.dtype))
    means = [encoder(read_video(path).frames).float().mean(dim=0).cpu() for path in job.videos]
    torch.save(torch.stack(means), job.means_file)


class Clock:
    """Seconds and processor seconds since it began, those of processes that have ended included."""

    def __init__(self) -> None:
        self.began, self.used = time.perf_counter(), self._processor_seconds()

    @staticmethod
    def _processor_seconds() -> float:
        both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in both)

    def figures(self) -> dict[str, float]:
        return {
            "seconds": time.perf_counter() - self.began,
            "processor_seconds": self._processor_seconds() - self.used,
        }


def peak_bytes() -> int:
    """The largest resident memory that this process has had."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says may be its parent's from before the start
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


class Readers:
    """Watches what the processes that this one starts take of the memory, all together, while the block runs.

    Attributes:
        peak: bytes, the most that was seen; 20 looks a second.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Readers:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        this = psutil.Process()
        command = this.cmdline()
        while not self._over.wait(0.05):
            total = 0
            for process in this.children(recursive=True):
                with contextlib.suppress(psutil.Error):  # it has ended
                    if process.cmdline() != command:  # one that is just being started has our memory
                        total += process.memory_info().rss
            self.peak = max(self.peak, total)


def bandwidth(device: torch.device) -> float:
    """Bytes a second that reading memory reaches: a sum over more than caches hold, the best of some."""
    large = torch.ones(CHUNK * (16 if device.type == "cuda" else 1) // 4, device=device)
    rates = []
    for _ in range(5):
        synchronize(device)
        began = time.perf_counter()
        large.sum()
        synchronize(device)
        rates.append(4 * len(large) / (time.perf_counter() - began))
    return max(rates)


def decoder_bytes(model) -> int:
    """The weights that one pass over one token reads: layers, norm and head."""
    parts = (model.model.layers, model.model.norm, model.lm_head)
    return sum(weight.numel() * weight.element_size() for part in parts for weight in part.parameters())


def measure_released(job: Job) -> dict:
    """The released method's loop over all videos."""
    from llava_v2xum.core.tasks import query_for
    from llava_v2xum.data.dataset import build_input_ids
    from llava_v2xum.media.video import read_video

    tokenizer, model, encoder = load(job)
    prompt = build_input_ids(tokenizer, query_for(job.task))
    stages = dict.fromkeys(("read", "encode", "prefill", "decode"), 0.0)
    answers = []

    def summarize(path: str) -> None:
        marks = [time.perf_counter()]
        video = read_video(path)
        marks.append(time.perf_counter())
        features = encoder(video.frames)
        synchronize(model.device)
        marks.append(time.perf_counter())
        answers.append(released_answer(model, tokenizer, prompt, features, job.max_new_tokens))
        times = (marks[1] - marks[0], marks[2] - marks[1], answers[-1].prefill_seconds, answers[-1].decode_seconds)
        for stage, seconds in zip(stages, times):
            stages[stage] += seconds

    summarize(job.videos[0])  # warms up
    stages.update(dict.fromkeys(stages, 0.0))
    answers.clear()
    clock = Clock()
    for path in job.videos:
        summarize(path)
    return {
        **clock.figures(),
        "stages": stages,
        "passes": sum(answer.passes for answer in answers) / len(answers),
        "weight_reads": sum(answer.passes - 1 for answer in answers),
        "answers": [
            [answer.text, None if answer.importance is None else answer.importance.tolist()] for answer in answers
        ],
        **_machine_figures(model, 0),
    }


def measure_project(job: Job) -> dict:
    """This project's way, from the files to the records."""
    from llava_v2xum.core.tasks import TASKS

    loaded = load(job)
    options = {"batch_size": job.batch, "workers": job.workers, "max_new_tokens": job.max_new_tokens}
    options.update(thumbnails=False, drafts=job.what != "plain", compile=job.compile)
    runs = TASKS if job.what == "three" else ("all",) if job.what == "all" else (job.task,)
    first = job.videos if job.compile else job.videos[:1]  # only all of them bring all shapes that are compiled
    list(_summarizer(job, *loaded).summarize_many(first, runs[0], **options))  # warms up
    summarizers = [_summarizer(job, *loaded) for _ in runs]
    clock = Clock()
    with Readers() as readers:
        made = [list(one.summarize_many(job.videos, task, **options)) for one, task in zip(summarizers, runs)]
    figures = clock.figures()
    by_video = [row[0].values() if job.what == "all" else row for row in zip(*made)]
    stages: dict[str, float] = {}
    for one in summarizers:
        timed = {**one.seconds, **one.stats.seconds}
        timed["prefill"] = timed.pop("embed", 0.0) + timed.get("prefill", 0.0)
        for stage, seconds in timed.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    stats = [one.stats for one in summarizers]
    answers = sum(one.answers for one in stats)
    drafted = sum(one.drafted for one in stats)
    return {
        **figures,
        "stages": stages,
        "passes": (sum(one.row_passes for one in stats) + answers) / answers,
        "weight_reads": sum(one.passes for one in stats),
        "accepted": sum(one.accepted for one in stats) / drafted if drafted else 0.0,
        "answers": [[made.record["answer"], made.record["importance"]] for row in by_video for made in row],
        **_machine_figures(loaded[1], readers.peak),
    }


def _summarizer(job: Job, tokenizer, model, encoder):
    """A Summarizer whose drafts know the other answers and nothing of this run."""
    from llava_v2xum.infer.summarizer import Summarizer

    summarizer = Summarizer(tokenizer, model, encoder, job.model)
    for text in job.learnt:
        summarizer.drafter.learn([*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id])
    return summarizer


def _machine_figures(model, reader_bytes: int) -> dict[str, float]:
    """Peak memory (taken before what follows needs some), and what the bandwidth's share is made of."""
    figures = {
        "peak_bytes": peak_bytes(),
        "reader_bytes": reader_bytes,
        "decoder_bytes": decoder_bytes(model),
    }
    if model.device.type == "cuda":
        figures["device_bytes"] = torch.cuda.max_memory_allocated()
    return {**figures, "bandwidth": bandwidth(model.device)}


def measure_queue(job: Job) -> dict:
    """The command on as many videos as there are: its peak memory, its readers' apart."""
    from llava_v2xum.infer.run import main

    arguments = [*job.videos, "--format", "json", "--output-dir", str(Path(job.folder) / "queued")]
    clock = Clock()
    with (
        Readers() as readers,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        status = main([*arguments, "--batch-size", str(job.batch), "--device", job.device])
    if status:
        raise SystemExit(f"the command ended with status {status}")
    return {**clock.figures(), "peak_bytes": peak_bytes(), "reader_bytes": readers.peak}


def main() -> None:
    """Measure what the JSON on standard input asks for."""
    job = Job(**json.load(sys.stdin))
    if job.what == "means":
        mean_features(job)
        figures = {}
    elif job.what == "queue":
        figures = measure_queue(job)
    else:
        figures = (measure_released if job.what == "released" else measure_project)(job)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
