"""What the engine is made of: the layers against transformers' own, the rows' cache, the length of drafts."""

from __future__ import annotations

import itertools
from dataclasses import fields

import accelerate
import numpy as np
import peft
import pytest
import torch
import transformers
import weights

from llava_v2xum.infer.drafting import worthwhile_lengths
from llava_v2xum.infer.engine import Engine, EngineStats
from llava_v2xum.infer.engine import cache as cache_module
from llava_v2xum.infer.engine.cache import RowCache
from llava_v2xum.infer.engine.decoder import Segment, check_decoder, run_block, run_segments
from llava_v2xum.infer.engine.drafts import Trust, block_width, draft


def stock_hidden(llama, embeds: torch.Tensor) -> torch.Tensor:
    """[L, D]: what transformers' own forward gives for one row."""
    return llama(inputs_embeds=embeds[None], use_cache=False)[0][0]


def stretched(kind: str) -> dict:
    """Settings of a model with rotary positions stretched twofold."""
    name = "rope_type" if transformers.__version__.startswith("5.") else "type"
    return {"rope_scaling": {name: kind, "factor": 2.0}}


@pytest.fixture(
    scope="module",
    params=[
        {"num_key_value_heads": 2},
        {"num_key_value_heads": 1},
        {**stretched("linear"), "pretraining_tp": 2},
        {"attention_bias": True, "tie_word_embeddings": True},
    ],
    ids=str,
)
def llama(request):
    """The inner model: with as many key heads as heads, with one, with stretched positions and slices, with biases."""
    return weights.video_model(**request.param).get_model()


@pytest.mark.pinned
@torch.no_grad()
def test_rows_laid_end_to_end_give_what_transformers_gives_each(llama):
    """In pieces of any length, rows mixed in any order: positions go on from what a row has read."""
    rows = [weights.numbers(length, 32, name=f"row {length}") for length in (13, 5, 9)]
    pieces = [[(0, 6), (1, 1)], [(2, 4), (0, 1)], [(1, 4), (2, 1), (0, 3)], [(0, 3)], [(2, 4)]]
    cache, read, hidden = RowCache(4), [0, 0, 0], [[], [], []]
    slots = [2, 0, 3]
    for piece in pieces:
        segments = [Segment(slots[row], read[row], count) for row, count in piece]
        embeds = torch.cat([rows[row][read[row] : read[row] + count] for row, count in piece])
        for (row, count), made in zip(piece, run_segments(llama, embeds, segments, cache).split([n for _, n in piece])):
            hidden[row].append(made)
            read[row] += count
    for row, made in zip(rows, hidden):
        torch.testing.assert_close(torch.cat(made), stock_hidden(llama, row), atol=1e-5, rtol=1e-5)


