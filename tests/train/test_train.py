"""A short run of LLaVA's own train() with the video type, on tiny weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import tiny_layouts
import torch
import training_runs
import weights

pytestmark = pytest.mark.pinned

FRAMES = 10
ANSWERS = {"v_1": "A woman brushes her hair [02, 03].", "v_2": "A man runs [07, 08, 09].", "v_3": "[00, 01]."}


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    return training_runs.write_sources(tmp_path_factory.mktemp("sources"), ANSWERS)


def arguments(sources: Path, output_dir: Path, *more: str) -> list[str]:
    return [
        "--model_name_or_path", str(sources / "base"), "--vision_tower", str(sources / "tower"),
        "--data_path", str(sources / "instruct.json"), "--feature_folder", str(sources / "features"),
        "--output_dir", str(output_dir), "--num_frames", str(FRAMES), "--per_device_train_batch_size", "3",
        "--learning_rate", "2e-2", "--logging_steps", "1", "--save_strategy", "no", "--report_to", "none",
        "--seed", "3", "--bf16", "True", "--tf32", "False", "--use_cpu", "True", *more,
    ]  # fmt: skip


def losses(output_dir: Path) -> list[float]:
    history = json.loads((output_dir / "trainer_state.json").read_text())["log_history"]
    return [step["loss"] for step in history if "loss" in step]


def saved_weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


def test_a_full_run_learns_and_leaves_the_tower_alone(sources, tmp_path):
    from transformers import AutoConfig

    from llava_v2xum.train import loop as ours

    stock, default = dict(vars(ours.llava_train)), ours.llava_train.conversation_lib.default_conversation
    ours.train(arguments(sources, tmp_path, "--max_steps", "16"))
    replaced = {name for name, value in vars(ours.llava_train).items() if stock.get(name) is not value}
    assert replaced <= {"local_rank", "__warningregistry__"}  # LLaVA's names are LLaVA's again
    assert ours.llava_train.conversation_lib.default_conversation is default

    trace = losses(tmp_path)
    assert len(trace) == 16 and trace[-1] < 0.6 * trace[0]

    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.model_type, config.num_frames, config.frame_feature) == ("llava_v2xum", FRAMES, "patch_mean")
    assert len(config.temporal_prompt_ids) == FRAMES and config.mm_projector_type == "mlp2x_gelu"
    assert (tmp_path / "tokenizer.model").read_bytes() == tiny.sentencepiece_model()

    base, tower, after = saved_weights(sources / "base"), saved_weights(sources / "tower"), saved_weights(tmp_path)
    decoder = {name for name in after if "vision_tower" not in name and "mm_projector" not in name}
    assert decoder == set(base)
    same = {name for name in decoder if torch.equal(after[name], base[name].to(after[name].dtype))}
    assert not same, "every decoder parameter is trained"
    projector = {f"model.mm_projector.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}
    assert projector == {name for name in after if "mm_projector" in name}
    for name, value in after.items():
        if "vision_tower" in name:
            key = next(key for key in tower if name.endswith(key.removeprefix("vision_model.")))
            assert torch.equal(value, tower[key].to(value.dtype)), name


def test_a_relative_tower_is_saved_so_that_it_is_found_from_elsewhere(sources, tmp_path, monkeypatch):
    import os

    from llava_v2xum.model.checkpoint import load_pretrained
    from llava_v2xum.train import loop as ours

    monkeypatch.chdir(sources)
    given = arguments(sources, tmp_path / "out", "--max_steps", "1", "--vision_tower", "tower")
    ours.train([word if word != str(sources / "base") else os.path.join(".", "base") for word in given])
    assert json.loads((tmp_path / "out" / "config.json").read_text())["mm_vision_tower"] == str(sources / "tower")
    monkeypatch.chdir(tmp_path)
    assert load_pretrained(tmp_path / "out", device="cpu")[1].get_vision_tower().is_loaded


def test_a_run_may_build_a_second_model(sources, tmp_path):
    """As forks do for a teacher: each gets its own tower and projector, in whichever order."""
    from llava_v2xum.train import loop as ours

    asked, _ = ours._read(arguments(sources, tmp_path))
    with ours.video_type(asked) as maker:
        student, teacher = (maker.from_pretrained(str(sources / "base")) for _ in range(2))
        student.get_model().initialize_vision_modules(model_args=asked)
        assert maker.model is student and teacher.get_vision_tower() is None
        teacher.get_model().initialize_vision_modules(model_args=asked)
    stored = saved_weights(sources / "tower")
    for model in (student, teacher):
        assert model.get_model().mm_projector is not None
        for name, weight in model.get_vision_tower().vision_tower.state_dict().items():
            key = next((key for key in stored if key.endswith(name.removeprefix("vision_model."))), None)
            assert key is None or torch.equal(weight, stored[key]), name


def test_a_base_of_llava_16_is_refused_before_it_is_loaded(sources, tmp_path):
    import shutil

    from llava_v2xum.train import loop as ours

    base = shutil.copytree(sources / "base", tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "mm_patch_merge_type": "spatial_unpad"}))
    with pytest.raises(ValueError, match=r"LLaVA-1\.5.* got 'spatial_unpad'"):
        ours.train(arguments(sources, tmp_path / "out", "--model_name_or_path", str(base)))


def test_the_projector_alone(sources, tmp_path):
    """LLaVA's stage 1: `--tune_mm_mlp_adapter` trains and saves the projector and nothing else."""
    from llava_v2xum.train import loop as ours

    ours.train(arguments(sources, tmp_path, "--max_steps", "2", "--tune_mm_mlp_adapter", "True"))
    saved = torch.load(tmp_path / "mm_projector.bin", map_location="cpu", weights_only=True)
    assert len(saved) == 4 and all("mm_projector" in name for name in saved)


