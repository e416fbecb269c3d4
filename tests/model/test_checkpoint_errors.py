"""What is said of each thing that can be wrong with a checkpoint: the file, what was expected, what came."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import tiny_layouts as layouts
import torch
import weights

from llava_v2xum.model.checkpoint import load_pretrained

pytestmark = pytest.mark.pinned


class Evil:
    """A pickle that would write a file when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


@pytest.fixture(autouse=True)
def offline(monkeypatch) -> None:
    """No test asks the network."""
    import huggingface_hub

    def refuse(name, **kwargs):
        raise OSError("no network in tests")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)


@pytest.fixture
def tower() -> Path:
    return weights.sources()[1]


@pytest.fixture
def full(tmp_path, tower) -> Path:
    layouts.write_full(tmp_path / "c", "llava_v2xum", tower)
    return tmp_path / "c"


@pytest.fixture
def lora(tmp_path, tower) -> Path:
    base = layouts.write_base(tmp_path / "base")
    layouts.write_lora(tmp_path / "c", base, str(tmp_path / "base"), "llava_v2xum", tower)
    return tmp_path / "c"


@pytest.fixture
def released(tmp_path) -> Path:
    layouts.write_released(tmp_path / "released")
    return tmp_path / "released"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])


def drop(file: Path, *names: str) -> None:
    state = layouts.tower_state(file.parent)
    layouts.write_weights({name: tensor for name, tensor in state.items() if name not in names}, file)


# --- names and folders ---------------------------------------------------------------------------------------------


def test_neither_a_path_nor_reachable():
    with pytest.raises(FileNotFoundError, match="model_path: nobody/nothing is no folder here, and.*hub.*no network"):
        load_pretrained("nobody/nothing")
    with pytest.raises(FileNotFoundError, match="model_path: no such folder: /gone/model"):
        load_pretrained("/gone/model")


def test_a_file_is_no_folder(full):
    with pytest.raises(FileNotFoundError, match="expected a folder.*config.json is a file"):
        load_pretrained(full / "config.json")


def test_an_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a checkpoint.*found neither"):
        load_pretrained(tmp_path)


def test_a_config_alone(full):
    (full / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="expected model.safetensors.*found none"):
        load_pretrained(full)


def test_a_config_that_is_no_json(full):
    cut(full / "config.json")
    with pytest.raises(ValueError, match="config.json: expected JSON"):
        load_pretrained(full)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "llama"}, "expected model_type llava_v2xum.*got 'llama'.*model_base"),
        ({"model_type": "mistral"}, "expected model_type llava_v2xum.*got 'mistral'"),
        ({"model_type": "llava", "text_config": {}}, "expected a LLaVA-1.5, whose vision_config"),
        ({"mm_vision_tower": None}, "expected mm_vision_tower"),
        ({"num_frames": 101}, "num_frames must be 1 to 100"),
        ({"frame_feature": "sound"}, "frame_feature must be one of"),
        ({"mm_projector_type": "magic"}, "magic"),
    ],
)
def test_a_config_of_something_else(full, fields, message):
    layouts.change_json(full / "config.json", **fields)
    with pytest.raises(ValueError, match=rf"config.json: .*{message}"):
        load_pretrained(full)


# --- weights -------------------------------------------------------------------------------------------------------


def test_truncated_safetensors(full):
    cut(full / "model.safetensors")
    with pytest.raises(ValueError, match="model.safetensors: expected a whole safetensors file"):
        load_pretrained(full)


def test_missing_weights(full):
    drop(full / "model.safetensors", "model.norm.weight", "model.mm_projector.0.bias")
    with pytest.raises(ValueError, match="got none for model.mm_projector.0.bias, model.norm.weight"):
        load_pretrained(full)


def test_unknown_weights(full):
    state = layouts.tower_state(full) | {"model.layers.7.mlp.up_proj.weight": torch.ones(2, 2)}
    layouts.write_weights(state, full / "model.safetensors")
    with pytest.raises(ValueError, match="model.safetensors: expected.*got model.layers.7.mlp.up_proj.weight"):
        load_pretrained(full)


