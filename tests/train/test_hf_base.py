"""Training that starts from transformers' own LLaVA-1.5: as base, as tower, as projector."""

from __future__ import annotations

import json
from pathlib import Path

import hf_forms
import pytest
import torch
import training_runs

from llava_v2xum.features.hf_llava import PROJECTOR, TOWER, weights_in
from llava_v2xum.model.checkpoint import load_pretrained, save_checkpoint
from llava_v2xum.train.flags import UsageError
from llava_v2xum.train.loop import train

pytestmark = pytest.mark.pinned


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    folder = training_runs.write_sources(tmp_path_factory.mktemp("sources"))
    hf_forms.write_hf_llava(folder / "hf")
    return folder


def run(sources: Path, output_dir: Path, *more: str) -> list[float]:
    """The losses of two steps that change nothing."""
    train([
        "--data_path", str(sources / "instruct.json"), "--feature_folder", str(sources / "features"), "--num_frames",
        str(training_runs.FRAMES), "--output_dir", str(output_dir), "--max_steps", "2", "--learning_rate", "0",
        "--logging_steps", "1", "--save_strategy", "no", "--report_to", "none", "--use_cpu", "True", "--bf16", "False",
        *more,
    ])  # fmt: skip
    history = json.loads((output_dir / "trainer_state.json").read_text())["log_history"]
    return [step["loss"] for step in history if "loss" in step]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """Of a model, without `vision_model.` before the tower's names."""
    found = (pair for _, tensors in weights_in(folder) for pair in tensors)
    return {name.replace("vision_model.", ""): weight.float() for name, weight in found}


def test_as_the_base(sources, tmp_path):
    """The losses are those that the same weights have in this package's form; all of them are kept, the tower's too."""
    losses = run(sources, tmp_path / "out", "--model_name_or_path", str(sources / "hf"))
    tokenizer, model, _ = load_pretrained(sources / "hf", device="cpu", dtype="float32")
    save_checkpoint(model, tokenizer, tmp_path / "own")
    assert losses == run(sources, tmp_path / "again", "--model_name_or_path", str(tmp_path / "own"))
    given, kept = weights_of(sources / "hf"), weights_of(tmp_path / "out")
    assert any(name.startswith(TOWER) for name in given) and set(given) == set(kept)
    assert all(torch.equal(given[name], weight) for name, weight in kept.items())
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["vocab_size"] == hf_forms.ROWS and config["mm_vision_tower"] == str(sources / "hf")
    _, trained, _ = load_pretrained(tmp_path / "out", device="cpu", dtype="float32")
    answers = [training_runs.logits_of(one, sources) for one in (trained, bound(model, trained))]
    assert torch.equal(*answers)


def bound(model, trained):
    """The model with the timeline of the one that was trained."""
    for name in ("num_frames", "temporal_prompt_ids"):
        setattr(model.config, name, getattr(trained.config, name))
    return model


def test_as_tower_and_projector_of_a_plain_decoder(sources, tmp_path):
    both = ["--vision_tower", str(sources / "hf"), "--pretrain_mm_mlp_adapter", str(sources / "hf")]
    run(sources, tmp_path / "out", "--model_name_or_path", str(sources / "base"), *both)
    given, kept = weights_of(sources / "hf"), weights_of(tmp_path / "out")
    names = [name for name in given if name.startswith((TOWER, PROJECTOR))]
    assert len(names) > 20 and all(torch.equal(given[name], kept[name]) for name in names)


def test_what_cannot_be_had_is_said_in_one_line(sources, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    base = ["--model_name_or_path", str(sources / "base")]
    tower = ["--vision_tower", str(sources / "tower")]
    for more, message in (
        ([*base, *tower, "--pretrain_mm_mlp_adapter", str(sources / "base")], "a file without one"),
        ([*base, *tower, "--pretrain_mm_mlp_adapter", str(tmp_path)], "expected a projector"),
    ):
        with pytest.raises(UsageError, match=f"--pretrain_mm_mlp_adapter: .*{message}") as error:
            run(sources, tmp_path / "out", *more)
        assert len(str(error.value).splitlines()) == 1
