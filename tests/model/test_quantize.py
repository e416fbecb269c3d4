"""The decoder's weights in 8 and 4 bits: which layers, how near to the whole ones, and where they cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import tiny
import tiny_layouts as layouts
import torch
import weights

from llava_v2xum.core.tasks import query_for
from llava_v2xum.data.dataset import build_input_ids
from llava_v2xum.infer.engine import generate_answers
from llava_v2xum.model.checkpoint import load_pretrained
from llava_v2xum.model.checkpoint.quantize import bits_of

KINDS = {8: "Linear8bitLt", 4: "Linear4bit"}
SIZES = {"hidden_size": 64, "intermediate_size": 128}  # 4 bits come in blocks of 64


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A LoRA checkpoint, so that the adapter has to be merged before."""
    folder = tmp_path_factory.mktemp("checkpoint")
    state = layouts.write_base(folder / "base", **SIZES)
    tower = weights.sources()[1]
    layouts.write_adapter(folder / "lora", state, str(folder / "base"))
    layouts.write_json(layouts.model_config("llava_v2xum", tower, **SIZES), folder / "lora" / "config.json")
    projector = layouts.projector_state(tiny.TOWER_WIDTH, SIZES["hidden_size"])
    trained = {f"base_model.{name}": value for name, value in projector.items()}
    torch.save(trained, folder / "lora" / "non_lora_trainables.bin")
    return folder / "lora"


@pytest.mark.parametrize("bits, most", [(8, 0.02), (4, 0.2)])
def test_the_decoders_layers_are_made_small_and_nothing_else(checkpoint, bits, most):
    pytest.importorskip("bitsandbytes", minversion="0.46")  # the first that has kernels for the CPU
    _, whole, _ = load_pretrained(checkpoint, device="cpu")
    tokenizer, model, encoder = load_pretrained(checkpoint, device="cpu", **{f"load_{bits}bit": True})
    small = {name: module for name, module in model.named_modules() if type(module).__name__ == KINDS[bits]}
    expected = {f"model.layers.{n}.self_attn.{p}_proj" for n in range(2) for p in "qkvo"}
    assert set(small) == expected | {f"model.layers.{n}.mlp.{p}_proj" for n in range(2) for p in ("gate", "up", "down")}
    assert {parameter.dtype for parameter in encoder.tower.parameters()} == {torch.float32}
    for name, module in small.items():
        linear = whole.get_submodule(name)
        numbers = weights.numbers(7, linear.in_features, name=name)
        with torch.no_grad():
            wanted, got = linear(numbers), module(numbers)
        assert 0 < (got - wanted).norm() / wanted.norm() < most, name
    prompt = build_input_ids(tokenizer, query_for("both"))
    video = weights.numbers(100, model.config.mm_hidden_size)
    (answer,) = generate_answers(model, tokenizer, [prompt], [video], max_new_tokens=4)
    assert len(answer.token_ids) == 4


def test_a_size_that_the_kernels_refuse_is_told(tmp_path):
    pytest.importorskip("bitsandbytes", minversion="0.46")
    if torch.cuda.is_available():
        pytest.skip("a GPU takes any size")
    layouts.write_full(tmp_path, "llava_v2xum", weights.sources()[1])  # 32 wide
    try:
        load_pretrained(tmp_path, device="cpu", load_4bit=True)
    except ValueError as error:
        assert "weights in 4 bits: bitsandbytes" in str(error) and "_proj" in str(error) and "GPU" in str(error)


def test_both_are_refused():
    with pytest.raises(ValueError, match="load_8bit and load_4bit: give one of them"):
        bits_of(True, True)
    assert bits_of(False, False) is None


@pytest.mark.pinned
def test_a_missing_bitsandbytes_is_named_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ImportError, match=r'8 bits need bitsandbytes: pip install "llava_v2xum\[qlora\]"'):
        load_pretrained(tmp_path / "none", load_8bit=True)