@pytest.mark.pinned
@torch.no_grad()
def test_where_only_ends_are_wanted_the_cache_is_as_full(llama):
    rows = [weights.numbers(length, 32, name=f"row {length}") for length in (9, 1, 6)]
    cache = RowCache(3)
    begin = [Segment(0, 0, 5), Segment(1, 0, 1), Segment(2, 0, 1)]
    ends = run_segments(llama, torch.cat([rows[0][:5], rows[1], rows[2][:1]]), begin, cache, ends_only=True)
    go_on = [Segment(0, 5, 3), Segment(2, 1, 4)]
    more = run_segments(llama, torch.cat([rows[0][5:8], rows[2][1:5]]), go_on, cache, ends_only=True)
    last = run_segments(llama, torch.cat([rows[0][8:], rows[2][5:]]), [Segment(0, 8, 1), Segment(2, 5, 1)], cache)
    truth = [stock_hidden(llama, row) for row in rows]
    expected = [truth[0][4], truth[1][0], truth[2][0], truth[0][7], truth[2][4], truth[0][8], truth[2][5]]
    torch.testing.assert_close(torch.cat([ends, more, last]), torch.stack(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.pinned
@torch.no_grad()
def test_a_block_of_rows_gives_what_transformers_gives_each(llama):
    rows = [weights.numbers(length, 32, name=f"row {length}") for length in (12, 7, 10)]
    starts, width = [8, 3, 6], 4
    cache = RowCache(3)
    segments = [Segment(slot, 0, start) for slot, start in enumerate(starts)]
    run_segments(llama, torch.cat([row[:start] for row, start in zip(rows, starts)]), segments, cache)
    block = torch.stack([row[start : start + width] for row, start in zip(rows, starts)])
    made = run_block(llama, block, torch.tensor(starts), 16, cache)
    for row, start, hidden in zip(rows, starts, made):
        torch.testing.assert_close(hidden, stock_hidden(llama, row)[start:], atol=1e-5, rtol=1e-5)


@pytest.mark.pinned
@torch.no_grad()
def test_positions_that_were_rejected_leave_no_trace(llama):
    row, other = weights.numbers(12, 32, name="row"), weights.numbers(5, 32, name="other")
    cache = RowCache(1)
    run_segments(llama, row[:6], [Segment(0, 0, 6)], cache)
    run_segments(llama, other, [Segment(0, 6, 5)], cache)
    made = [run_segments(llama, row[6:8], [Segment(0, 6, 2)], cache)]
    made.append(run_block(llama, row[None, 8:], torch.tensor([8]), 16, cache)[0])
    torch.testing.assert_close(torch.cat(made), stock_hidden(llama, row)[6:], atol=1e-5, rtol=1e-5)


@pytest.mark.pinned
def test_a_decoder_that_does_what_is_not_done_here_is_refused():
    model = weights.video_model()
    check_decoder(model)
    llama = model.get_model()

    class Twice(type(llama.layers[1])):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs) * 2

    llama.layers[1].__class__ = Twice
    with pytest.raises(ValueError, match="layer 1 of the decoder: expected a LlamaDecoderLayer, got a Twice"):
        check_decoder(model)
    other = weights.video_model()
    other.get_model().layers[0].self_attn = torch.nn.Identity()
    with pytest.raises(ValueError, match="layer 0 of the decoder: expected a LlamaAttention, got a Identity"):
        check_decoder(other)
    with pytest.raises(ValueError, match="rope_scaling of the type 'dynamic'"):
        check_decoder(weights.video_model(**stretched("dynamic")))


@pytest.mark.pinned
def test_weights_that_accelerate_has_offloaded_are_refused():
    model = weights.video_model()
    accelerate.cpu_offload(model.get_model().layers[1], torch.device("cpu"))
    with pytest.raises(ValueError, match=r"^layers\.1\.\S+ is on the meta device, .*load the model whole"):
        Engine(model, weights.tokenizer())
    model = weights.video_model()
    model.lm_head.to("meta")
    with pytest.raises(ValueError, match=r"^lm_head\.weight is on the meta device"):
        Engine(model, weights.tokenizer())
    model = weights.video_model()
    model.get_vision_tower().to("meta")  # no pass goes through it
    check_decoder(model)


@pytest.mark.pinned
def test_an_adapter_that_learns_prompts_is_refused_and_lora_is_not():
    prompt = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    wrapped = peft.get_peft_model(weights.video_model(), prompt)
    with pytest.raises(ValueError, match="peft's PROMPT_TUNING gives the decoder .*: load the base model, or .* LoRA"):
        Engine(wrapped, weights.tokenizer())
    check_decoder(peft.get_peft_model(weights.video_model(), peft.LoraConfig(target_modules=["q_proj"])))


def states(name: str, *shape: int) -> torch.Tensor:
    return weights.numbers(*shape, name=name)


def test_the_cache_holds_each_rows_own_positions(monkeypatch):
    monkeypatch.setattr(cache_module, "BLOCK", 4)
    cache, heads, width = RowCache(3), 2, 5
    truth = np.zeros((3, heads, 11, width), dtype=np.float32)
    for number, (slot, start, count) in enumerate([(1, 0, 3), (0, 0, 6), (1, 3, 2), (0, 4, 3), (2, 0, 9), (1, 5, 6)]):
        new = states(f"keys {number}", heads, count, width)
        truth[slot, :, start : start + count] = new
        keys, values = cache.write_row(0, slot, start, new, -new)
        np.testing.assert_array_equal(keys, truth[slot, :, : start + count])
        np.testing.assert_array_equal(values, -truth[slot, :, : start + count])
    cache.copy(2, [0])
    truth[0] = truth[2]
    new = states("block", 2, 2, heads, width)  # rows 0 and 1, of which row 0 writes over what it has
    keys, _ = cache.write_rows(0, torch.tensor([[3, 4], [9, 10]]), 11, new, -new)
    truth[0, :, 3:5] = new[0].transpose(0, 1)
    truth[1, :, 9:11] = new[1].transpose(0, 1)
    np.testing.assert_array_equal(keys, truth[:2])


def test_reserved_slots_stay_where_they_are_and_keep_what_they_hold(monkeypatch):
    monkeypatch.setattr(cache_module, "BLOCK", 4)
    cache, new = RowCache(2), states("row", 1, 3, 2)
    cache.reserve(5)
    assert cache.reserved == 8
    before, _ = cache.write_row(0, 1, 0, new, new)
    last, _ = cache.write_row(0, 1, 3, *[states("more", 1, 5, 2)] * 2)
    assert before.data_ptr() == last.data_ptr()
    cache.reserve(9)
    cache.reserve(2)
    assert cache.reserved == 12
    moved, _ = cache.write_row(0, 1, 8, *[states("most", 1, 1, 2)] * 2)
    assert moved.data_ptr() != last.data_ptr()
    np.testing.assert_array_equal(moved[:, :8], last)
    first, _ = cache.write_row(1, 0, 0, new, new)
    second, _ = cache.write_row(1, 0, 3, *[states("all", 1, 9, 2)] * 2)
    assert first.data_ptr() == second.data_ptr()


def test_a_row_that_begins_finds_nothing_of_the_one_before():
    cache = RowCache(1)
    cache.write_row(0, 0, 0, torch.full((1, 9, 2), torch.nan), torch.full((1, 9, 2), torch.nan))
    ones = torch.ones(1, 3, 2)
    cache.write_row(0, 0, 0, ones, ones)
    keys, values = cache.write_rows(0, torch.tensor([[3]]), 9, ones[None, :, :1], ones[None, :, :1])
    assert keys.sum() == values.sum() == 8


class Said:
    """A drafter of fixed words, with or without chances."""

    def __init__(self, ids, chances=None) -> None:
        self.ids, self.chances = ids, chances

    def propose(self, answer, limit):
        return self.ids, self.chances


@pytest.mark.parametrize(
    "proposed, limit, usable",
    [
        ([5, 6, 7], 9, [5, 6, 7]),
        ([5, 6, 7], 2, [5, 6]),
        ([5, 2, 7], 9, [5]),  # 2 ends a sequence
        ([5, 6, 10, 7], 9, [5, 6]),  # ids are below 10
        ([-1, 6], 9, []),
        ([5, 6], 0, []),
        ([5, 6], -1, []),
        ([], 9, []),
    ],
)
def test_a_draft_is_what_can_be_checked(proposed, limit, usable):
    ids, chances = draft(Said(proposed), [], limit, Trust(), 10, 2)
    assert ids == usable and len(chances) == len(usable)
    assert sorted(chances, reverse=True) == chances
    told = [0.9 - 0.1 * place for place in range(len(proposed))]
    assert draft(Said(proposed, told), [], limit, Trust(), 10, 2) == (usable, told[: len(usable)])


def test_trust_follows_what_became_of_drafts():
    trust = Trust()
    start = trust.chances(1)[0]
    trust.judge(0, 0)
    assert trust.chances(1) == [start]
    for _ in range(9):
        trust.judge(8, 8)
    assert trust.chances(3)[2] > 0.95
    for _ in range(20):
        trust.judge(0, 4)
    low, square = trust.chances(2)
    assert low < 0.25 and square == pytest.approx(low**2)


def rate(chances, lengths, free, width=None) -> float:
    positions = sum(1 + length for length in lengths) if width is None else len(lengths) * (1 + width)
    return (len(lengths) + sum(sum(row[:length]) for row, length in zip(chances, lengths))) / (free + positions)


@pytest.mark.parametrize("seed", range(20))
def test_the_lengths_of_drafts_are_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    free = float(rng.choice([0.0, 2, 16, 100]))
    chances = [np.sort(rng.random(rng.integers(0, 6)))[::-1].tolist() for _ in range(rng.integers(1, 5))]
    choices = itertools.product(*(range(len(row) + 1) for row in chances))
    best = max(rate(chances, lengths, free) for lengths in choices)
    assert rate(chances, worthwhile_lengths(chances, free), free) == pytest.approx(best)
    longest = max(map(len, chances))
    rates = [rate(chances, [min(width, len(row)) for row in chances], free, width) for width in range(longest + 1)]
    assert rates[block_width(chances, free)] == pytest.approx(max(rates))
    rows, widths = len(chances) + int(rng.integers(0, 3)), (0, 1, 3, 9)
    fixed = [*chances, *[[]] * (rows - len(chances))]
    rates = {
        width: (rate(fixed, [min(width, len(row)) for row in fixed], free, width) * (free + rows * (1 + width))
                - rows + len(chances)) / (free + rows * (1 + width))
        for width in widths
    }  # fmt: skip
    assert rates[block_width(chances, free, widths, rows)] == pytest.approx(max(rates.values()))


@pytest.mark.parametrize("chances, free", [([0.04761904761904762], 20), ([0.04761904761904762, 1 / 21, 1 / 21], 20)])
def test_chances_as_good_as_the_pass_itself_end_the_search(chances, free):
    """Rounding may put the pass on either side of such a token, in turns for ever."""
    best = rate([chances], [0], free)
    assert rate([chances], worthwhile_lengths([chances], free), free) == pytest.approx(best)


def test_where_positions_cost_nothing_all_of_a_draft_pays():
    chances = [[0.5, 0.25], [], [0.9] * 30]
    assert worthwhile_lengths(chances, 1e9) == [2, 0, 30]
    assert block_width(chances, 1e9) == 30


def test_seconds_add_up_also_when_a_part_fails():
    stats = EngineStats()
    with stats.timed("decode"):
        sum(range(1000))
    once = stats.seconds["decode"]
    with pytest.raises(KeyError), stats.timed("decode"):
        raise KeyError
    assert stats.seconds["decode"] > once > 0


def test_stats_add_up_as_if_one_engine_had_done_it_all():
    first, second = EngineStats(), EngineStats()
    numbers = [field.name for field in fields(EngineStats) if field.name != "seconds"]
    for number, name in enumerate(numbers):
        setattr(first, name, number)
        setattr(second, name, 100 * number)
    first.seconds["decode"] = 1.5
    second.seconds.update(decode=2.0, draft=0.25)
    total = sum([first, second], EngineStats())
    assert [getattr(total, name) for name in numbers] == [101 * number for number in range(len(numbers))]
    assert total.seconds == {"decode": 3.5, "draft": 0.25}
    with total.timed("finish"):
        pass
    assert "finish" in total.seconds and first.seconds == {"decode": 1.5}
