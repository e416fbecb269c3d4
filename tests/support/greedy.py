"""What the engine is held against: transformers' greedy answers, and drafts of every kind on the way to them."""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import weights
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

import llava_v2xum
from llava_v2xum.core.tasks import query_for
from llava_v2xum.data.dataset import build_input_ids
from llava_v2xum.infer.engine.answers import Answer, answer_of, digit_token_ids
from llava_v2xum.shapes import draw_frames, make_clip

TASKS = ("both", "video", "text")
LIMIT = 24  # tokens of an answer of random weights


class Drafts:
    """Proposes what a function makes of what truly comes next; remembers what it was taught."""

    def __init__(self, truths, change) -> None:
        self.truths, self.change, self.learnt = [list(truth) for truth in truths], change, []

    def propose(self, answer, limit):
        coming = next((truth[len(answer) :] for truth in self.truths if truth[: len(answer)] == list(answer)), [])
        return self.change(coming, limit), None

    def learn(self, answer):
        self.learnt.append(tuple(answer))


def changes(vocabulary: int, eos: int) -> dict:
    """Ways to draft, from what truly comes next and the limit; some break what a drafter should keep to."""
    luck = random.Random(0)
    return {
        "right": lambda coming, limit: coming[:limit],
        "wrong": lambda coming, limit: [(token + 1) % vocabulary for token in coming[:limit]],
        "right, then wrong": lambda coming, limit: [*coming[: limit // 2], *coming[limit // 2 : limit][::-1]],
        "any": lambda coming, limit: [luck.randrange(vocabulary) for _ in range(luck.randrange(limit + 1))],
        "longer than asked for": lambda coming, limit: [*coming, *coming, 5, 6, 7] * 9,
        "an end in the middle": lambda coming, limit: [*coming[:2], eos, *coming[2:limit]],
        "no tokens at all": lambda coming, limit: [*coming[:1], -200, vocabulary, 10**9],
        "none": lambda coming, limit: [],
    }


VIDEOS = [weights.numbers(length, weights.CHANNELS, name=f"video {length}") for length in (100, 37, 5, 80)]


def prompts(tokenizer) -> tuple:
    return tuple(build_input_ids(tokenizer, query_for(task), "v1") for task in TASKS)


class DigitRecorder(LogitsProcessor):
    """Keeps the logits of the ten digits at every step; changes none."""

    def __init__(self, digit_ids) -> None:
        self.digit_ids, self.steps = list(digit_ids), []

    def __call__(self, input_ids, scores):
        self.steps.append(scores[0, self.digit_ids].float().cpu())
        return scores


def answer(model, tokenizer, prompt, video, max_new_tokens) -> Answer:
    """The greedy answer by transformers' generate, one token a pass: nothing of the engine is used for it."""
    recorder = DigitRecorder(digit_token_ids(tokenizer))
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        use_cache=True,  # training writes False into the config
    )
    new_ids = model.generate(
        prompt[None],
        videos=[video],
        attention_mask=torch.ones_like(prompt)[None],
        generation_config=settings,
        logits_processor=LogitsProcessorList([recorder]),
    )
    return answer_of(new_ids[0].tolist(), torch.stack(recorder.steps), tokenizer, model.config.timeline)


def answers(model, tokenizer, prompts, video, max_new_tokens) -> list:
    return [answer(model, tokenizer, prompt, video, max_new_tokens) for prompt in prompts]


@lru_cache
def tiny_world(key_heads: int) -> tuple:
    """A tiny model of random weights and, of every video, transformers' greedy answer to every prompt."""
    model, tokenizer = weights.video_model(num_key_value_heads=key_heads), weights.tokenizer()
    truths = [answers(model, tokenizer, prompts(tokenizer), video, LIMIT) for video in VIDEOS]
    assert len({answer.token_ids for row in truths for answer in row}) > 8
    return model, truths


@lru_cache
def demo_world() -> tuple:
    """The shipped weights on drawn clips: answers as real ones, with lists that cite frames."""
    from llava_v2xum.model.checkpoint import load_pretrained

    tokenizer, model, encoder = load_pretrained(
        Path(llava_v2xum.__file__).parent / "shapes" / "checkpoint", device="cpu"
    )
    clips = [make_clip(77, index) for index in range(4)]
    videos = [encoder(draw_frames(clip, np.linspace(0, clip.total_frames - 1, 100).astype(int))) for clip in clips]
    asked = prompts(tokenizer)
    truths = [answers(model, tokenizer, asked, video, 100) for video in videos]
    assert [answer.importance is not None for row in truths for answer in row] == [True, True, False] * 4
    assert {answer.finished for row in truths for answer in row} == {True, False}
    return tokenizer, model, videos, asked, truths


def assert_same(answers, truths) -> None:
    for answer, truth in zip(answers, truths, strict=True):
        assert answer.token_ids == truth.token_ids
        assert (answer.text, answer.finished) == (truth.text, truth.finished)
        assert (answer.importance is None) == (truth.importance is None)
        if truth.importance is not None:
            np.testing.assert_allclose(answer.importance, truth.importance, atol=1e-6)
