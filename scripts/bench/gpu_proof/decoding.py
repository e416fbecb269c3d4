"""Answers from stored features by a large decoder of random weights, into which real answers are planted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from bench_infer_inputs import real_answers, tokenizer_folder
from bench_infer_job import decoder_bytes, load_tokenizer
from bench_infer_settings import DEMO
from given_answers import GivenAnswers, make_decoder, plant
from released_loop import released_answer
from torch import Tensor

from gpu_proof.card import copy_bandwidth, flop_limit
from gpu_proof.rows import BANDWIDTH, RATE, RELEASED, Row, measured, peak_gigabytes
from gpu_proof.setting import Setting
from llava_v2xum.core.tasks import TASKS, query_for
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.data.dataset import build_input_ids
from llava_v2xum.infer.drafting import DEFAULT_DRAFTER, drafter_kind
from llava_v2xum.infer.engine import Engine, Job
from llava_v2xum.shapes import answer_of, make_clip, truth_frames

SERIES, LEARNT = 41, 42  # of clips: whose answers are planted, and whose answers drafts may know
BOTH = TASKS.index("both")


@dataclass(frozen=True)
class Planted:
    """A model, videos as a feature folder has them, and the answers that it gives.

    Attributes:
        features: float16 [100, C] on the CPU.
        answers: of each video its answer to BOTH.
        learnt: other answers.
        bandwidth, flops: what the card can do at most, bytes and FLOP a second.
    """

    setting: Setting
    tokenizer: object
    model: object
    features: list[Tensor]
    answers: list[str]
    learnt: list[str]
    bandwidth: float
    flops: float

    @classmethod
    def of(cls, setting: Setting) -> Planted:
        """Made on the device."""
        source = tokenizer_folder(Path(setting.tokenizer), Path(setting.folder)) if setting.tokenizer else DEMO
        tokenizer = load_tokenizer(str(source))
        if setting.answers:
            given, learnt = real_answers(Path(setting.answers), setting.known)
        else:
            given = [shapes_answers(SERIES, number) for number in range(setting.known)]
            learnt = [shapes_answers(LEARNT, number)[BOTH] for number in range(setting.learnt)]
        tower, dtype = DEMO / "vision_tower", getattr(torch, setting.dtype)
        model = make_decoder(
            setting.llama, tokenizer, tower, setting.width, setting.device, dtype, setting.vocabulary
        )
        made = torch.Generator().manual_seed(0)
        features = [torch.randn(100, setting.width, generator=made).half() for _ in given]
        means = torch.stack([video.float().mean(dim=0) for video in features])
        plant(model, GivenAnswers.of(model, tokenizer, means, given))
        answers = [texts[BOTH] for texts in given]
        limits = copy_bandwidth(setting), flop_limit(setting)
        return cls(setting, tokenizer, model, features, answers, learnt, *limits)

    @property
    def prompt(self) -> Tensor:
        return build_input_ids(self.tokenizer, query_for("both"))

    def jobs(self, count: int) -> Iterator[Job[int]]:
        """So many videos, from the first one again after the last."""
        prompt = self.prompt
        return (Job(number, (prompt,), self.features[number % len(self.features)]) for number in range(count))

    def engine(self, rows: int, drafts: bool, compile: bool | str) -> Engine:
        """One whose drafts know other answers and nothing of this run."""
        drafter = None
        if drafts:
            drafter = drafter_kind(DEFAULT_DRAFTER).load(self.tokenizer, self.model.config.timeline, None)
            for text in self.learnt:
                ids = self.tokenizer(text, add_special_tokens=False).input_ids
                drafter.learn([*ids, self.tokenizer.eos_token_id])
        return Engine(self.model, self.tokenizer, rows=rows, drafter=drafter, compile=compile)

    def right(self, found: dict[int, str]) -> bool:
        """Whether these are the planted answers."""
        return all(text == self.answers[number % len(self.answers)] for number, text in found.items())


def shapes_answers(series: int, number: int) -> tuple[str, ...]:
    """The true answers to the tasks of a rendered clip."""
    clip, timeline = make_clip(series, number), Timeline(100)
    events = [(event.sentence, truth_frames(clip, event, timeline)) for event in clip.events]
    return tuple(answer_of(events, task) for task in TASKS)


def run(setting: Setting) -> Iterator[Row]:
    """The released method's loop, and this project's passes without and with drafts."""
    planted = Planted.of(setting)
    yield measured(RELEASED, by_the_loop, planted)
    for drafts in (False, True):
        for rows, videos in setting.batches:
            yield measured(_name(rows, drafts), by_the_engine, planted, rows, videos, drafts)


def run_compiled(setting: Setting) -> Iterator[Row]:
    """Compiled passes: first one row without drafts, which needs the fewest shapes."""
    planted = Planted.of(setting)
    (first, *others) = setting.batches
    for (rows, videos), drafts in ((first, False), (others[-1], True), (others[-1], False), (first, True)):
        yield measured(_name(rows, drafts), by_the_engine, planted, rows, videos, drafts, setting.backend)


def _name(rows: int, drafts: bool) -> str:
    return f"{rows} row{'s' * (rows > 1)}, {'drafts' if drafts else 'a token a pass'}"


def by_the_loop(planted: Planted) -> Row:
    """The released method's loop, one video at a time."""
    model, setting = planted.model, planted.setting
    videos = [video.to(model.device) for video in planted.features[: setting.released]]
    released_answer(model, planted.tokenizer, planted.prompt, videos[0], max_new_tokens=8)  # warms up
    began = time.perf_counter()
    found = [released_answer(model, planted.tokenizer, planted.prompt, video) for video in videos]
    seconds = time.perf_counter() - began
    stages = {"prefill": "prefill_seconds", "decode": "decode_seconds"}
    parts = {part: sum(getattr(answer, name) for answer in found) for part, name in stages.items()}
    passes = sum(answer.passes for answer in found) - len(found)
    return {
        "rows": 1,
        RATE: 60 * len(videos) / seconds,
        "passes an answer": passes / len(videos) + 1,
        BANDWIDTH: passes * decoder_bytes(model) / parts["decode"] / planted.bandwidth,
        **{f"{part}, ms": 1000 * taken / len(videos) for part, taken in parts.items()},
        **peak_gigabytes(setting.device),
        "right": planted.right({number: answer.text for number, answer in enumerate(found)}),
    }


