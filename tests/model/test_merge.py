"""A LoRA checkpoint merged into a folder of its own answers as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import training_runs

from llava_v2xum.model.merge import main

pytestmark = pytest.mark.pinned


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    return training_runs.write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def lora(sources, tmp_path_factory) -> Path:
    from llava_v2xum.train.loop import train

    folder = tmp_path_factory.mktemp("trained") / "lora"
    train([
        *training_runs.paths(sources, folder), "--max_steps", "3", "--learning_rate", "1e-2", "--lora_enable", "True",
        "--lora_r", "4", "--report_to", "none", "--use_cpu", "True", "--save_strategy", "no", "--bf16", "False",
    ])  # fmt: skip
    return folder


def test_logits_are_the_same_before_and_after(sources, lora, tmp_path, capsys):
    from llava_v2xum import load_pretrained

    given = ["--model-path", str(lora), "--model-base", str(sources / "base"), "--out", str(tmp_path / "merged")]
    assert main([*given, "--dtype", "float32"]) == 0
    assert f"{tmp_path / 'merged'}: merged" in capsys.readouterr().out
    _, before, _ = load_pretrained(lora, device="cpu", dtype="float32")  # finds its base by itself
    _, after, _ = load_pretrained(tmp_path / "merged", device="cpu", dtype="float32")
    wanted = training_runs.logits_of(before, sources).numpy()
    np.testing.assert_allclose(training_runs.logits_of(after, sources).numpy(), wanted, rtol=0, atol=1e-5)
    assert not list((tmp_path / "merged").glob("adapter*"))
    assert (tmp_path / "merged" / "vision_tower" / "model.safetensors").is_file()


def test_what_has_no_adapter_is_told_to_be_as_it_was(sources, lora, tmp_path, capsys):
    assert main(["--model-path", str(lora), "--out", str(tmp_path / "merged")]) == 0
    capsys.readouterr()
    assert main(["--model-path", str(tmp_path / "merged"), "--out", str(tmp_path / "again")]) == 0
    told = capsys.readouterr().out
    assert f"again: written as it is, for {tmp_path / 'merged'} has no LoRA adapter to merge, " in told


def test_errors_are_one_line(sources, lora, tmp_path, capsys):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").touch()
    cases = [
        (["--model-path", str(tmp_path / "none"), "--out", str(tmp_path / "merged")], "none"),
        (["--model-path", str(lora), "--out", str(lora)], "another folder than model_path"),
        (["--model-path", str(lora), "--out", str(tmp_path / "notes")], "expected a new or empty folder"),
        (["--model-path", str(lora), "--out", str(tmp_path / "merged"), "--dtype", "int8"], "dtype must be"),
    ]
    for given, what in cases:
        assert main(given) == 2
        printed = capsys.readouterr().err
        assert printed.startswith("error: ") and what in printed and len(printed.splitlines()) == 1, printed
    for given, what in cases[2:]:  # slips that are told before anything is read
        assert main(["--model-path", "no/such/model/here", *given[2:]]) == 2
        assert what in capsys.readouterr().err
    assert not (tmp_path / "merged").exists()
    assert (lora / "adapter_config.json").is_file()