def test_lora(sources, tmp_path):
    from llava_v2xum.train import loop as ours

    more = ["--max_steps", "6", "--lora_enable", "True", "--lora_r", "4", "--lora_alpha", "8"]
    ours.train(arguments(sources, tmp_path, *more, f"--output_dir={tmp_path}"))
    trace = losses(tmp_path)
    assert trace[-1] < trace[0]
    others = torch.load(tmp_path / "non_lora_trainables.bin", map_location="cpu", weights_only=True)
    assert {name.split("mm_projector.")[1] for name in others} == {"0.weight", "0.bias", "2.weight", "2.bias"}
    adapter = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"]) == (4, 8)
    assert not any(module.startswith(("mm_", "vision", "0", "2")) for module in adapter["target_modules"])
    assert (tmp_path / "tokenizer.model").is_file()


@pytest.mark.parametrize("missing", ["--data_path", "--feature_folder"])
def test_missing_paths_are_named(sources, tmp_path, missing):
    from llava_v2xum.train import loop as ours

    given = arguments(sources, tmp_path)
    position = given.index(missing)
    with pytest.raises(ValueError, match=f"{missing} is needed"):
        ours.train(given[:position] + given[position + 2 :])


def test_a_run_that_goes_on_from_a_checkpoint_equals_an_uninterrupted_one(sources, tmp_path):
    import shutil

    from llava_v2xum.train.loop import train

    steps = ["--max_steps", "4", "--per_device_train_batch_size", "1"]
    train(arguments(sources, tmp_path / "whole", *steps))
    saving = [*steps, "--save_strategy", "steps", "--save_steps", "2"]
    train(arguments(sources, tmp_path / "resumed", *saving))
    shutil.rmtree(tmp_path / "resumed" / "checkpoint-4")  # as if it had been killed in its third step
    for file in (tmp_path / "resumed").glob("*.safetensors"):
        file.unlink()
    train(arguments(sources, tmp_path / "resumed", *saving))
    assert losses(tmp_path / "resumed") == losses(tmp_path / "whole")
    whole, resumed = saved_weights(tmp_path / "whole"), saved_weights(tmp_path / "resumed")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_projector_alone_is_saved_on_the_way(sources, tmp_path):
    from llava_v2xum.train.loop import train

    saving = ["--max_steps", "2", "--save_strategy", "steps", "--save_steps", "1", "--tune_mm_mlp_adapter", "True"]
    train(arguments(sources, tmp_path, *saving))
    for folder in (tmp_path, tmp_path / "checkpoint-1"):
        saved = torch.load(folder / "mm_projector.bin", weights_only=True)
        assert saved and all("mm_projector" in name for name in saved)


