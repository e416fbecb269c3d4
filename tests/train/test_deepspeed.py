"""Two processes under DeepSpeed: what they save is what they trained, and a killed run goes on as if it never was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_layouts
import training_runs

pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
COMMON = [
    "--per_device_train_batch_size", "2", "--learning_rate", "1e-2", "--report_to", "none", "--use_cpu", "True",
    "--bf16", "False", "--logging_steps", "1", "--seed", "5", "--save_strategy", "no",
]  # fmt: skip
LORA = ["--lora_enable", "True", "--lora_r", "4", "--lora_alpha", "8"]
RUNS = {
    "full-zero2": ["--deepspeed", str(SCRIPTS / "zero2.json"), "--gradient_checkpointing", "True"],
    "lora-zero2": ["--deepspeed", str(SCRIPTS / "zero2.json"), *LORA, "--freeze_mm_mlp_adapter", "True"],
    "full-zero3": ["--deepspeed", str(SCRIPTS / "zero3.json")],
    "lora-zero3": ["--deepspeed", str(SCRIPTS / "zero3.json"), *LORA, "--gradient_checkpointing", "True"],
    "projector-zero2": ["--deepspeed", str(SCRIPTS / "zero2.json"), "--tune_mm_mlp_adapter", "True"],
    "full-zero3-with-projector": [  # of a base that has one, which ZeRO-3 partitions as it is built
        "--deepspeed", str(SCRIPTS / "zero3.json"), "--model_name_or_path", "{trained}/full-zero2",
        "--pretrain_mm_mlp_adapter", "{trained}/projector-zero2/mm_projector.bin", "--learning_rate", "0",
    ],
}  # fmt: skip
IN_BF16 = ["--bf16", "True", "--model_name_or_path", "{sources}/llava"]  # of the shape of LLaVA-1.5: with a projector
OF_LLAVA = {
    "lora-zero3-bf16": [*RUNS["lora-zero3"], *IN_BF16],
    "full-zero3-bf16": [*RUNS["full-zero3"], *IN_BF16],
    "lora-zero2-bf16": [*RUNS["lora-zero2"], *IN_BF16],
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    folder = training_runs.write_sources(tmp_path_factory.mktemp("sources"))
    tiny_layouts.write_full(folder / "llava", "llava_llama", folder / "tower")
    return folder


@pytest.fixture(scope="module")
def trained(sources, tmp_path_factory) -> Path:
    """The folders of all of `RUNS`, each with a NAME.npy of the logits of the model that was trained."""
    folder = tmp_path_factory.mktemp("trained")
    plan = [
        {
            "arguments": [
                *training_runs.paths(sources, folder / name),
                *COMMON,
                *("--max_steps", "2"),
                *(word.replace("{trained}", str(folder)).replace("{sources}", str(sources)) for word in more),
            ],
            "logits": str(folder / f"{name}.npy") if name in RUNS else None,
            "sources": str(sources),
        }
        for name, more in (RUNS | OF_LLAVA).items()
    ]
    done = training_runs.start(folder / "plan", plan, processes=2)
    assert done.returncode == 0, training_runs.what_went_wrong(done)
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_what_is_saved_is_what_was_trained(trained, sources, name):
    from llava_v2xum import load_pretrained

    base = None if name.startswith("full") else sources / "base"
    _, model, encoder = load_pretrained(trained / name, base, device="cpu", dtype="float32")
    logits = training_runs.logits_of(model, sources).numpy()
    np.testing.assert_allclose(logits, np.load(trained / f"{name}.npy"), rtol=0, atol=1e-5)
    import torch
    from transformers import CLIPVisionModel

    whole = CLIPVisionModel.from_pretrained(sources / "tower").state_dict()
    for key, value in encoder.tower.vision_tower.state_dict().items():
        assert torch.equal(value, whole[key]), key
    assert not (trained / name / ".unfinished").exists()


@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_the_tower_in_a_full_checkpoint_is_the_one_it_started_from(trained, sources, stage):
    import torch
    from safetensors.torch import load_file

    saved = load_file(trained / f"full-{stage}" / "model.safetensors")
    tower = load_file(sources / "tower" / "model.safetensors")
    kept = {name: value for name, value in saved.items() if "vision_tower" in name}
    assert len(kept) == len([name for name in tower if not name.endswith("position_ids")])
    for name, value in kept.items():
        source = next(key for key in tower if name.endswith(key.removeprefix("vision_model.")))
        assert torch.equal(value, tower[source].to(value.dtype)), name


def test_a_pretrained_projector_takes_the_place_of_a_partitioned_one(trained):
    import torch
    from safetensors.torch import load_file

    given = torch.load(trained / "projector-zero2" / "mm_projector.bin", weights_only=True)
    saved = load_file(trained / "full-zero3-with-projector" / "model.safetensors")
    before = load_file(trained / "full-zero2" / "model.safetensors")
    assert len(given) == 4
    for name, value in given.items():
        assert torch.equal(saved[name], value) and not torch.equal(before[name], value), name
    assert torch.equal(saved["lm_head.weight"], before["lm_head.weight"])


@pytest.mark.parametrize("name", OF_LLAVA)
def test_a_base_with_a_projector_is_trained_in_bf16(trained, sources, name):
    """A LoRA pair is float32 beside it, which ZeRO-3 does not take."""
    import torch
    from safetensors.torch import load_file

    folder = trained / name
    before = load_file(sources / "llava" / "model.safetensors")
    if name.startswith("full"):
        after = load_file(folder / "model.safetensors")
    else:
        stored = torch.load(folder / "non_lora_trainables.bin", weights_only=True)
        after = {key.removeprefix("base_model.model."): value for key, value in stored.items()}
    before = {key: value.to(after[key].dtype) for key, value in before.items() if key in after}
    moved = {key for key, value in before.items() if not torch.equal(after[key], value)}
    frozen = "zero2" in name  # by its flag
    assert len([key for key in after if "mm_projector" in key]) == 4
    assert any("mm_projector" in key for key in moved) != frozen
    assert all(value.isfinite().all() for value in after.values())


def test_exactly_these_parameters_are_trained(trained, sources):
    from safetensors.torch import load_file

    def names(run: str) -> set[str]:
        return set(json.loads((trained / f"{run}.json").read_text()))

    decoder = set(load_file(sources / "base" / "model.safetensors"))
    projector = {f"model.mm_projector.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}
    linears = {name.removesuffix(".weight") for name in decoder if "_proj" in name}
    lora = {f"base_model.model.{name}.lora_{side}.default.weight" for name in linears for side in "AB"}
    assert len(linears) == 14  # 7 in each of 2 layers
    assert names("full-zero2") == names("full-zero3") == decoder | projector
    assert names("lora-zero2") == lora
    assert names("lora-zero3") == lora | {f"base_model.model.{name}" for name in projector}
    assert names("projector-zero2") == projector


def test_killed_while_saving_and_started_again_equals_uninterrupted(sources, tmp_path):
    """ZeRO-2, LoRA with dropout, and the projector; three epochs of two steps of two batches, killed in the second."""
    settings = [
        *COMMON, *RUNS["lora-zero2"][:2], *LORA, "--per_device_train_batch_size", "1", "--num_train_epochs", "3",
        "--gradient_accumulation_steps", "2", "--group_by_modality_length", "True", "--dataloader_num_workers", "1",
        "--lora_dropout", "0.3", "--save_strategy", "steps", "--save_steps", "1", "--save_total_limit", "2",
    ]  # fmt: skip

    def run(name: str, folder: str, **more):
        planned = {"arguments": [*training_runs.paths(sources, tmp_path / folder), *settings], **more}
        return training_runs.start(
            tmp_path / "plan", [{**planned, "losses": str(tmp_path / f"{name}.jsonl")}], processes=2
        )

    killed = run("killed", "out", kill_in_save=4)
    assert killed.returncode != 0
    written = tmp_path / "out" / ".unfinished" / "checkpoint-4"
    assert (written / "trainer_state.json").is_file()  # all but its name
    (written / "left_over").touch()
    for name, folder in (("resumed", "out"), ("whole", "whole")):
        done = run(name, folder)
        assert done.returncode == 0, training_runs.what_went_wrong(done)

    wanted = training_runs.losses_of(tmp_path / "whole.jsonl")
    got = training_runs.losses_of(tmp_path / "resumed.jsonl")
    assert wanted.keys() == set(range(6)) and got.keys() == set(range(3, 6))
    for step in got:
        np.testing.assert_allclose(got[step], wanted[step], rtol=0, atol=1e-5)
    assert len({tuple(step) for step in wanted.values()}) == 6
    assert sorted(path.name for path in (tmp_path / "out").glob("*point-*")) == ["checkpoint-5", "checkpoint-6"]
    assert not list((tmp_path / "out").rglob("left_over"))


def test_the_literal_command_ends_in_a_checkpoint_that_summarizes(sources, tmp_path):
    command = ["deepspeed", "--num_gpus", "2", "--master_port", str(training_runs.free_port())]
    command += [str(SCRIPTS / "finetune_v2xum.sh"), *training_runs.paths(sources, tmp_path / "out")]
    command += ["--max_steps", "1", "--per_device_train_batch_size=2", "--gradient_accumulation_steps", "1"]
    done = subprocess.run(
        command, env=training_runs.environment(), text=True, capture_output=True, timeout=400, errors="replace"
    )
    assert done.returncode == 0, training_runs.what_went_wrong(done)
    assert (tmp_path / "out" / "model.safetensors").is_file()
    clip = Path(__file__).resolve().parents[2] / "llava_v2xum" / "shapes" / "clips" / "demo.mp4"
    asked = [sys.executable, "-m", "llava_v2xum.infer", str(clip), "--model-path", str(tmp_path / "out")]
    answered = subprocess.run(
        [*asked, "--output-dir", str(tmp_path / "summaries")],
        env=training_runs.environment(), text=True, capture_output=True, timeout=300, errors="replace",
    )  # fmt: skip
    assert answered.returncode == 0, training_runs.what_went_wrong(answered)
    assert len((tmp_path / "summaries" / "summaries.jsonl").read_text().splitlines()) == 1
