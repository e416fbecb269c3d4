"""How runs end and what they say: a full card in advice, a finished run as such; and passes weighed by tokens."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import training_runs

from llava_v2xum.train.memory import GIB, OutOfMemory, Use, advice, asked_bytes

pytestmark = pytest.mark.pinned

COMMON = ["--report_to", "none", "--use_cpu", "True", "--logging_steps", "1", "--seed", "5", "--learning_rate", "1e-3"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    return training_runs.write_sources(tmp_path_factory.mktemp("sources"))


def run(sources: Path, folder: Path, *more: str):
    from llava_v2xum.train.loop import train

    return train([*training_runs.paths(sources, folder), *COMMON, *more])


def test_advice_on_memory_is_worked_out_from_what_was_measured():
    """80 GiB with 40 held leave 36; 8 rows took 45 and asked for 3 more: 6 rows fit."""
    told = advice(Use(80 * GIB, 40 * GIB, 85 * GIB, 3 * GIB), 8, 700, 2, recomputes=True)
    assert "--per_device_train_batch_size 6 --gradient_accumulation_steps 3 for" in told
    assert "checkpointing" not in told and "8 rows of up to 700" in told
    assert "--gradient_checkpointing True" in advice(Use(80 * GIB, 40 * GIB, 85 * GIB, 3 * GIB), 8, 700, 2, False)
    assert "One row is too much" in advice(Use(80 * GIB, 79 * GIB, 79 * GIB, GIB), 8, 700, 2, True)
    assert "zero3.json" in advice(Use(80 * GIB, 40 * GIB, 79 * GIB, GIB), 1, 700, 2, True)
    assert asked_bytes(RuntimeError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 ...")) == 2.5 * GIB


def test_a_full_card_ends_the_run_in_advice(sources, tmp_path, monkeypatch):
    from llava_v2xum.model.modeling import LlavaV2XumForCausalLM

    def full(self, *args, **kwargs):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")

    monkeypatch.setattr(LlavaV2XumForCausalLM, "_training_step", full)
    with pytest.raises(OutOfMemory, match=r"out of memory: .* for 8 rows of up to \d+ text positions"):
        run(sources, tmp_path, "--bf16", "True", "--max_steps", "1")


def test_a_finished_run_says_so_and_a_longer_one_goes_on(sources, tmp_path, caplog):
    more = ["--bf16", "True", "--save_strategy", "no"]
    run(sources, tmp_path, *more, "--max_steps", "2")
    assert "keeps no float32 copy" in caplog.text
    written = (tmp_path / "model.safetensors").stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        trainer = run(sources, tmp_path, *more, "--max_steps", "2")
    assert "this run is finished, all 2 steps were made" in caplog.text and trainer.state.global_step == 0
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == written
    assert run(sources, tmp_path, *more, "--max_steps", "3").state.global_step == 3


def test_passes_weighed_by_tokens_make_the_step_of_one_pass(sources, tmp_path):
    import inspect

    import transformers

    from llava_v2xum.core.errors import V2XumError

    passes = ["--bf16", "False", "--max_steps", "1", "--save_strategy", "no", "--per_device_train_batch_size"]
    by_tokens = ["--weigh_by_tokens", "True"]
    if "tokenizer" in inspect.signature(transformers.Trainer.__init__).parameters:
        with pytest.raises(V2XumError, match="--weigh_by_tokens needs transformers 4.46"):
            run(sources, tmp_path / "old", *passes, "2", *by_tokens)
        return

    def norm(name: str, *more: str) -> tuple[float, float]:
        first = run(sources, tmp_path / name, *passes, *more).state.log_history[0]
        return first["loss"], first["grad_norm"]

    whole = norm("whole", "8")
    split = ["2", "--gradient_accumulation_steps", "4"]
    assert norm("weighed", *split, *by_tokens) == pytest.approx(whole, rel=1e-4)
    assert norm("plain", *split) != pytest.approx(whole, rel=1e-3)
