"""A model that goes round in circles: its answer ends where that is certain, and no other answer is touched."""

from __future__ import annotations

import json
import random
from pathlib import Path

import greedy
import pytest
import torch
import weights
from greedy import VIDEOS, assert_same

from llava_v2xum.core.noise import LOOP
from llava_v2xum.core.tasks import TASKS
from llava_v2xum.features.video_features import ReadVideo
from llava_v2xum.infer.answer_options import AnswerOptions
from llava_v2xum.infer.drafting import drafter_for
from llava_v2xum.infer.engine import Engine, Job
from llava_v2xum.infer.engine.loops import LEAST_ROUNDS, LEAST_TOKENS, LONGEST_ROUND, LoopWatch
from llava_v2xum.infer.engine.static import OLDEST_TORCH
from llava_v2xum.infer.options import answering_of, parse_arguments
from llava_v2xum.infer.ray import stages
from llava_v2xum.infer.ray.rows import Plan
from llava_v2xum.infer.summarizer import Summarizer
from llava_v2xum.media.render import format_for_people
from llava_v2xum.media.video import read_video
from llava_v2xum.shapes import DEMO_CHECKPOINT

REAL = Path(__file__).parents[3] / "shared" / "data" / "released_model_answers.jsonl"
DEMO_CLIP = DEMO_CHECKPOINT.parent / "clips" / "demo.mp4"
LIMIT = 600
EOS = 2
LOOPING, ENDING, LONG = 11, 12, 13  # the last tokens of prompts
CHAINS = {
    LOOPING: [20, 21, 22, 30, 31, 32, 30],
    ENDING: [40, 41, 42, 43, EOS],
    LONG: [*range(50, 400), EOS],
}


torch_version = tuple(int(part) for part in torch.__version__.split(".")[:2])
compiles = pytest.mark.skipif(torch_version < OLDEST_TORCH, reason="needs a newer torch")


def ended_at(ids) -> tuple[int, int]:
    """Where a loop becomes certain, and its round; (0, 0) if nowhere."""
    watch = LoopWatch()
    return next(((place, found) for place, token in enumerate(ids, 1) if (found := watch.add(token))), (0, 0))


