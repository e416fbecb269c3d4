"""Adapters as peft's own `save_pretrained` writes them: merged as peft merges them, or refused in one line."""

from __future__ import annotations

import logging
from pathlib import Path

import hf_forms
import peft
import pytest
import tiny_layouts as layouts
import torch
import weights

from llava_v2xum.core.errors import V2XumError
from llava_v2xum.model.checkpoint import load_pretrained

pytestmark = pytest.mark.pinned

ATTENTION = ["q_proj", "v_proj"]
KINDS = {
    "lm_head": {"target_modules": ["q_proj", "lm_head"]},
    "embed_tokens": {"target_modules": ["q_proj", "embed_tokens"]},
    "both ends": {"target_modules": [*ATTENTION, "embed_tokens", "lm_head"]},
    "rsLoRA": {"target_modules": ATTENTION, "use_rslora": True},
    "DoRA": {"target_modules": [*ATTENTION, "down_proj"], "use_dora": True},
    "patterns": {
        "target_modules": ATTENTION,
        "rank_pattern": {"layers.0.self_attn.q_proj": 2},
        "alpha_pattern": {"layers.1.self_attn.v_proj": 32},
    },
    "modules_to_save": {"target_modules": ATTENTION, "modules_to_save": ["lm_head", "embed_tokens"]},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """LLaVA's own form."""
    folder = tmp_path_factory.mktemp("base") / "llava"
    layouts.write_full(folder, "llava_llama", weights.sources()[1])
    return folder


def decoder_of(base: Path) -> torch.nn.Module:
    """A model whose tower peft does not see, as LLaVA's training leaves it out."""
    _, model, _ = load_pretrained(base, device="cpu", dtype="float32")
    model.model.vision_tower = None
    return model


def adapt(model: torch.nn.Module, folder: Path, **settings) -> dict[str, torch.Tensor]:
    """Save an adapter of random weights, and give what peft makes of the model with it."""
    torch.manual_seed(0)
    asked = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", "init_lora_weights": False, **settings}
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**asked))
    if "modules_to_save" in settings:
        for name, weight in wrapped.named_parameters():
            if "modules_to_save" in name:
                weight.data += 0.5
    wrapped.save_pretrained(folder)
    return {name: weight.clone() for name, weight in wrapped.merge_and_unload().state_dict().items()}


def assert_merged(folder: Path, base: Path, expected: dict[str, torch.Tensor]) -> None:
    _, model, _ = load_pretrained(folder, base, device="cpu", dtype="float32")
    given = load_pretrained(base, device="cpu", dtype="float32")[1].state_dict()
    ours = {name: weight for name, weight in model.state_dict().items() if ".vision_tower." not in name}
    assert set(ours) == set(expected)
    assert any(not torch.allclose(weight, given[name], atol=1e-2) for name, weight in ours.items())
    for name, weight in ours.items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_merged_as_peft_merges_it(base, tmp_path, kind, caplog):
    expected = adapt(decoder_of(base), tmp_path / "adapter", **KINDS[kind])
    with caplog.at_level(logging.WARNING):
        assert_merged(tmp_path / "adapter", base, expected)
    assert "is not that of" not in caplog.text


def test_one_that_was_made_on_another_base_brings_its_end_and_says_so(base, tmp_path, caplog):
    model = decoder_of(base)
    model.lm_head.weight.data += 0.25
    lm_head = adapt(model, tmp_path / "adapter", **KINDS["lm_head"])["lm_head.weight"]
    with caplog.at_level(logging.WARNING):
        _, merged, _ = load_pretrained(tmp_path / "adapter", base, device="cpu", dtype="float32")
    assert "lm_head.base_layer.weight, which peft stored with the adapter, is not that of" in caplog.text
    torch.testing.assert_close(merged.lm_head.weight, lm_head, rtol=0, atol=1e-6)


def test_one_that_was_made_on_transformers_own_class(tmp_path):
    """Its layers have transformers' names; the tower and the projector are left out by a pattern."""
    base = hf_forms.write_hf_llava(tmp_path / "hf")
    model = hf_forms.hf_llava()
    adapt(model, tmp_path / "adapter", target_modules=r".*language_model.*\.(q_proj|v_proj)")
    _, ours, _ = load_pretrained(tmp_path / "adapter", base, device="cpu", dtype="float32")
    merged, plain = model.state_dict(), hf_forms.hf_llava().state_dict()  # peft merges in place
    for name in ("layers.0.self_attn.q_proj.weight", "layers.1.self_attn.v_proj.weight"):
        theirs = next(one for one in merged if one.endswith(name) and "language_model" in one)
        mine = ours.state_dict()[f"model.{name}"]
        torch.testing.assert_close(mine, merged[theirs], rtol=0, atol=1e-6)
        assert not torch.allclose(mine, plain[theirs], atol=1e-2)


def test_one_of_the_tower_is_refused(base, tmp_path):
    _, model, _ = load_pretrained(base, device="cpu", dtype="float32")
    adapt(model, tmp_path / "adapter", target_modules=ATTENTION)
    with pytest.raises(V2XumError, match="adapter_model.safetensors: .*got one of the vision tower") as error:
        load_pretrained(tmp_path / "adapter", base)
    assert len(str(error.value).splitlines()) == 1
