"""Checkpoints are whole or not there, whatever ends the write; the order of samples is the seed's and the epoch's."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path

import pytest
import torch
import training_runs

from llava_v2xum.train.trainer import SeededOrder, check_resumable, whole_checkpoints

pytestmark = pytest.mark.pinned

SAVING = ["--save_strategy", "steps", "--save_steps", "1", "--max_steps", "3", "--learning_rate", "1e-2"]
COMMON = ["--report_to", "none", "--use_cpu", "True", "--bf16", "False", "--logging_steps", "1", *SAVING]


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    return training_runs.write_sources(tmp_path_factory.mktemp("sources"))


def checkpoint(folder: Path, *files: str) -> Path:
    folder.mkdir(parents=True)
    for name in ("trainer_state.json", *files):
        (folder / name).write_text("{}")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_order_is_that_of_seed_and_epoch():
    from llava.train.llava_trainer import LengthGroupedSampler

    def order(seed: int, epoch: int, drawn_before: int) -> list[int]:
        lengths = [5 + index % 7 if index % 3 else -4 - index % 5 for index in range(24)]  # text alone is negative
        torch.manual_seed(9)
        torch.rand(drawn_before)
        made = SeededOrder(LengthGroupedSampler(2, 2, lengths, group_by_modality=True), seed)
        made.epoch = epoch
        before = torch.get_rng_state()
        indices = list(made)
        assert torch.equal(before, torch.get_rng_state())  # dropout goes on as if nothing had been drawn
        return indices

    assert sorted(order(3, 0, 0)) == list(range(24))
    assert order(3, 1, 0) == order(3, 1, 17)
    assert len({tuple(order(seed, epoch, 0)) for seed, epoch in ((3, 0), (3, 1), (4, 4))}) == 3


def test_an_epoch_has_whole_steps_where_a_rest_would_go_into_the_next():
    import inspect

    import transformers

    from llava_v2xum.model.compat import samples_in_whole_steps

    is_old = "tokenizer" in inspect.signature(transformers.Trainer.__init__).parameters
    assert samples_in_whole_steps(37, 4, 3) == (36 if is_old else 37)  # 10 batches, 3 steps of 3
    assert samples_in_whole_steps(50, 8, 3) == (48 if is_old else 50)
    for samples in (33, 35, 36, 5):  # 9 batches, the last one of 1, 3 or 4; less than a step
        assert samples_in_whole_steps(samples, 4, 3) == samples
    order = SeededOrder(torch.utils.data.RandomSampler(range(9)), 3, most=6)
    order.epoch = 1
    assert len(order) == 6 == len(set(order)) and list(order) == list(order)


def test_only_whole_checkpoints_are_found_in_the_order_of_their_steps(tmp_path, caplog):
    checkpoint(tmp_path / "checkpoint-9")
    checkpoint(tmp_path / "checkpoint-10")
    checkpoint(tmp_path / "checkpoint-best")
    (tmp_path / "checkpoint-11").mkdir()
    checkpoint(tmp_path / ".unfinished" / "checkpoint-12")
    assert [folder.name for folder in whole_checkpoints(tmp_path)] == ["checkpoint-9", "checkpoint-10"]
    assert "checkpoint-11: no whole checkpoint" in caplog.text and "checkpoint-best" in caplog.text


@pytest.mark.parametrize(
    "files, processes, deepspeed, found",
    [
        (["rng_state.pth"], 1, False, "a model alone"),
        (["optimizer.pt", "rng_state.pth"], 1, True, "without DeepSpeed"),
        (["latest", "rng_state_0.pth", "rng_state_1.pth"], 2, False, "under DeepSpeed"),
        (["latest", "rng_state_0.pth", "rng_state_1.pth"], 1, True, "of 2 processes"),
        (["optimizer.pt", "rng_state.pth"], 2, False, "of 1 processes"),
    ],
)
def test_a_run_does_not_go_on_from_one_of_another_kind(tmp_path, files, processes, deepspeed, found):
    folder = checkpoint(tmp_path / "checkpoint-4", *files)
    with pytest.raises(ValueError, match=f"checkpoint-4: expected the checkpoint of .*{found}"):
        check_resumable(folder, processes, processes - 1, deepspeed)


@pytest.mark.parametrize(
    "trained, more",
    [("full", []), ("LoRA", ["adapter_config.json"]), ("projector", ["mm_projector.bin"])],
)
def test_a_run_does_not_go_on_from_one_that_trained_other_weights(tmp_path, trained, more):
    folder = checkpoint(tmp_path / "checkpoint-4", "optimizer.pt", "rng_state.pth", *more)
    check_resumable(folder, 1, 0, False, trained)
    for other in {"full", "LoRA", "projector"} - {trained}:
        with pytest.raises(ValueError, match=f"checkpoint-4: expected .* a {other} run, got that of a {trained} run"):
            check_resumable(folder, 1, 0, False, other)


def test_rotation_keeps_the_last_ones_and_leaves_nothing_else(sources, tmp_path):
    from llava_v2xum.train.loop import train

    checkpoint(tmp_path / ".unfinished" / "checkpoint-7")  # of a run that was killed
    train([*training_runs.paths(sources, tmp_path), *COMMON, "--save_total_limit", "2"])
    assert sorted(path.name for path in tmp_path.glob("*check*")) == ["checkpoint-2", "checkpoint-3"]
    assert not (tmp_path / ".unfinished").exists()


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on file sizes here")
@pytest.mark.parametrize("bytes_left", [100, 20_000, 150_000])
def test_a_write_that_fails_names_the_checkpoint_and_leaves_the_one_before(sources, tmp_path, monkeypatch, bytes_left):
    """The kernel ends writes at a size, as a full disk would: in the config, the weights or the optimizer's states."""
    import llava_v2xum.train.trainer as ours
    from llava_v2xum.train.loop import train

    seen = {}
    write = ours._WholeCheckpoints._save_checkpoint

    def on_a_full_disk(trainer, *args, **kwargs):
        if trainer.state.global_step < 2:
            return write(trainer, *args, **kwargs)
        seen.update(content(tmp_path / "checkpoint-1"))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
        try:
            return write(trainer, *args, **kwargs)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)

    monkeypatch.setattr(ours._WholeCheckpoints, "_save_checkpoint", on_a_full_disk)
    with pytest.raises(OSError, match=r"checkpoint-2: could not be written .* free .* are whole: checkpoint-1$"):
        train([*training_runs.paths(sources, tmp_path), *COMMON])
    assert seen and content(tmp_path / "checkpoint-1") == seen
    assert [path.name for path in tmp_path.glob("*check*")] == ["checkpoint-1"]
    assert not (tmp_path / ".unfinished").exists()

    monkeypatch.undo()
    train([*training_runs.paths(sources, tmp_path), *COMMON])  # with room again, it goes on
    steps = [entry["step"] for entry in json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]]
    assert steps == [1, 2, 3, 3]