def by_the_engine(planted: Planted, rows: int, videos: int, drafts: bool, compile: bool | str = False) -> Row:
    """This project's passes over so many videos."""
    began = time.perf_counter()
    # shapes that are compiled come with the answers, so all of them must have been there; else one round is enough
    for _ in planted.engine(rows, drafts, compile).run(planted.jobs(videos if compile else rows)):
        pass
    warming = time.perf_counter() - began
    engine = planted.engine(rows, drafts, compile)
    began = time.perf_counter()
    found = {number: answers[0].text for number, answers in engine.run(planted.jobs(videos))}
    seconds = time.perf_counter() - began
    stats, model = engine.stats, planted.model
    layers = sum(weight.numel() for weight in model.model.layers.parameters())
    return {
        "rows": rows,
        "drafts": drafts,
        RATE: 60 * videos / seconds,
        "passes an answer": (stats.row_passes + stats.answers) / stats.answers,
        BANDWIDTH: stats.passes * decoder_bytes(model) / stats.seconds["decode"] / planted.bandwidth,
        "prefill, share of FLOP limit": 2 * layers * stats.prefill_positions / stats.seconds["prefill"] / planted.flops,
        **{f"{part}, ms": 1000 * taken / videos for part, taken in sorted(stats.seconds.items())},
        **peak_gigabytes(planted.setting.device),
        "warming up, s": warming,
        "right": planted.right(found),
    }
