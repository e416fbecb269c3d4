"""The engine against transformers' greedy generate: the same answers, whatever drafts, rows and branches there are."""

from __future__ import annotations

import copy
import itertools
from collections import Counter

import greedy
import pytest
import torch
import weights
from greedy import LIMIT, VIDEOS, Drafts, assert_same, changes

from llava_v2xum.infer.drafting import drafter_for
from llava_v2xum.infer.engine import Engine, Job, generate_answers
from llava_v2xum.infer.engine import cache as cache_module


@pytest.fixture(scope="module")
def tokenizer():
    return weights.tokenizer()


@pytest.fixture(scope="module")
def prompts():
    return greedy.prompts(weights.tokenizer())


@pytest.fixture(scope="module", params=["a key head for each head", "a key head for all"])
def tiny(request):
    return greedy.tiny_world(key_heads=2 if "each" in request.param else 1)


@pytest.mark.pinned
@pytest.mark.parametrize("rows, padded", [(1, False), (2, True), (5, False), (5, True)])
def test_answers_are_those_of_greedy_generate(tiny, tokenizer, prompts, rows, padded):
    """Prompts that share a prefix, more of them than rows or fewer, with every way to draft."""
    model, truths = tiny
    everything = [answer.token_ids for answers in truths for answer in answers]
    for name, change in changes(model.config.vocab_size, tokenizer.eos_token_id).items():
        drafter = Drafts(everything, change)
        made = Engine(model, tokenizer, rows=rows, max_new_tokens=LIMIT, drafter=drafter, padded=padded)
        answered = dict(made.run(Job(key, prompts, video) for key, video in enumerate(VIDEOS)))
        assert sorted(answered) == [0, 1, 2, 3]
        for key, answers in answered.items():
            assert_same(answers, truths[key])
        stats = made.stats
        assert stats.new_tokens == sum(len(answer.token_ids) + answer.finished for row in truths for answer in row)
        assert stats.row_passes + stats.accepted + stats.answers == stats.new_tokens, name
        assert {"right": stats.accepted > 0.7 * stats.drafted > 0, "wrong": stats.accepted == 0}.get(name, True)
        assert Counter(drafter.learnt) == Counter(
            answer.token_ids + (tokenizer.eos_token_id,) * answer.finished for row in truths for answer in row
        )


@pytest.mark.pinned
def test_right_drafts_save_passes_and_no_drafter_saves_none(tiny, tokenizer, prompts):
    model, truths = tiny
    everything = [answer.token_ids for answers in truths for answer in answers]
    passes = {}
    for drafter in (None, Drafts(everything, changes(420, 2)["right"])):
        made = Engine(model, tokenizer, rows=1, max_new_tokens=LIMIT, drafter=drafter)
        list(made.run(Job(key, prompts, video) for key, video in enumerate(VIDEOS)))
        passes[drafter is None] = made.stats.passes
    assert passes[True] == sum(len(answer.token_ids) - 1 + answer.finished for row in truths for answer in row)
    assert passes[False] < passes[True] / 3


@pytest.mark.pinned
@pytest.mark.parametrize("limit", [1, 2, 7])
def test_an_answer_is_cut_off_in_the_middle_of_a_right_draft(tiny, tokenizer, prompts, limit):
    model, truths = tiny
    drafter = Drafts([answer.token_ids for answers in truths for answer in answers], lambda coming, limit: coming + [9])
    made = Engine(model, tokenizer, rows=2, max_new_tokens=limit, drafter=drafter)
    for key, answers in made.run(Job(key, prompts, video) for key, video in enumerate(VIDEOS)):
        for answer, truth in zip(answers, truths[key], strict=True):
            assert answer.token_ids == truth.token_ids[:limit]
            assert not answer.finished


