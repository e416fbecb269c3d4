"""Batched generation and importance, on tiny weights and by hand."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import weights

from llava_v2xum.core.citations import BRACKETS
from llava_v2xum.core.tasks import query_for
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.data.dataset import build_input_ids
from llava_v2xum.infer.engine import generate_answers
from llava_v2xum.infer.engine.answers import cited_positions, digit_token_ids, importance_scores


@pytest.fixture(scope="module")
def tokenizer():
    return weights.tokenizer()


def ids_of(text: str, tokenizer) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids


def test_digits_are_tokens_of_their_own(tokenizer):
    assert tokenizer.convert_ids_to_tokens(digit_token_ids(tokenizer)) == list("0123456789")


@pytest.mark.parametrize(
    "text, cited",
    [
        ("A woman brushes her hair [42, 43].", ["42", "43"]),
        ("[05]A hand holds a box.", ["05"]),
        ("12 men in 2024 [07] run 33.", ["07"]),  # numbers in prose cite nothing
        ("A man [7, 123, 08", ["08"]),  # neither one digit nor three, and a list cut off
        ("no list", []),
    ],
)
def test_citations_are_found_at_their_digits(text, cited, tokenizer):
    ids = ids_of(text, tokenizer)
    digits = digit_token_ids(tokenizer)
    positions = cited_positions(ids, tokenizer, Timeline())
    assert ["".join(str(digits.index(ids[place])) for place in places) for places in positions] == cited


def test_an_index_beyond_the_timeline_is_no_citation(tokenizer):
    ids = ids_of("[19, 20, 21]", tokenizer)
    assert len(cited_positions(ids, tokenizer, Timeline(num_frames=20))) == 1


def test_citations_are_found_in_the_brackets_of_the_timeline(monkeypatch):
    monkeypatch.setitem(BRACKETS, "(", ")")
    letters = SimpleNamespace(
        unk_token_id=0, convert_tokens_to_ids=ord, convert_ids_to_tokens=lambda ids: list(map(chr, ids))
    )
    ids = [ord(letter) for letter in "[40] A (05, 06)."]
    assert cited_positions(ids, letters, Timeline(100, "({:02d})")) == [[8, 9], [12, 13]]


def test_importance_is_the_mean_outer_product_of_the_digits_softmax():
    logits = torch.randn(9, 10, generator=torch.Generator().manual_seed(0))
    citations = [[1, 2], [5, 6], [7, 8]]
    expected = np.zeros(100)
    for (tens_at, ones_at), tens, ones in itertools.product(citations, range(10), range(10)):
        softmax = [np.exp(logits[at].double().numpy()) for at in (tens_at, ones_at)]
        expected[10 * tens + ones] += softmax[0][tens] / softmax[0].sum() * softmax[1][ones] / softmax[1].sum() / 3
    scores = importance_scores(logits, citations, Timeline())
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    assert scores.sum() == pytest.approx(1)
    np.testing.assert_array_equal(importance_scores(logits, citations, Timeline(30)), scores[:30])
    assert importance_scores(logits, [], Timeline()) is None


@pytest.mark.pinned
def test_an_answer_does_not_depend_on_its_neighbours(tokenizer):
    model = weights.video_model()
    tasks = ["both", "video", "text"]
    prompts = [build_input_ids(tokenizer, query_for(task), "v1") for task in tasks]
    prompts[1] = torch.cat([prompts[0][:9], prompts[0][30:]])  # a prompt of another length
    videos = [weights.numbers(length, weights.CHANNELS, name=f"video {length}") for length in (100, 37, 80)]
    together = generate_answers(model, tokenizer, prompts, videos, max_new_tokens=24)
    for prompt, video, answer in zip(prompts, videos, together):
        (alone,) = generate_answers(model, tokenizer, [prompt], [video], max_new_tokens=24)
        assert alone.token_ids == answer.token_ids
        assert alone.finished == answer.finished
        assert (alone.importance is None) == (answer.importance is None)
        if alone.importance is not None:
            np.testing.assert_allclose(alone.importance, answer.importance, atol=1e-5)
    assert len({answer.token_ids for answer in together}) == 3


def test_a_temperature_samples_and_a_seed_repeats_it(tokenizer):
    model = weights.video_model()
    prompt = build_input_ids(tokenizer, query_for("both"), "v1")
    video = weights.numbers(100, weights.CHANNELS)

    def sampled(seed: int) -> tuple[int, ...]:
        settings = {"max_new_tokens": 16, "temperature": 2.0, "seed": seed}
        (answer,) = generate_answers(model, tokenizer, [prompt], [video], **settings)
        return answer.token_ids

    assert sampled(1) == sampled(1) != sampled(2)


def test_an_answer_that_reaches_the_limit_is_not_finished(tokenizer):
    model = weights.video_model()
    prompt = build_input_ids(tokenizer, query_for("both"), "v1")
    (answer,) = generate_answers(model, tokenizer, [prompt], [weights.numbers(100, weights.CHANNELS)], 5)
    assert not answer.finished
    assert len(answer.token_ids) == 5


def test_every_prompt_needs_its_video(tokenizer):
    model, prompt = weights.video_model(), build_input_ids(tokenizer, query_for("both"), "v1")
    with pytest.raises(ValueError, match="got 2 prompts and 1 videos"):
        generate_answers(model, tokenizer, [prompt, prompt], [weights.numbers(5, weights.CHANNELS)])
