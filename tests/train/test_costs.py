"""The guide's costs are computed, in one place, and agree with models' own counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_v2xum.train import costs
from llava_v2xum.train.costs import GB, VICUNA_7B, VICUNA_13B, Method

pytestmark = pytest.mark.pinned

GUIDE = Path(__file__).resolve().parents[2] / "scripts" / "guides" / "train.md"


def test_the_guide_has_the_computed_figures():
    guide = GUIDE.read_text(encoding="utf-8")
    assert costs.table() in guide
    assert f"{costs.hours(10001):.1f} hours of one H100" in guide
    assert f"{35001 / 10001:.1f} times that: {costs.hours(35001):.0f} hours" in guide


@pytest.mark.parametrize(("size", "hidden", "wide", "layers", "heads"), [
    (VICUNA_7B, 4096, 11008, 32, 32), (VICUNA_13B, 5120, 13824, 40, 40),
])  # fmt: skip
def test_the_sizes_are_those_of_the_models(size, hidden, wide, layers, heads):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=32000, hidden_size=hidden, intermediate_size=wide, num_hidden_layers=layers,
        num_attention_heads=heads,
    )  # fmt: skip
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
        projector = torch.nn.Sequential(torch.nn.Linear(1024, hidden), torch.nn.Linear(hidden, hidden))
    count = sum(one.numel() for module in (model, projector) for one in module.parameters())
    assert count == pytest.approx(size.weights, rel=1e-3) and (size.layers, size.hidden) == (layers, hidden)
    linears = [one for name, one in model.named_modules() if isinstance(one, torch.nn.Linear) and "_proj" in name]
    of_lora = sum(64 * (one.in_features + one.out_features) for one in linears)
    assert costs.lora_weights(size, 64) == pytest.approx(of_lora, rel=1e-2)


def test_figures_worked_by_hand():
    """6.759e9 weights: 16 bytes each on one card; 2 and 14 / 8 on each of eight under ZeRO-2; 14 in a checkpoint."""
    full = Method(2)
    assert costs.state_bytes(VICUNA_7B, full, 1) / GB == pytest.approx(108.1, abs=0.1)
    assert costs.state_bytes(VICUNA_7B, full, 8) / GB == pytest.approx(6.759 * (2 + 14 / 8), abs=0.1)
    assert costs.state_bytes(VICUNA_7B, Method(3), 8) / GB == pytest.approx(13.5, abs=0.1)
    assert costs.checkpoint_bytes(VICUNA_7B, full) / GB == pytest.approx(95.2, abs=0.1)
    assert costs.checkpoint_bytes(VICUNA_13B, full) / GB == pytest.approx(183.3, abs=0.1)
    assert costs.peak_disk_bytes(VICUNA_7B, full, 2) / GB == pytest.approx(3 * 95.2, abs=0.2)
    assert costs.flop(VICUNA_7B, full, 1) == 8 * VICUNA_7B.weights
    assert costs.flop(VICUNA_7B, Method(2, recompute=False), 1) == 6 * VICUNA_7B.weights
    assert costs.cards_needed(VICUNA_7B, full, 1000, 10 * GB) is None  # 2 bytes a weight are on each