@pytest.mark.pinned
def test_the_prefix_of_several_prompts_is_computed_once(tiny, tokenizer, prompts):
    model, _ = tiny
    positions = {}
    for rows, asked in itertools.product((1, 2, 5), (prompts, prompts[:1], prompts[1:2], prompts[2:])):
        made = Engine(model, tokenizer, rows=rows, max_new_tokens=3)
        ((_, _),) = made.run([Job("a", asked, VIDEOS[1])])
        positions[rows, len(asked) > 1 or asked[0]] = made.stats.prefill_positions
    alone = [positions[1, prompt] for prompt in prompts]
    assert alone == [len(prompt) - 1 + 5 * len(VIDEOS[1]) for prompt in prompts]
    shared = next(place for place in range(99) if len({int(prompt[place]) for prompt in prompts}) > 1)
    shared += 5 * len(VIDEOS[1]) - 1
    assert {positions[rows, True] for rows in (1, 2, 5)} == {sum(alone) - 2 * shared}


def test_prompts_that_differ_before_the_video_are_answered_alone(tiny, tokenizer, prompts):
    model, truths = tiny
    other = torch.cat([prompts[0][:5], prompts[0][9:]])
    (truth,) = greedy.answers(model, tokenizer, [other], VIDEOS[2], LIMIT)
    for rows in (1, 3):
        made = Engine(model, tokenizer, rows=rows, max_new_tokens=LIMIT)
        ((_, answers),) = made.run([Job("a", (*prompts[:2], other), VIDEOS[2])])
        assert_same(answers, [*truths[2][:2], truth])


def test_a_prompt_that_is_the_beginning_of_another_and_one_that_comes_twice(tiny, tokenizer, prompts):
    model, truths = tiny
    short = prompts[0][:-4]
    (truth,) = greedy.answers(model, tokenizer, [short], VIDEOS[2], LIMIT)
    made = Engine(model, tokenizer, rows=2, max_new_tokens=LIMIT)
    ((_, answers),) = made.run([Job("a", (short, prompts[0], prompts[0]), VIDEOS[2])])
    assert_same(answers, [truth, truths[2][0], truths[2][0]])


def test_the_cache_grows_in_the_middle_of_an_answer(tiny, tokenizer, prompts, monkeypatch):
    model, truths = tiny
    monkeypatch.setattr(cache_module, "BLOCK", 3)
    for padded in (False, True):
        made = Engine(model, tokenizer, rows=2, max_new_tokens=LIMIT, padded=padded)
        for key, answers in made.run(Job(key, prompts, video) for key, video in enumerate(VIDEOS)):
            assert_same(answers, truths[key])


def test_jobs_are_taken_only_when_a_row_is_free(tiny, tokenizer, prompts):
    model, _ = tiny
    taken, done = [], []

    def jobs():
        for key in range(7):
            taken.append(key)
            assert len(taken) - len(done) <= 3
            yield Job(key, prompts[:1], VIDEOS[2])

    for key, _ in Engine(model, tokenizer, rows=3, max_new_tokens=4).run(jobs()):
        done.append(key)
    assert sorted(done) == taken == list(range(7))


def test_rows_at_work_go_on_while_no_job_is_at_hand(tiny, tokenizer, prompts):
    model, truths = tiny
    made = Engine(model, tokenizer, rows=2, max_new_tokens=LIMIT)
    events = []

    def jobs():
        yield Job(0, prompts[:1], VIDEOS[0])
        while not made.idle:
            events.append(made.stats.new_tokens)
            yield None
        yield Job(1, prompts[:1], VIDEOS[1])

    answered = dict(made.run(jobs()))
    assert events == list(range(len(events))) and len(events) >= len(truths[0][0].token_ids)
    assert made.idle
    for key, answers in answered.items():
        assert_same(answers, truths[key][:1])


def test_no_jobs_no_answers(tiny, tokenizer):
    made = Engine(tiny[0], tokenizer)
    assert list(made.run([])) == [] and made.stats.passes == 0
    assert generate_answers(tiny[0], tokenizer, [], []) == []


def test_what_the_source_raises_goes_through_and_the_engine_can_be_used_again(tiny, tokenizer, prompts):
    model, truths = tiny
    made = Engine(model, tokenizer, rows=2, max_new_tokens=LIMIT)

    def jobs():
        yield Job(0, prompts, VIDEOS[0])
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(made.run(jobs()))
    assert made.idle
    ((_, answers),) = made.run([Job(1, prompts, VIDEOS[1])])
    assert_same(answers, truths[1])


