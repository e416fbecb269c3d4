"""One process, killed at a step or in a save: the same command makes the same losses as if it never had been."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import training_runs

pytestmark = pytest.mark.pinned

COMMON = [
    "--report_to", "none", "--use_cpu", "True", "--bf16", "False", "--logging_steps", "1", "--learning_rate", "1e-2",
    "--per_device_train_batch_size", "2", "--num_train_epochs", "2", "--save_strategy", "steps", "--save_steps", "3",
    "--group_by_modality_length", "True", "--dataloader_num_workers", "1", "--seed", "4",
]  # fmt: skip
KINDS = {
    "full": [],
    "lora": ["--lora_enable", "True", "--lora_r", "4", "--lora_dropout", "0.3"],
    "projector": ["--tune_mm_mlp_adapter", "True"],
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    return training_runs.write_sources(tmp_path_factory.mktemp("sources"))


@pytest.mark.parametrize("kind, kill, first", [
    ("full", {"kill_in_save": 6}, 3), ("lora", {"kill_after": 7}, 6), ("projector", {"kill_after": 2}, 0),
])  # fmt: skip
def test_killed_equals_uninterrupted(sources, tmp_path, kind, kill, first):
    def run(name: str, folder: str, **more) -> dict:
        arguments = [*training_runs.paths(sources, tmp_path / folder), *COMMON, *KINDS[kind]]
        return {"arguments": arguments, "losses": str(tmp_path / f"{name}.jsonl"), **more}

    killed = training_runs.start(tmp_path / "plan", [run("whole", "whole"), run("killed", "out", **kill)])
    assert killed.returncode == -9, training_runs.what_went_wrong(killed)
    resumed = training_runs.start(tmp_path / "plan", [run("resumed", "out")])
    assert resumed.returncode == 0, training_runs.what_went_wrong(resumed)
    wanted = training_runs.losses_of(tmp_path / "whole.jsonl")
    got = training_runs.losses_of(tmp_path / "resumed.jsonl")
    assert wanted.keys() == set(range(8)) and got.keys() == set(range(first, 8))
    for step in got:
        np.testing.assert_allclose(got[step], wanted[step], rtol=0, atol=1e-5)
    assert not (tmp_path / "out" / ".unfinished").exists()