def plant(model, chains):
    """Let the model write chains: what follows a token depends on that token alone."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embeds = torch.randn(model.model.embed_tokens.weight.shape, generator=generator)
        embeds /= embeds.norm(dim=-1, keepdim=True)
        model.model.embed_tokens.weight.copy_(embeds)
        model.model.norm.weight.fill_(1.0)
        model.lm_head.weight.zero_()
        for start, chain in chains.items():
            for token, following in dict.fromkeys(zip([start, *chain], chain)):
                model.lm_head.weight[following] += embeds[token]
    return model


@pytest.fixture(scope="module")
def tokenizer():
    return weights.tokenizer()


@pytest.fixture(scope="module")
def planted():
    return plant(weights.video_model(), CHAINS)


@pytest.fixture(scope="module")
def jobs(tokenizer):
    """A looping answer between others: one job for each, and one with all three."""
    start = greedy.prompts(tokenizer)[0][:-1]
    asked = [torch.cat([start, torch.tensor([last])]) for last in (ENDING, LOOPING, LONG)]
    alone = [Job(number, (prompt,), VIDEOS[number]) for number, prompt in enumerate(asked)]
    return [*alone, Job(3, tuple(asked), VIDEOS[3])]


@pytest.mark.pinned
@pytest.mark.parametrize(
    "settings",
    [
        {"rows": 1},
        {"rows": 6, "padded": False},
        {"rows": 3, "padded": True},
        {"rows": 6, "drafted": True},
        {"rows": 2, "drafted": True, "padded": True},
        pytest.param({"rows": 3, "compile": "eager"}, marks=compiles),
    ],
    ids=str,
)
def test_only_the_looping_answer_ends_early(planted, tokenizer, jobs, settings):
    def answers(end_loops: bool) -> tuple[dict, Engine]:
        given = dict(settings)
        drafter = drafter_for(tokenizer, planted.config.timeline) if given.pop("drafted", False) else None
        made = Engine(planted, tokenizer, max_new_tokens=LIMIT, drafter=drafter, end_loops=end_loops, **given)
        return dict(made.run(jobs)), made

    (ended, engine), (whole, other) = answers(True), answers(False)
    looping = [ended[1][0], ended[3][1]]
    for short, full in zip(looping, [whole[1][0], whole[3][1]]):
        assert full.token_ids == (20, 21, 22, *(30, 31, 32) * 199) and full.loop is None
        assert short.token_ids == full.token_ids[: 3 + LEAST_TOKENS]
        assert short.loop == tokenizer.decode(short.token_ids[-3:]).strip()
        assert not short.finished and full.text.startswith(short.text)
    for key, number in ((0, 0), (2, 0), (3, 0), (3, 2)):
        assert_same([ended[key][number]], [whole[key][number]])
    assert ended[2][0].token_ids == tuple(range(50, 400)) and ended[2][0].finished
    assert other.stats.row_passes > engine.stats.row_passes


@pytest.mark.pinned
def test_random_weights_write_the_beginning_of_what_they_write_without_end(tokenizer):
    model, prompts = weights.video_model(), greedy.prompts(tokenizer)
    for layer in model.model.layers:  # what is left of its context hardly counts, so that it soon repeats itself
        layer.self_attn.o_proj.weight.data *= 0.1
        layer.mlp.down_proj.weight.data *= 0.1
    made = []
    for end_loops, rows in ((False, 3), (True, 1), (True, 3)):
        engine = Engine(model, tokenizer, rows=rows, max_new_tokens=640, end_loops=end_loops)
        made.append(dict(engine.run([Job(0, prompts, VIDEOS[2])]))[0])
    assert_same(made[1], made[2])
    assert {answer.loop is None for answer in made[1]} == {True, False}
    for short, full in zip(made[1], made[0]):
        assert full.token_ids[: len(short.token_ids)] == short.token_ids
        assert (len(short.token_ids), full.loop) == (ended_at(full.token_ids)[0] or 640, None)


def test_a_sampled_answer_may_leave_a_loop(planted, tokenizer):
    assert not Engine(planted, tokenizer, temperature=0.5).end_loops


def test_a_loop_is_certain_after_many_rounds_of_one_period():
    """Against its definition, looked for at every place."""

    def certain(ids) -> int:
        for period in range(1, LONGEST_ROUND + 1):
            stretch = max(LEAST_TOKENS, LEAST_ROUNDS * period)
            if len(ids) >= stretch and all(ids[-n] == ids[-n - period] for n in range(1, stretch - period + 1)):
                return period
        return 0

    luck = random.Random(0)
    for period in (1, 2, 7, 31, 32, 33, 64, 128, 129):
        start, phrase = luck.choices(range(600, 609), k=luck.randrange(40)), [*range(period)]
        luck.shuffle(phrase)
        broken = (start + phrase * (LEAST_TOKENS // period))[:-1] + [500]  # a stretch that is nearly long enough
        ids = broken + phrase * (2 + max(LEAST_TOKENS // period, LEAST_ROUNDS))
        place, found = ended_at(ids)
        assert (found, bool(place)) == ((period, True) if period <= LONGEST_ROUND else (0, False))
        if place:
            assert certain(ids[:place]) == period and not certain(ids[: place - 1])
            assert place == len(broken) + max(LEAST_TOKENS, LEAST_ROUNDS * period)


@pytest.mark.skipif(not REAL.is_file(), reason="needs ../shared/data/released_model_answers.jsonl")
def test_of_real_answers_only_the_one_without_end_is_cut():
    tokenizer = Summarizer.from_pretrained().tokenizer
    cut = {}
    for line in REAL.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        for ids in (tokenizer(record["answer"]).input_ids, record["answer"].split()):
            tokens = [hash(one) for one in ids]
            if ended_at(tokens)[0]:
                cut.setdefault(record["video_id"], []).append(len(tokens))
    assert list(cut) == ["v_3osNjmYjTGg"] and len(cut["v_3osNjmYjTGg"]) == 2


def test_no_answer_of_the_demo_is_cut():
    tokenizer, model, videos, prompts, truths = greedy.demo_world()
    made = Engine(model, tokenizer, max_new_tokens=100)
    for key, answers in made.run(Job(key, prompts, video) for key, video in enumerate(videos)):
        assert_same(answers, truths[key])


# ------------------------------------------------------------------------------------------------------ all the way out


@pytest.fixture(scope="module")
def looping():
    """A summarizer of the demo's tower and tokenizer whose decoder says two words again and again."""
    demo = Summarizer.from_pretrained()
    colon, red, circle = (demo.tokenizer.convert_tokens_to_ids(piece) for piece in (":", "▁red", "▁circle"))
    model = plant(demo.model, {colon: [red, circle, red]})
    return Summarizer(demo.tokenizer, model, demo.frame_encoder, "looping")


