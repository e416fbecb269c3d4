"""The command lines of LLaVA's training scripts, on tiny weights: each flag works, or one line says why not.

Of `scripts/v1_5` pretrain, finetune, finetune_lora, finetune_task and finetune_task_lora, and of the older
`scripts/finetune_qlora.sh`; every path names a tiny one.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import image_mix
import pytest
import tiny
import tiny_layouts
import torch

pytestmark = pytest.mark.pinned

ROOT = Path(__file__).resolve().parents[2]
ALL = """--mm_vision_select_layer -2 --mm_use_im_start_end False --mm_use_im_patch_token False --bf16 True
    --num_train_epochs 1 --per_device_eval_batch_size 4 --gradient_accumulation_steps 1 --evaluation_strategy no
    --save_strategy steps --save_total_limit 1 --weight_decay 0. --warmup_ratio 0.03 --lr_scheduler_type cosine
    --logging_steps 1 --tf32 True --model_max_length 2048 --gradient_checkpointing True --dataloader_num_workers 4
    --lazy_preprocess True --report_to wandb --image_folder {images} --vision_tower {tower}"""
ZERO2, ZERO3 = "--deepspeed ./scripts/zero2.json", "--deepspeed ./scripts/zero3.json"
TUNE = """--version v1 --data_path {mix} --per_device_train_batch_size 16 --save_steps 50000"""
V1_5 = "--mm_projector_type mlp2x_gelu --image_aspect_ratio pad --group_by_modality_length True"
LORA = "--lora_enable True --lora_r 128 --lora_alpha 256 --mm_projector_lr 2e-5 --learning_rate 2e-4"
TASK = "--model_name_or_path {llava}"
BASE = "--model_name_or_path {base} --pretrain_mm_mlp_adapter {out}/pretrain/mm_projector.bin"
SCRIPTS = {
    "pretrain": f"""{ZERO2} --model_name_or_path {{base}} --version plain --data_path {{captions}}
        --mm_projector_type mlp2x_gelu --tune_mm_mlp_adapter True --per_device_train_batch_size 32 --save_steps 24000
        --learning_rate 1e-3""",
    "finetune": f"{ZERO3} {BASE} {TUNE} {V1_5} --learning_rate 2e-5",
    "finetune_lora": f"{ZERO3} {BASE} {TUNE} {V1_5} {LORA}",
    "finetune_task": f"{ZERO3} {TASK} {TUNE} {V1_5} --learning_rate 2e-5",
    "finetune_task_lora": f"{ZERO3} {TASK} {TUNE} {V1_5} {LORA}",
    "finetune_qlora": f"{ZERO2} --lora_enable True --bits 4 {BASE} {TUNE} --learning_rate 2e-5",
}
REFUSED = {  # flag with its value -> what is said where it cannot be followed, on a machine without a GPU
    "--deepspeed ./scripts/zero": ("deepspeed", "--deepspeed needs DeepSpeed: pip install deepspeed"),
    "--report_to wandb": ("wandb", "--report_to wandb needs the package wandb: pip install wandb"),
    "--bits 4": ("bitsandbytes", "--bits 4 needs bitsandbytes: pip install bitsandbytes"),
    "--tf32 True": (None, "--tf32 True needs a GPU of NVIDIA's Ampere or a newer kind; leave the flag out"),
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("llava")
    tower = tiny.write_tower(folder / "tower")
    tiny_layouts.write_full(folder / "llava", "llava_llama", tower)
    return {
        "base": str(tiny.write_base(folder / "base")), "llava": str(folder / "llava"), "tower": str(tower),
        "images": str(image_mix.write_images(folder / "images")), "out": str(folder),
        "mix": image_mix.write(folder / "mix.json", image_mix.entries()),
        "captions": image_mix.write(folder / "captions.json", image_mix.captions()),
    }  # fmt: skip


def command_line(script: str, paths: dict[str, str]) -> list[str]:
    words = f"{SCRIPTS[script]} {ALL} --output_dir {{out}}/{script}".format(**paths).split()
    return [str(ROOT / word) if word.startswith("./scripts/") else word for word in words]


def without(words: list[str], flag: str) -> list[str]:
    place = words.index(flag)
    return [*words[:place], *words[place + 2 :]]


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_this_machine_cannot_do_is_told_flag_by_flag(script, paths, monkeypatch, capsys):
    """As the script stands, and again without each flag that was told of; nothing else stands in its way."""
    from llava_v2xum.train import flags, launch, loop

    (Path(paths["out"]) / "pretrain").mkdir(exist_ok=True)
    (Path(paths["out"]) / "pretrain" / "mm_projector.bin").touch()
    lacking = {package for package, _ in REFUSED.values()}
    monkeypatch.setattr(flags, "is_installed", lambda package: package not in lacking)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def reached(seed: int) -> None:  # the first thing behind all checks
        raise flags.UsageError("nothing stands in its way")

    monkeypatch.setattr(loop, "set_seed", reached)
    words = command_line(script, paths)
    for flag, (_, said) in REFUSED.items():
        if flag not in " ".join(words).replace(f"{ROOT}/", "./"):
            assert flag == "--bits 4" and script != "finetune_qlora"
            continue
        assert launch.guarded(words) == 2
        assert capsys.readouterr().err == f"error: {said}\n"
        words = without(words, flag.split()[0])
    assert launch.guarded(words) == 2 and capsys.readouterr().err == "error: nothing stands in its way\n"


def test_all_of_them_run(paths):
    """In 4 bits where bitsandbytes is; the projector that the first makes is what the next ones start from.

    But for DeepSpeed, which wants processes of its own: tests/train/test_deepspeed.py and test_zero3_videos.py have it.
    """
    from llava_v2xum.train.loop import train

    for script in SCRIPTS:
        words = command_line(script, paths)
        for flag in ("--deepspeed", "--tf32", "--report_to"):  # a launcher, a GPU, a network
            words = without(words, flag)
        if script == "finetune_qlora" and importlib.util.find_spec("bitsandbytes") is None:
            words = without(words, "--bits")
        train([*words, "--report_to", "none", "--use_cpu", "True"])
        made = Path(paths["out"]) / script
        steps = json.loads((made / "trainer_state.json").read_text())["log_history"]
        assert torch.tensor([step["loss"] for step in steps if "loss" in step]).isfinite().all() and steps
        config = json.loads((made / "config.json").read_text())
        first = script == "pretrain"
        # what says nothing of it: the first stage crops, as LLaVA does; all else pads, as LLaVA-1.5 does
        assert config["image_aspect_ratio"] == ("square" if first else "pad")
        assert (config["mm_projector_type"], config["mm_vision_select_layer"]) == ("mlp2x_gelu", -2)
        assert (config["mm_use_im_start_end"], config["tokenizer_model_max_length"]) == (False, 2048)
        assert config["mm_projector_lr"] == (2e-5 if "_lora" in script else None)
        assert (made / "mm_projector.bin").is_file() == first
        assert bool([*made.glob("adapter_model.*")]) == ("lora" in script)
    adapter = json.loads((Path(paths["out"]) / "finetune_task_lora" / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"]) == (128, 256)