def test_a_missing_shard(full):
    (full / "model.safetensors").unlink()
    layouts.write_json({"weight_map": {"a": "model-1-of-1.safetensors"}}, full / "model.safetensors.index.json")
    with pytest.raises(FileNotFoundError, match="model-1-of-1.safetensors: no such file, but.*index.json names it"):
        load_pretrained(full)


def test_a_missing_tokenizer(full):
    (full / "tokenizer.model").unlink()
    with pytest.raises(FileNotFoundError, match="c: expected tokenizer.model or tokenizer.json"):
        load_pretrained(full)


def test_a_damaged_tokenizer(full):
    (full / "tokenizer.model").write_bytes(b"none")
    with pytest.raises(ValueError, match="c: its tokenizer cannot be read"):
        load_pretrained(full)


def test_a_tokenizer_of_other_ids(full):
    ids = [[1, 2, 3, 4]] * 100
    layouts.change_json(full / "config.json", temporal_prompt_ids=ids)
    with pytest.raises(ValueError, match=r"expected a tokenizer that gives.*\[1, 2, 3, 4\] for '\[00\]'.*got"):
        load_pretrained(full)


def test_a_tokenizer_of_more_ids_than_the_decoder(tmp_path, tower):
    layouts.write_base(tmp_path / "base", vocab_size=260)
    layouts.write_json(layouts.model_config("llava_llama", tower, vocab_size=260), tmp_path / "c" / "config.json")
    torch.save(layouts.projector_state(tiny.TOWER_WIDTH), tmp_path / "c" / "mm_projector.bin")
    with pytest.raises(ValueError, match="base: expected a tokenizer of the decoder's 260 ids, got id"):
        load_pretrained(tmp_path / "c", model_base=tmp_path / "base")


# --- projector -----------------------------------------------------------------------------------------------------


def test_a_projector_folder_without_a_base(tmp_path, tower):
    layouts.write_json(layouts.model_config("llava_llama", tower), tmp_path / "config.json")
    torch.save(layouts.projector_state(tiny.TOWER_WIDTH), tmp_path / "mm_projector.bin")
    with pytest.raises(ValueError, match="holds a projector alone.*give model_base"):
        load_pretrained(tmp_path)


def test_a_missing_projector_file(full):
    with pytest.raises(FileNotFoundError, match="pretrain_mm_mlp_adapter: no such file: /gone.bin"):
        load_pretrained(full, pretrain_mm_mlp_adapter="/gone.bin")


def test_a_projector_for_another_decoder(full, tmp_path):
    torch.save(layouts.projector_state(tiny.TOWER_WIDTH, hidden=48), tmp_path / "p.bin")
    message = r"p.bin: model.mm_projector.0.weight: expected shape \[32, 24\].*got \[48, 24\]"
    with pytest.raises(ValueError, match=message):
        load_pretrained(full, pretrain_mm_mlp_adapter=tmp_path / "p.bin")


def test_a_projector_with_other_keys(full, tmp_path):
    torch.save({"model.resampler.weight": torch.ones(2)}, tmp_path / "p.bin")
    with pytest.raises(ValueError, match="p.bin: expected weights of the model.*got model.resampler.weight"):
        load_pretrained(full, pretrain_mm_mlp_adapter=tmp_path / "p.bin")


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_of_anything_but_tensors_is_not_run(full, tmp_path, protocol):
    torch.save({"x": Evil(tmp_path / "ran")}, tmp_path / "p.bin", pickle_protocol=protocol)
    with pytest.raises(ValueError, match="p.bin: expected a file of tensors"):
        load_pretrained(full, pretrain_mm_mlp_adapter=tmp_path / "p.bin")
    assert not (tmp_path / "ran").exists()


