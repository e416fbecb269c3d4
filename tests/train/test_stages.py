"""LLaVA's two stages, from the same command line through this plugin and through LLaVA: the same weights come out."""

from __future__ import annotations

import json

import image_mix
import pytest
import tiny
import torch

pytestmark = pytest.mark.pinned

STAGES = {
    "projector": ["--version", "plain", "--tune_mm_mlp_adapter", "True", "--learning_rate", "1e-2"],
    "all": ["--version", "v1", "--image_aspect_ratio", "pad", "--learning_rate", "1e-3"],
}


def saved(folder, stage: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    if stage == "projector":
        return torch.load(folder / "mm_projector.bin", weights_only=True)
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_through_this_plugin_is_a_stage_through_llava(tmp_path, stage, monkeypatch):
    from llava_v2xum.features.upstream import CLIPVisionTower, llava_trainer, set_seed
    from llava_v2xum.train.launch import guarded

    made = image_mix.captions() if stage == "projector" else image_mix.entries()
    arguments = [
        "--model_name_or_path", str(tiny.write_base(tmp_path / "base")),
        "--vision_tower", str(tiny.write_tower(tmp_path / "tower")),
        "--data_path", image_mix.write(tmp_path / "data.json", made),
        "--image_folder", str(image_mix.write_images(tmp_path / "images")),
        "--mm_projector_type", "mlp2x_gelu", "--mm_vision_select_layer", "-2", "--mm_use_im_patch_token", "False",
        "--model_max_length", "2048", "--max_steps", "4", "--per_device_train_batch_size", "2", "--report_to", "none",
        "--use_cpu", "True", "--save_strategy", "no", "--logging_steps", "1", "--seed", "5", *STAGES[stage],
    ]  # fmt: skip
    # of one seed the two draw the order of the data differently, as ours must be the same when a run is taken up
    in_order = lambda trainer, *_: torch.utils.data.SequentialSampler(trainer.train_dataset)  # noqa: E731
    monkeypatch.setattr(llava_trainer.LLaVATrainer, "_get_train_sampler", in_order)
    # without bf16 LLaVA takes a tower in half precision, in which not every CPU convolves
    monkeypatch.setattr(CLIPVisionTower, "to", lambda tower, dtype=None, device=None: torch.nn.Module.to(tower, device))
    set_seed(5)  # LLaVA seeds only behind a new projector's weights
    image_mix.llavas_run([*arguments, "--output_dir", str(tmp_path / "stock")], monkeypatch)
    assert guarded([*arguments, "--output_dir", str(tmp_path / "ours")]) == 0
    theirs, ours = saved(tmp_path / "stock", stage), saved(tmp_path / "ours", stage)
    assert ours.keys() == theirs.keys() and len(ours) >= 4
    for name, weight in theirs.items():
        assert (ours[name] - weight).abs().max() <= 1e-4 * weight.abs().max(), name
    logs = [json.loads((tmp_path / run / "trainer_state.json").read_text())["log_history"] for run in ("stock", "ours")]
    losses = [[step["loss"] for step in log if "loss" in step] for log in logs]
    assert losses[0] == pytest.approx(losses[1], abs=2e-4) and len(losses[0]) == 4 and losses[0][-1] < losses[0][0]
