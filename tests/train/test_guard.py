"""A run that has gone off ends and publishes nothing; one damaged entry costs its own steps alone."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import training_runs

from llava_v2xum.train.guard import BrokenRun

pytestmark = pytest.mark.pinned

COMMON = [
    "--report_to", "none", "--use_cpu", "True", "--logging_steps", "1", "--save_strategy", "no", "--seed", "5",
    "--per_device_train_batch_size", "2",
]  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    return training_runs.write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def damaged(sources, monkeypatch):
    """v_3's features are NaN where training reads them, past every check of the file."""
    from llava_v2xum.data.frame_sources import StoredFeatures

    stock = StoredFeatures.load

    def load(self, video_id, frame_indices):
        return stock(self, video_id, frame_indices) * (math.nan if video_id == "v_3" else 1)

    monkeypatch.setattr(StoredFeatures, "load", load)


def run(sources: Path, folder: Path, *more: str):
    from llava_v2xum.train.loop import train

    return train([*training_runs.paths(sources, folder), *COMMON, *more])


def is_published(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or (folder / "config.json").exists()


def test_a_learning_rate_that_blows_up_ends_the_run_with_the_entries_named(sources, tmp_path):
    with pytest.raises(BrokenRun, match=r"3 steps in a row .* step \d+: the loss was .* entries .v_\d.*rate 1e.28"):
        run(sources, tmp_path, "--bf16", "False", "--learning_rate", "1e28", "--max_steps", "9", "--max_grad_norm", "0")
    assert not is_published(tmp_path) and not (tmp_path / ".unfinished").exists()


def test_a_damaged_entry_costs_its_own_steps(sources, tmp_path, damaged, caplog):
    trainer = run(sources, tmp_path, "--bf16", "True", "--learning_rate", "1e-2", "--num_train_epochs", "2")
    assert trainer.state.global_step == 8 and is_published(tmp_path)
    told = [line for line in caplog.messages if "not learnt from" in line]
    assert len(told) == 2 and all("the loss was nan" in line and "v_3" in line for line in told)
    assert "2 of 8 steps were not finite" in caplog.text
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert sum(map(math.isnan, losses)) == 2 and 0.0 not in losses  # transformers writes 0.0
    assert all(weight.isfinite().all() for weight in trainer.model.parameters())


def test_a_run_in_which_nothing_can_move_is_not_published(sources, tmp_path, damaged):
    more = ["--bf16", "True", "--learning_rate", "1e-2", "--max_steps", "2", "--per_device_train_batch_size", "8"]
    with pytest.raises(BrokenRun, match=r"nothing moved in 2 steps \(2 were not finite"):
        run(sources, tmp_path, *more)
    assert not is_published(tmp_path)


def test_weights_that_are_not_finite_are_not_written(sources, tmp_path, monkeypatch):
    """Whatever made them so: neither as a checkpoint, from which the run would go on, nor as the model."""
    from transformers import TrainerCallback

    import llava_v2xum.train.trainer as ours

    class Spoil(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
            if state.global_step == 2:
                with torch.no_grad():
                    model.lm_head.weight[3, 1] = math.inf

    stock = ours._WholeCheckpoints.__init__

    def init(self, *args, **kwargs) -> None:
        stock(self, *args, **kwargs)
        self.add_callback(Spoil())

    monkeypatch.setattr(ours._WholeCheckpoints, "__init__", init)
    more = ["--bf16", "True", "--learning_rate", "1e-2"]
    with pytest.raises(BrokenRun, match=r"checkpoint-2: 1 of its weights are NaN or infinite \('lm_head\.weight'\)"):
        run(sources, tmp_path / "a", *more, "--max_steps", "3", "--save_strategy", "steps", "--save_steps", "1")
    assert [folder.name for folder in (tmp_path / "a").glob("check*")] == ["checkpoint-1"]
    with pytest.raises(BrokenRun, match=r"the trained model: 1 of its weights are NaN"):
        run(sources, tmp_path / "b", *more, "--max_steps", "2")
    assert not is_published(tmp_path / "b")


def test_a_rate_of_nothing_is_told(sources, tmp_path, caplog):
    run(sources, tmp_path, "--bf16", "True", "--learning_rate", "0", "--max_steps", "1")
    assert "nothing was learnt: the learning rate was 0 in all of the 1 steps" in caplog.text


def test_two_processes_under_deepspeed_end_together(sources, tmp_path):
    """ZeRO-2 leaves such steps out by itself and published the base; ZeRO-3 is asked the same."""
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")
    scripts = Path(__file__).resolve().parents[2] / "scripts"
    plan = []
    for stage, more in (("zero2", []), ("zero3", ["--lora_enable", "True", "--lora_r", "4"])):
        words = [*COMMON, *more, "--bf16", "True", "--learning_rate", "1e-2", "--max_steps", "5"]
        words += ["--deepspeed", str(scripts / f"{stage}.json"), "--per_device_train_batch_size", "4"]
        plan.append({
            "arguments": [*training_runs.paths(sources, tmp_path / stage), *words], "expect": "BrokenRun",
            "nan_of": "v_3",
        })  # fmt: skip
    done = training_runs.start(tmp_path / "plan", plan, processes=2)
    assert done.returncode == 0, training_runs.what_went_wrong(done)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"raised"')]
    assert len(told) == 4 and all("3 steps in a row" in one["raised"] and "v_3" in one["raised"] for one in told), told
    assert not is_published(tmp_path / "zero2") and not is_published(tmp_path / "zero3")
