"""Sampled answers: from the right distribution, and no more depending on neighbours and drafts than greedy ones."""

from __future__ import annotations

import greedy
import numpy as np
import pytest
import torch
from greedy import LIMIT, VIDEOS, Drafts, changes

from llava_v2xum.infer.engine import Engine, Job
from llava_v2xum.infer.engine.sampling import TOP_K, Sampler
from llava_v2xum.infer.engine.static import OLDEST_TORCH

pytestmark = pytest.mark.pinned


def test_tokens_are_drawn_from_the_softmax_over_the_temperature():
    logits = torch.tensor([2.0, 0.5, -1.0, 0.0, 1.5])
    drawn = Sampler(1.7)(logits.expand(20_000, -1), [(7, place) for place in range(20_000)])
    expected = (logits.double() / 1.7).softmax(0).numpy()
    shares = np.bincount(drawn, minlength=5) / len(drawn)
    np.testing.assert_allclose(shares, expected, atol=5 * np.sqrt(0.25 / len(drawn)))


def test_only_the_likeliest_are_drawn_and_a_low_temperature_is_greedy():
    logits = torch.linspace(0, 1, 3 * TOP_K)[torch.randperm(3 * TOP_K, generator=torch.Generator().manual_seed(0))]
    places = [(0, place) for place in range(2_000)]
    drawn = set(Sampler(10.0)(logits.expand(2_000, -1), places))
    assert drawn == set(logits.topk(TOP_K).indices.tolist())
    assert set(Sampler(1e-4)(logits.expand(2_000, -1), places)) == {int(logits.argmax())}


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_is_above_0(temperature):
    with pytest.raises(ValueError, match="temperature above 0"):
        Sampler(temperature)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", ["right", "right, then wrong", "any"])
def test_a_sampled_answer_depends_on_its_seed_and_not_on_neighbours_or_drafts(tokenizer, kind, padded):
    model, _ = greedy.tiny_world(1)
    prompts = greedy.prompts(tokenizer)
    settings = {"max_new_tokens": LIMIT, "temperature": 1.5}

    def jobs():
        return [Job(key, prompts, video, seed=key) for key, video in enumerate(VIDEOS)]

    alone = {job.key: Engine(model, tokenizer, rows=1, **settings).run([job]) for job in jobs()}
    alone = {key: [answer.token_ids for answer in next(iter(run))[1]] for key, run in alone.items()}
    truths = [ids for answers in alone.values() for ids in answers]
    drafter = Drafts(truths, changes(model.config.vocab_size, tokenizer.eos_token_id)[kind])
    made = Engine(model, tokenizer, rows=5, padded=padded, drafter=drafter, **settings)
    together = {key: [answer.token_ids for answer in answers] for key, answers in made.run(jobs())}
    assert together == alone
    assert kind != "right" or made.stats.accepted > 0
    other = dict(Engine(model, tokenizer, **settings).run([Job(0, prompts, VIDEOS[0], seed=99)]))
    assert [answer.token_ids for answer in other[0]] != alone[0]


def test_compiled_passes_do_not_sample(tokenizer):
    model, _ = greedy.tiny_world(1)
    if tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST_TORCH:
        pytest.skip("this torch compiles no passes")
    with pytest.raises(ValueError, match=r"compiled passes are greedy, expected temperature 0, got 0\.5"):
        Engine(model, tokenizer, compile="eager", temperature=0.5)