def test_a_pretrained_projector_is_the_one_that_is_trained(sources, tmp_path, caplog):
    from llava_v2xum.train.loop import train

    shapes = {"0.weight": (32, 24), "0.bias": (32,), "2.weight": (32, 32), "2.bias": (32,)}
    given = {f"model.mm_projector.{name}": weights.numbers(*shape, name=name) for name, shape in shapes.items()}
    torch.save(given, tmp_path / "mm_projector.bin")
    more = ["--pretrain_mm_mlp_adapter", str(tmp_path / "mm_projector.bin"), "--bf16", "False", "--max_steps", "1"]
    train(arguments(sources, tmp_path / "out", *more, "--freeze_mm_mlp_adapter", "True"))
    saved = saved_weights(tmp_path / "out")
    assert all(torch.equal(saved[name], value) for name, value in given.items())
    assert "random weights" not in caplog.text
    train(arguments(sources, tmp_path / "without", "--max_steps", "1"))
    assert "no --pretrain_mm_mlp_adapter, and the base has no projector" in caplog.text


@pytest.mark.parametrize(
    "content, got", [({"model.mm_projector.weight": (32, 24)}, "weight"), ({"lm_head.weight": (2, 2)}, "a file")]
)
def test_a_projector_of_another_kind_is_refused(sources, tmp_path, content, got):
    from llava_v2xum.train.flags import UsageError
    from llava_v2xum.train.loop import train

    torch.save({name: torch.zeros(shape) for name, shape in content.items()}, tmp_path / "mm_projector.bin")
    more = ["--pretrain_mm_mlp_adapter", str(tmp_path / "mm_projector.bin"), "--max_steps", "1"]
    with pytest.raises(UsageError, match=rf"mm_projector.bin: expected a projector of shapes .*, got .*{got}"):
        train(arguments(sources, tmp_path / "out", *more))


def test_a_checkpoint_goes_on_as_it_was_made(sources, tmp_path):
    """Its projector's type, the tower's layer and how frames are padded are no flags' defaults."""
    from llava_v2xum import load_pretrained
    from llava_v2xum.train.flags import UsageError
    from llava_v2xum.train.loop import train

    made = {"mm_projector_type": "linear", "mm_vision_select_layer": -1, "image_aspect_ratio": "square"}
    flags = [word for name, value in made.items() for word in (f"--{name}", str(value))]
    train(arguments(sources, tmp_path / "first", "--max_steps", "1", *flags))
    on = ["--model_name_or_path", str(tmp_path / "first"), "--max_steps", "1"]
    train(arguments(sources, tmp_path / "second", *on))
    config = json.loads((tmp_path / "second" / "config.json").read_text())
    assert {name: config[name] for name in made} == made
    load_pretrained(tmp_path / "second", device="cpu")
    trainer = train(arguments(sources, tmp_path / "third", *on, "--mm_vision_select_layer", "-2"))
    assert trainer.model.get_vision_tower().select_layer == trainer.model.config.mm_vision_select_layer == -2
    with pytest.raises(UsageError, match="--mm_projector_type: .* expected its type linear, got mlp2x_gelu"):
        train(arguments(sources, tmp_path / "fourth", *on, "--mm_projector_type", "mlp2x_gelu"))


@pytest.mark.filterwarnings("ignore")
def test_quantized_lora(sources, tmp_path):
    """QLoRA, LLaVA's `--bits 4`, where bitsandbytes runs."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    from llava_v2xum import load_pretrained
    from llava_v2xum.train.loop import train

    more = ["--bits", "4", "--lora_enable", "True", "--lora_r", "4", "--max_steps", "6"]
    trainer = train(arguments(sources, tmp_path, *more))
    kinds = {type(module).__name__ for module in trainer.model.modules()}
    assert "Linear4bit" in kinds
    trace = losses(tmp_path)
    assert trace[-1] < trace[0]
    load_pretrained(tmp_path, sources / "base", device="cpu")

    tiny_layouts.write_full(sources / "llava", "llava_llama", sources / "tower")  # of a base that has a projector
    more = [*more, "--model_name_or_path", str(sources / "llava")]
    trainer = train(arguments(sources, tmp_path / "again", *more))
    projector = [value for name, value in trainer.model.named_parameters() if "mm_projector" in name]
    assert len(projector) == 4 and all(value.is_floating_point() and value.requires_grad for value in projector)
    assert "Linear4bit" in {type(module).__name__ for module in trainer.model.modules()}
    load_pretrained(tmp_path / "again", sources / "llava", device="cpu")