def test_a_last_save_that_fails_is_told_and_made_up_for(sources, tmp_path, monkeypatch):
    import errno

    import llava_v2xum.train.trainer as ours
    from llava_v2xum import load_pretrained
    from llava_v2xum.train.loop import train

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ours._WholeCheckpoints, "publish", full)
    with pytest.raises(OSError, match="the trained model: could not be written .*No space left.* checkpoint-3") as told:
        train([*training_runs.paths(sources, tmp_path), *COMMON])
    assert told.value.errno == errno.ENOSPC and not (tmp_path / ".unfinished").exists()
    monkeypatch.undo()
    train([*training_runs.paths(sources, tmp_path), *COMMON])
    load_pretrained(tmp_path, device="cpu")


@pytest.mark.parametrize("when", ["written", "half moved"])
def test_a_finished_model_is_whole_or_refused(sources, tmp_path, monkeypatch, when):
    """Killed between the end of training and the end of its last save: no folder that loads with old weights."""
    import llava_v2xum.train.trainer as ours
    from llava_v2xum import load_pretrained
    from llava_v2xum.train.loop import train

    class Killed(BaseException):
        pass

    train([*training_runs.paths(sources, tmp_path), *COMMON, "--save_strategy", "no"])
    load_pretrained(tmp_path, device="cpu")
    if when == "written":
        monkeypatch.setattr(ours._WholeCheckpoints, "publish", lambda trainer: (_ for _ in ()).throw(Killed()))
    else:
        move = ours.os.replace

        def die_at_the_config(source, target) -> None:
            if Path(target).name == "config.json":
                raise Killed
            move(source, target)

        monkeypatch.setattr(ours.os, "replace", die_at_the_config)
    with pytest.raises(Killed):  # with another seed: the same command would say that its run is finished
        train([*training_runs.paths(sources, tmp_path), *COMMON, "--save_strategy", "no", "--seed", "6"])
    monkeypatch.undo()
    if when == "written":
        load_pretrained(tmp_path, device="cpu")  # the model before, whole
    else:
        with pytest.raises(FileNotFoundError, match="expected a checkpoint"):
            load_pretrained(tmp_path, device="cpu")


def test_groups_without_parameters_are_left_out(sources, tmp_path):
    """LLaVA makes them, and ZeRO cannot partition them; the projector has its own learning rate."""
    from llava_v2xum.train.loop import train

    given = [*training_runs.paths(sources, tmp_path), *COMMON, "--max_steps", "1", "--save_strategy", "no"]
    lora = ["--lora_enable", "True", "--lora_r", "4"]
    frozen = train([*given, *lora, "--freeze_mm_mlp_adapter", "True"]).optimizer
    assert [len(group["params"]) for group in frozen.param_groups] == [28]
    both = train([*given, *lora, "--mm_projector_lr", "3e-5"]).optimizer
    assert [len(group["params"]) for group in both.param_groups] == [28, 2, 2]
    assert [group["initial_lr"] for group in both.param_groups] == [1e-2, 3e-5, 3e-5]
