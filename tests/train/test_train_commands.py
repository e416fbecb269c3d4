"""The command files: valid for bash and Python, readable defaults, a flag given wins, slips answered at once."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import training_runs

from llava_v2xum.train import launch
from llava_v2xum.train.options import NEEDED

pytestmark = pytest.mark.pinned

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
COMMANDS = ["finetune_v2xum.sh", "finetune_v2xum_lora.sh"]


@pytest.fixture
def files(tmp_path) -> list[str]:
    """Arguments that name what is there."""
    (tmp_path / "data.json").write_text("[]")
    (tmp_path / "features").mkdir()
    given = {
        "model_name_or_path": "base", "data_path": tmp_path / "data.json", "feature_folder": tmp_path / "features",
        "output_dir": tmp_path / "out",
    }  # fmt: skip
    return launch.as_arguments(given)


def bash(command: str, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess:
    environment = training_runs.environment()
    environment.pop("LOCAL_RANK", None)
    if path is not None:
        environment["PATH"] = path
    return subprocess.run(
        ["/bin/bash", str(SCRIPTS / command), *arguments], env=environment, text=True, capture_output=True, timeout=120
    )


def test_a_base_that_is_not_there_and_data_without_entries_are_told_in_one_line(files, tmp_path, capsys):
    nowhere = [*files, "--model_name_or_path", str(tmp_path / "nowhere"), "--use_cpu", "True"]
    assert launch.guarded(nowhere) == 2
    assert f"--model_name_or_path: {tmp_path / 'nowhere'}: expected a decoder's" in capsys.readouterr().err
    base, tower = tiny.write_base(tmp_path / "base"), tiny.write_tower(tmp_path / "tower")
    empty = [*files, "--model_name_or_path", str(base), "--vision_tower", str(tower), "--use_cpu", "True"]
    assert launch.guarded([*empty, "--report_to", "none"]) == 2
    assert "data.json: expected a non-empty JSON list of entries" in capsys.readouterr().err


def test_an_unknown_flag_is_named_before_anything_is_loaded(files, capsys):
    assert launch.guarded([*files, "--num_gpus", "2"]) == 2
    assert "--num_gpus 2: no such flag of training" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more, told",
    [
        (["--learning_rate", "fast"], "invalid float value: 'fast'"),
        (["--lora", "True"], "ambiguous option: --lora"),
        (["--resume_from_checkpoint", "elsewhere"], "--resume_from_checkpoint: no flag of this training"),
        (["--overwrite_output_dir", "True"], "--overwrite_output_dir"),
    ],
)
def test_a_flag_that_cannot_be_followed_is_told_in_one_line(files, more, told, capsys):
    assert launch.guarded([*files, *more]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and told in printed and len(printed.splitlines()) == 1


def test_a_tower_that_is_named_in_any_spelling_is_the_one(files):
    import inspect

    import transformers

    from llava_v2xum.train import loop as ours

    has_dashes = 'replace("_", "-")' in inspect.getsource(transformers.HfArgumentParser)
    for flag in ("--vision_tower", "--vision_tow", *(["--vision-tower"] if has_dashes else [])):
        for given in ([flag, "mine"], [f"{flag}=mine"]):
            assert ours._read([*files, *given])[0].vision_tower == "mine"
    assert ours._read(files)[0].vision_tower == "openai/clip-vit-large-patch14-336"


@pytest.mark.parametrize(
    "capability, chosen",
    [(None, {"use_cpu": True, "bf16": True}), ((9, 0), {"bf16": True, "tf32": True}), ((7, 0), {"fp16": True})],
)
def test_a_precision_that_is_given_is_the_only_one(monkeypatch, capability, chosen):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    assert launch.precision(["--seed", "3"]) == chosen
    left = {name: value for name, value in chosen.items() if name not in ("bf16", "fp16")}
    for given in (["--fp16", "True"], ["--bf16=True"], ["--bf16", "False"]):
        assert launch.precision(given) == left


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_and_starts_nothing(command):
    done = bash(command, "--help")
    assert done.returncode == 0 and done.stderr == ""
    for word in ("--model_name_or_path", "--feature_folder", "--video_folder", "--num_train_epochs 5", "zero2.json",
                 "--learning_rate 0.0001", "--hostfile", "--pretrain_mm_mlp_adapter", "--help-all"):  # fmt: skip
        assert word in done.stdout


def flags_told(capsys) -> set[str]:
    assert launch.guarded(["--help"]) == 0
    return set(re.findall(r"^  --(\w+)", capsys.readouterr().out, re.MULTILINE))


def test_help_tells_the_flags_of_the_guide_and_of_the_commands(capsys):
    import runpy

    named = {name for names in NEEDED for name in names}
    for command in COMMANDS:
        named |= runpy.run_path(str(SCRIPTS / command), run_name="imported")["DEFAULTS"].keys()
    for guide in (*SCRIPTS.rglob("*.md"), SCRIPTS.parent / "README.md"):
        named |= set(re.findall(r"--(\w+_\w+)", guide.read_text(encoding="utf-8")))
    launchers, refused = {"num_gpus", "nproc_per_node"}, {"eval_strategy", "load_best_model_at_end"}
    assert named - flags_told(capsys) == launchers | refused


def test_help_tells_no_flag_that_training_does_not_have(capsys):
    from llava_v2xum.model.compat import mended_arguments
    from llava_v2xum.train.arguments import DataArguments, ModelArguments, TrainingArguments

    classes = (ModelArguments, DataArguments, TrainingArguments)
    known = {name for one in classes for name in one.__dataclass_fields__}
    told = mended_arguments([f"--{name}" for name in flags_told(capsys)], known)
    assert len(told) > 40 and {flag[2:] for flag in told} <= known


def test_help_all_lists_every_flag(capsys):
    with pytest.raises(SystemExit) as ended:
        launch.guarded(["--help-all"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for flag in ("--lora_r", "--mm_projector_lr", "--attn_implementation", "--frame_tokens", "--save_total_limit"):
        assert flag in printed


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["model_name_or_path", "data_path", "feature_folder", "output_dir"])
def test_a_missing_flag_is_named_in_one_line(command, files, flag):
    place = files.index(f"--{flag}")
    done = bash(command, *files[:place], *files[place + 2 :])
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --{flag} is needed") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "more, told",
    [
        (["--data_path", "no.json"], "--data_path: no such file: no.json"),
        (["--data-path=no.json"], "--data_path: no such file: no.json"),
        (["--feature_folder", "nowhere"], "--feature_folder: no such folder: nowhere"),
        (["--pretrain_mm_mlp_adapter", "no.bin"], "--pretrain_mm_mlp_adapter: no such file: no.bin"),
        (["--deepspeed", "no.json"], "--deepspeed: no such file: no.json"),
        (
            ["--mm_use_im_start_end", "True"],
            "--mm_use_im_start_end True: a video stands without tokens around it; leave the flag out, or give False",
        ),
        (
            ["--mm_patch_merge_type", "spatial_unpad"],
            "--mm_patch_merge_type spatial_unpad: frames are LLaVA-1.5's, in one piece; leave the flag out, or give "
            "flat",
        ),
        (
            ["--image_aspect_ratio", "anyres"],
            "--image_aspect_ratio anyres: frames and images are LLaVA-1.5's, give pad or square",
        ),
        (["--image_folder", "nowhere"], "--image_folder: no such folder: nowhere"),
        (["--video_folder", "."], "--feature_folder and --video_folder: give one of them, both came"),
    ],
)
def test_what_is_not_there_is_named_before_anything_is_loaded(files, more, told, capsys):
    assert launch.guarded([*files, *more]) == 2
    assert capsys.readouterr().err == f"error: {told}\n"


@pytest.mark.parametrize(
    "more, told",
    [
        (["--report_to", "wandb"], "--report_to wandb needs the package wandb: pip install wandb"),
        (["--report_to", "none", "tensorboard"], "--report_to tensorboard needs the package tensorboard: pip install"),
        (["--deepspeed", str(SCRIPTS / "zero2.json")], "--deepspeed needs DeepSpeed: pip install deepspeed"),
    ],
)
def test_a_package_that_a_flag_needs_is_named(files, more, told, monkeypatch, capsys):
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None)
    assert launch.guarded([*files, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {told}")


@pytest.mark.parametrize(
    "more, told",
    [
        (["--tf32", "True"], "--tf32 True needs a GPU of NVIDIA's Ampere or a newer kind"),
        (["--deepspeed", str(SCRIPTS / "zero2.json")], "--deepspeed needs a launcher, also for one process: deepspeed"),
    ],
)
def test_what_the_machine_or_the_start_lacks_is_told(files, more, told, monkeypatch, capsys):
    import torch

    from llava_v2xum.train import flags

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(flags, "is_installed", lambda package: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert launch.guarded([*files, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {told}")


def test_without_deepspeed_the_way_to_get_it_is_told(files, monkeypatch, capsys):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None)
    assert launch.launch("finetune.sh", "", {}, files) == 2
    assert capsys.readouterr().err == "error: DeepSpeed is needed: pip install deepspeed\n"
    assert launch.launch("finetune.sh", "", {"bits": 4, "lora_enable": True}, files) == 2
    assert "pip install bitsandbytes" in capsys.readouterr().err


def test_quantized_weights_need_lora(files, monkeypatch):
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: True)
    with pytest.raises(launch.UsageError, match="--bits 4 .* needs --lora_enable True"):
        launch.check_arguments([*files, "--bits", "4"])
    launch.check_arguments([*files, "--bits=4", "--lora_enable"])
    launch.check_arguments([*files, "--bits", "16"])


def test_bash_hands_over_to_deepspeed_with_the_same_arguments(files, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: True)
    started = []
    monkeypatch.setattr(launch.os, "execv", lambda program, command: started.append(command))
    launch.launch("finetune.sh", "", {"num_train_epochs": 5}, [*files, "--seed=3"])
    assert started == [[sys.executable, "-m", "deepspeed.launcher.runner", "finetune.sh", *files, "--seed=3"]]


@pytest.mark.parametrize("command", COMMANDS)
def test_defaults_are_the_papers_and_a_flag_given_wins(command, files, monkeypatch):
    """The values that the run would see, read by its own parser."""
    import runpy

    import transformers

    from llava_v2xum.train import loop as ours

    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip("needs deepspeed")
    monkeypatch.setenv("LOCAL_RANK", "0")
    script = runpy.run_path(str(SCRIPTS / command), run_name="imported")  # Python reads it as a module
    seen = []
    monkeypatch.setattr(ours, "train", seen.append)
    given = [*files, "--learning_rate=2e-5", "--gradient_accumulation_steps", "4"]
    assert launch.launch(command, script["TITLE"], script["DEFAULTS"], given) == 0
    asked, _ = ours._read(seen[0])
    assert (asked.learning_rate, asked.gradient_accumulation_steps) == (2e-5, 4)
    assert (asked.num_train_epochs, asked.lr_scheduler_type, asked.weight_decay) == (5, "cosine", 0)
    assert (asked.model_max_length, asked.per_device_train_batch_size, asked.bf16) == (2048, 8, True)
    ratio = asked.warmup_ratio if hasattr(asked, "warmup_ratio") else asked.warmup_steps
    assert ratio == 0.03 and asked.lora_enable is ("lora" in command)
    assert Path(asked.deepspeed) == SCRIPTS / "zero2.json"
    assert not asked.freeze_mm_mlp_adapter  # no pretrained projector was named
    assert isinstance(transformers.IntervalStrategy(asked.save_strategy), transformers.IntervalStrategy)


def test_the_released_frozen_projector_needs_one(files, tmp_path, monkeypatch):
    from llava_v2xum.train import loop as ours

    monkeypatch.setenv("LOCAL_RANK", "0")
    (tmp_path / "mm_projector.bin").touch()
    seen = []
    monkeypatch.setattr(ours, "train", seen.append)
    given = [*files, "--pretrain_mm_mlp_adapter", str(tmp_path / "mm_projector.bin")]
    launch.launch("finetune.sh", "", {"freeze_mm_mlp_adapter": True}, given)
    assert "--freeze_mm_mlp_adapter" in seen[0]
    launch.launch("finetune.sh", "", {"freeze_mm_mlp_adapter": True}, files)
    assert "--freeze_mm_mlp_adapter" not in seen[1]


def test_flags_of_llavas_scripts_that_were_renamed_keep_working():
    from llava_v2xum.model.compat import mended_arguments

    given = ["--warmup_ratio", "0.03", "--evaluation_strategy=no", "--output-dir", "--warmup-ratio=0.1", "warmup_ratio"]
    assert mended_arguments(given, {"warmup_ratio", "evaluation_strategy"}) == given
    renamed = ["--warmup_steps", "0.03", "--eval_strategy=no", "--output-dir", "--warmup_steps=0.1", "warmup_ratio"]
    assert mended_arguments(given, {"warmup_steps", "eval_strategy"}) == renamed
    given = ["--gradient_checkpointing", "True"]
    assert mended_arguments(given, {"gradient_checkpointing"}) == given
    both = {"gradient_checkpointing", "activation_checkpointing"}  # the old name is taken, with a warning
    assert mended_arguments(given, both) == ["--activation_checkpointing", "True"]


@pytest.mark.skipif(not os.access("/bin/bash", os.X_OK), reason="no bash here")
@pytest.mark.parametrize("command", COMMANDS)
def test_the_files_can_be_run(command):
    assert os.access(SCRIPTS / command, os.X_OK)
    first, second = (SCRIPTS / command).read_text().splitlines()[:2]
    assert first == "#!/usr/bin/env bash" and second.startswith('"exec" ')