@pytest.mark.parametrize(
    "job, message",
    [
        (lambda prompts: Job("clip 7", (), VIDEOS[0]), "clip 7: expected at least one prompt"),
        (
            lambda prompts: Job("clip 7", (prompts[0][:9],), VIDEOS[0]),
            "clip 7: a prompt needs one placeholder .* got 0",
        ),
        (lambda prompts: Job("clip 7", (prompts[0].repeat(2),), VIDEOS[0]), "clip 7: .* one placeholder .* got 2"),
        (lambda prompts: Job("clip 7", prompts, VIDEOS[0][:, :5]), "clip 7: a video must be frame features"),
        (lambda prompts: Job("clip 7", prompts, VIDEOS[0].repeat(2, 1)), "clip 7: .*200"),
        (
            lambda prompts: Job("clip 7", (torch.cat([prompts[0], prompts[0][-1:].repeat(1600)]),), VIDEOS[0]),
            "clip 7: row 0: .* expected at most 2048",
        ),
    ],
)
def test_a_job_that_cannot_be_worked_on_is_named(tiny, tokenizer, prompts, job, message):
    with pytest.raises(ValueError, match=message):
        list(Engine(tiny[0], tokenizer).run([job(prompts)]))


@pytest.mark.parametrize("setting", [{"rows": 0}, {"max_new_tokens": 0}, {"max_draft": -1}])
def test_settings_are_checked(tiny, tokenizer, setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Engine(tiny[0], tokenizer, **setting)


def test_a_video_of_nan_spoils_no_other(tiny, tokenizer, prompts):
    """Its keys and values stay in the row's slots, where a mask would not keep a NaN out."""
    model, truths = tiny
    nan = torch.full_like(VIDEOS[0], torch.nan)
    for padded in (False, True):
        made = Engine(model, tokenizer, rows=3, max_new_tokens=LIMIT, padded=padded)
        jobs = [Job("nan", prompts, nan), *(Job(key, prompts, video) for key, video in enumerate(VIDEOS))]
        answered = dict(made.run(jobs))
        for key in range(len(VIDEOS)):
            assert_same(answered[key], truths[key])


def test_pixels_go_through_the_tower_once(tiny, tokenizer, prompts, monkeypatch):
    model, _ = tiny
    pixels = weights.numbers(4, 3, 28, 28, name="pixels")
    truths = greedy.answers(model, tokenizer, prompts, pixels, 5)
    calls, encode = [], model.encode_frames
    monkeypatch.setattr(model, "encode_frames", lambda video, *rest: (calls.append(video), encode(video, *rest))[1])
    ((_, answers),) = Engine(model, tokenizer, max_new_tokens=5).run([Job("a", prompts, pixels)])
    assert_same(answers, truths)
    assert len(calls) == 1


@pytest.fixture(scope="module")
def demo():
    return greedy.demo_world()


@pytest.mark.pinned
@pytest.mark.parametrize("rows, padded", [(1, False), (4, True), (8, False)])
def test_the_demo_answers_the_same_with_the_drafter_it_is_used_with(demo, rows, padded):
    tokenizer, model, videos, prompts, truths = demo
    drafter = drafter_for(tokenizer, model.config.timeline)
    made = Engine(model, tokenizer, rows=rows, max_new_tokens=100, drafter=drafter, padded=padded)
    for key, answers in made.run(Job(key, prompts, video) for key, video in enumerate(videos)):
        assert_same(answers, truths[key])
    assert made.stats.new_tokens > 2 * made.stats.row_passes


def test_the_demo_in_bfloat16_answers_as_far_as_rounding_lets_it(demo):
    """Another order of sums may turn a near tie, from where on an answer is another one; most are the same."""
    tokenizer, model, videos, prompts, _ = demo
    model = copy.deepcopy(model).to(torch.bfloat16)
    jobs = [Job(key, prompts, video) for key, video in enumerate(videos)]
    plain = dict(Engine(model, tokenizer, rows=1, max_new_tokens=60).run(jobs))
    drafter = drafter_for(tokenizer, model.config.timeline)
    drafted = dict(Engine(model, tokenizer, max_new_tokens=60, drafter=drafter).run(jobs))
    same = [a.token_ids == b.token_ids for key in plain for a, b in zip(plain[key], drafted[key])]
    assert len(same) == 12 and sum(same) > 6