def test_the_summary_names_the_loop_and_the_flag_gives_the_full_text(looping):
    ended, whole = (looping.summarize(DEMO_CLIP, "text", max_new_tokens=500, end_loops=flag) for flag in (True, False))
    assert ended.record["answer"] == " ".join(["red circle"] * 200)
    assert whole.record["answer"] == " ".join(["red circle"] * 250)
    assert ended.summary.problems == (
        f"{LOOP}: 'red circle'",
        "the answer was cut off after 400 tokens (it would go on as it does)",
    )
    assert whole.summary.problems[-1] == "the answer was cut off after 500 tokens (max_new_tokens)"
    assert [problem.split(":")[0] for problem in whole.summary.problems[:-1]] == [LOOP]
    for made in (ended, whole):
        assert "red circle red" not in format_for_people(made.record)


def test_a_loop_that_is_no_words_is_named_too(looping):
    """One long word, which no count of words finds."""
    tokenizer = looping.tokenizer
    colon, letter = (tokenizer.convert_tokens_to_ids(piece) for piece in (":", "a"))
    model = plant(looping.model, {colon: [letter, letter]})
    try:
        made = Summarizer(tokenizer, model, looping.frame_encoder, "m").summarize(DEMO_CLIP, "text", max_new_tokens=500)
    finally:
        red, circle = (tokenizer.convert_tokens_to_ids(piece) for piece in ("▁red", "▁circle"))
        plant(model, {colon: [red, circle, red]})
    assert made.record["answer"] == "a" * 400
    assert made.summary.problems[0] == f"{LOOP}: 'a'"


@pytest.mark.parametrize("end_loops, tokens", [(True, 400), (False, 500)])
def test_rays_stage_ends_it_too(looping, monkeypatch, end_loops, tokens):
    monkeypatch.setattr(Summarizer, "from_pretrained", classmethod(lambda cls, **_: looping))
    plan = Plan({}, "m", None, None, None, 32, {}, (100, looping.model.config.mm_hidden_size), None)
    stage = stages.Generate(plan, "all", AnswerOptions(max_new_tokens=500, end_loops=end_loops))
    video = read_video(DEMO_CLIP, looping.timeline)
    features = looping.frame_encoder(video.frames)
    made = stage.work(Path(DEMO_CLIP), ReadVideo(video, [], features)).summaries
    assert [made[task].record["answer"] for task in TASKS] == [" ".join(["red circle"] * (tokens // 2))] * 3


def test_the_flag_is_on_by_default():
    assert AnswerOptions().end_loops and answering_of(parse_arguments(["a.mp4"]))["end_loops"]
    assert not answering_of(parse_arguments(["a.mp4", "--keep-loops"]))["end_loops"]
