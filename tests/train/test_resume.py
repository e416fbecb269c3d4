"""One process, killed at a step or in a save: the same command makes the same losses as if it never had been."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import training_runs

from llava_v2xum.model.compat import samples_in_whole_steps

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
    "accumulated": [  # an epoch's eight batches are no whole number of steps
        "--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "3", "--num_train_epochs", "3",
        "--save_steps", "1",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    return training_runs.write_sources(tmp_path_factory.mktemp("sources"))


@pytest.mark.parametrize("kind, kill, first", [
    ("full", {"kill_in_save": 6}, 3), ("lora", {"kill_after": 7}, 6), ("projector", {"kill_after": 2}, 0),
    ("accumulated", {"kill_after": 5}, 4),
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
    steps = 8 if kind != "accumulated" else 3 * -(-samples_in_whole_steps(8, 1, 3) // 3)
    assert wanted.keys() == set(range(steps)) and got.keys() == set(range(first, steps))
    for step in got:
        np.testing.assert_allclose(got[step], wanted[step], rtol=0, atol=1e-5)
    assert not (tmp_path / "out" / ".unfinished").exists()