def test_a_file_of_no_tensors(full, tmp_path):
    torch.save([torch.ones(1)], tmp_path / "p.bin")
    with pytest.raises(ValueError, match="p.bin: expected a dictionary of tensors, got a list"):
        load_pretrained(full, pretrain_mm_mlp_adapter=tmp_path / "p.bin")
    (tmp_path / "p.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="p.bin: expected a file of tensors.*damaged"):
        load_pretrained(full, pretrain_mm_mlp_adapter=tmp_path / "p.bin")


# --- tower ---------------------------------------------------------------------------------------------------------


def test_a_missing_tower(full):
    with pytest.raises(FileNotFoundError, match="vision_tower: no such folder: /gone/tower"):
        load_pretrained(full, vision_tower="/gone/tower")


def test_a_tower_without_some_weights(full, tower, tmp_path):
    folder = layouts.copy_tower(tower, tmp_path / "tower")
    name = next(name for name in layouts.tower_state(folder) if name.endswith("class_embedding"))
    drop(folder / "model.safetensors", name)
    with pytest.raises(ValueError, match="tower: expected all weights.*got none for embeddings.class_embedding"):
        load_pretrained(full, vision_tower=folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="tower: expected the vision tower's weights"):
        load_pretrained(full, vision_tower=folder)


def test_a_truncated_tower(full, tower, tmp_path):
    folder = layouts.copy_tower(tower, tmp_path / "tower")
    cut(folder / "model.safetensors")
    with pytest.raises(ValueError, match="model.safetensors: expected a whole safetensors file"):
        load_pretrained(full, vision_tower=folder)


def test_a_tower_of_another_width(full, tmp_path):
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2)
    CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=28, patch_size=14)).save_pretrained(tmp_path / "tower")
    CLIPImageProcessor().save_pretrained(tmp_path / "tower")
    with pytest.raises(ValueError, match="tower: expected a tower whose features are 24 wide.*got 16"):
        load_pretrained(full, vision_tower=tmp_path / "tower")


def test_a_damaged_clip_file(released):
    file = released / "clip" / layouts.CLIP_NAME
    cut(file)
    with pytest.raises(ValueError, match="ViT-L-14.pt: expected the weights of OpenAI's CLIP"):
        load_pretrained(released)
    torch.save({"a": torch.ones(1)}, file)
    with pytest.raises(ValueError, match="ViT-L-14.pt: expected the weights of OpenAI's CLIP"):
        load_pretrained(released)
    with pytest.raises(FileNotFoundError, match="no such file: /gone.pt"):
        load_pretrained(released, vision_tower="/gone.pt")


# --- adapters ------------------------------------------------------------------------------------------------------


def test_an_adapter_whose_base_is_nowhere(lora, tmp_path):
    layouts.change_json(lora / "adapter_config.json", base_model_name_or_path="nobody/base")
    with pytest.raises(FileNotFoundError, match="adapter_config.json.*model_base.*nobody/base is no folder here"):
        load_pretrained(lora)


def test_an_adapter_for_another_base(lora, released, tmp_path):
    layouts.write_base(tmp_path / "wide", hidden_size=48, intermediate_size=96)
    with pytest.raises(ValueError, match=r"wide/model.safetensors: .*expected shape \[420, 32\].*is .*wide its base"):
        load_pretrained(lora, model_base=tmp_path / "wide")
    layouts.write_base(tmp_path / "fat", intermediate_size=96)
    message = r"adapter_model.bin: .*expected an adapter for a weight of shape \[\d+, \d+\].*got shape"
    with pytest.raises(ValueError, match=message):
        load_pretrained(released, model_base=tmp_path / "fat")
    layouts.write_base(tmp_path / "short", num_hidden_layers=1)
    with pytest.raises(ValueError, match="adapter_model.bin: .*which has no model.layers.1"):
        load_pretrained(released, model_base=tmp_path / "short")
    layouts.write_base(tmp_path / "tall", num_hidden_layers=3)
    with pytest.raises(ValueError, match="adapter_model.bin: .*it lacks .*layers.2"):
        load_pretrained(released, model_base=tmp_path / "tall")
    with pytest.raises(ValueError, match="got model.layers.2"):
        load_pretrained(lora, model_base=tmp_path / "tall")


def test_an_adapter_of_another_rank_or_kind(lora):
    layouts.change_json(lora / "adapter_config.json", r=8)
    with pytest.raises(ValueError, match=r"adapter_model.safetensors: .*expected shape \[8, 32\].*got \[4, 32\]"):
        load_pretrained(lora)
    layouts.change_json(lora / "adapter_config.json", r=4, a_new_field={"on": True})
    with pytest.raises(ValueError, match="adapter_config.json: this release of peft.*a_new_field"):
        load_pretrained(lora)
    layouts.change_json(lora / "adapter_config.json", a_new_field=None, peft_type="IA3")
    with pytest.raises(ValueError, match="adapter_config.json: expected peft_type 'LORA', got 'IA3'"):
        load_pretrained(lora)


def test_a_missing_or_truncated_adapter(lora):
    cut(lora / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="adapter_model.safetensors: expected a whole safetensors file"):
        load_pretrained(lora)
    (lora / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="c: expected adapter_model.safetensors or adapter_model.bin"):
        load_pretrained(lora)


def test_unexpected_keys_beside_the_adapter(lora):
    file = lora / "non_lora_trainables.bin"
    torch.save(torch.load(file) | {"base_model.model.model.extra": torch.ones(1)}, file)
    with pytest.raises(ValueError, match="non_lora_trainables.bin: .*got model.extra"):
        load_pretrained(lora)
    torch.save({}, file)
    with pytest.raises(ValueError, match="got none for model.mm_projector.0.bias"):
        load_pretrained(lora)


# --- the released parts --------------------------------------------------------------------------------------------


def test_several_stage2_folders(released):
    stage2 = released / "v2xumllm-vicuna-v1-5-7b-stage2-e2"
    layouts.copy_tower(stage2, released / "v2xumllm-vicuna-v1-5-7b-stage2-e5")
    with pytest.raises(ValueError, match="several adapters .*stage2-e2, .*stage2-e5.*give one.*model_path"):
        load_pretrained(released)
    load_pretrained(stage2)


def test_a_released_folder_without_a_projector(released):
    (released / "llava-vicuna-v1-5-7b-stage1" / "mm_projector.bin").unlink()
    with pytest.raises(FileNotFoundError, match="expected the projector.*give pretrain_mm_mlp_adapter"):
        load_pretrained(released)


def test_a_projector_file_without_one(released, tmp_path):
    torch.save({"model.norm.weight": torch.ones(tiny.HIDDEN)}, tmp_path / "p.bin")
    with pytest.raises(ValueError, match="p.bin: expected the projector's weights"):
        load_pretrained(released, pretrain_mm_mlp_adapter=tmp_path / "p.bin")


def test_a_base_that_is_no_plain_decoder(released, full):
    with pytest.raises(ValueError, match="config.json: expected a decoder of model_type llama, got 'llava_v2xum'"):
        load_pretrained(released, model_base=full)


def test_the_released_base_by_its_hub_name(released):
    stage2 = released / "v2xumllm-vicuna-v1-5-7b-stage2-e2"
    config = json.loads((stage2 / "adapter_config.json").read_text())
    (stage2 / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": None}))
    with pytest.raises(FileNotFoundError, match="lmsys/vicuna-7b-v1.5 is no folder here"):
        load_pretrained(released)


def test_an_adapter_without_its_projector(lora):
    (lora / "non_lora_trainables.bin").unlink()
    with pytest.raises(FileNotFoundError, match="expected non_lora_trainables.bin"):
        load_pretrained(lora)


def test_a_device_that_is_not_there(lora):
    with pytest.raises(ValueError, match="device must be 'auto' or one that torch has here, got 'gpu'"):
        load_pretrained(lora, device="gpu")


def test_llava_16_is_refused_at_loading(full):
    config = json.loads((full / "config.json").read_text())
    (full / "config.json").write_text(json.dumps({**config, "mm_patch_merge_type": "spatial_unpad"}))
    with pytest.raises(ValueError, match=r"config\.json: expected LLaVA-1\.5, .* got 'spatial_unpad' \(LLaVA-1\.6\)"):
        load_pretrained(full)
