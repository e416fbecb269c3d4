"""Checkpoint folders of every layout that is loaded, with tiny weights that names and shapes alone decide.

Each maker returns the weights that the loaded model must have, put together by hand: a LoRA pair as
W + B A * alpha / r.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import tiny
import torch
import weights
from torch import Tensor, nn

State = dict[str, Tensor]

RANK, ALPHA = 4, 8
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
CLIP_WIDTH, CLIP_EMBEDDING = 64, 24
CLIP_NAME = "ViT-L-14.pt"


def write_weights(state: State, file: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in state.items()}, str(file), metadata={"format": "pt"})


def write_json(content: dict, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def change_json(file: Path, **fields) -> None:
    """Set fields of a JSON file; None takes a field out."""
    content = {**json.loads(file.read_text()), **fields}
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def llama_state(prefix: str = "", **sizes) -> State:
    from transformers import LlamaConfig, LlamaForCausalLM

    llama = LlamaForCausalLM(LlamaConfig(**{**tiny.llama_sizes(), **sizes}))
    weights.fill(llama, prefix)
    return {name: tensor.clone() for name, tensor in llama.state_dict().items()}


def projector_state(width: int, hidden: int = tiny.HIDDEN, linear: bool = False, prefix: str = "") -> State:
    projector = nn.Linear(width, hidden)
    if not linear:
        projector = nn.Sequential(projector, nn.GELU(), nn.Linear(hidden, hidden))
    weights.fill(projector, f"{prefix}projector.")
    return {f"model.mm_projector.{name}": tensor.clone() for name, tensor in projector.state_dict().items()}


def model_config(model_type: str, tower: Path | str, **fields) -> dict:
    """A config.json as transformers 4.37 wrote LLaVA's."""
    return {
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": model_type,
        **tiny.llama_sizes(),
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "torch_dtype": "float16",
        "transformers_version": "4.37.2",
        **weights.llava_settings(tower),
        **fields,
    }


def write_base(folder: Path, bin_file: bool = False, prefix: str = "", **sizes) -> State:
    """A plain Llama folder, as `lmsys/vicuna-7b-v1.5` is."""
    state = llama_state(prefix, **sizes)
    tiny.write_tokenizer(folder)
    write_json({"model_type": "llama", **tiny.llama_sizes(), **sizes, "torch_dtype": "float32"}, folder / "config.json")
    if bin_file:
        torch.save(state, folder / "pytorch_model.bin")
    else:
        write_weights(state, folder / "model.safetensors")
    return state


def write_full(folder: Path, model_type: str, tower: Path | str, with_tower: bool = False, **fields) -> State:
    """A full checkpoint; `with_tower` as LLaVA's train() saves it, the tower's weights among the others."""
    state = {**llama_state("full."), **projector_state(tiny.TOWER_WIDTH, prefix="full.")}
    tiny.write_tokenizer(folder)
    write_json(model_config(model_type, tower, **fields), folder / "config.json")
    saved = dict(state)
    if with_tower:
        prefix = "model.vision_tower.vision_tower."
        saved |= {prefix + name: tensor.half() * 2 for name, tensor in tower_state(Path(tower)).items()}
    write_weights(saved, folder / "model.safetensors")
    return state


def tower_state(folder: Path) -> State:
    from safetensors.torch import load_file

    return load_file(str(folder / "model.safetensors"))


def write_adapter(folder: Path, base: State, base_name: str, safetensors: bool = True) -> State:
    """A LoRA adapter over all of the decoder's linear layers; returns the base with it merged by arithmetic."""
    rng = torch.Generator().manual_seed(5)
    adapter, merged = {}, dict(base)
    for name, weight in base.items():
        if name.split(".")[-2] not in TARGETS:
            continue
        a = torch.rand(RANK, weight.shape[1], generator=rng) - 0.5
        b = torch.rand(weight.shape[0], RANK, generator=rng) - 0.5
        path = f"base_model.model.{name.removesuffix('.weight')}"
        adapter |= {f"{path}.lora_A.weight": a, f"{path}.lora_B.weight": b}
        merged[name] = weight + b @ a * ALPHA / RANK
    config = {
        "base_model_name_or_path": base_name,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.05,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": RANK,
        "target_modules": list(TARGETS),
        "task_type": "CAUSAL_LM",
    }
    write_json(config, folder / "adapter_config.json")
    if safetensors:
        write_weights(adapter, folder / "adapter_model.safetensors")
    else:
        torch.save(adapter, folder / "adapter_model.bin")
    return merged


def wrapped(state: State) -> State:
    """Under the names that a peft model has for them."""
    return {f"base_model.model.{name}": tensor for name, tensor in state.items()}


def write_lora(folder: Path, base: State, base_name: str, model_type: str, tower: Path | str) -> State:
    """What LLaVA's train() writes with --lora_enable."""
    merged = write_adapter(folder, base, base_name)
    projector = projector_state(tiny.TOWER_WIDTH, prefix="lora.")
    write_json(model_config(model_type, tower), folder / "config.json")
    torch.save(wrapped(projector), folder / "non_lora_trainables.bin")
    return merged | projector


def write_released(root: Path, empty_non_lora: bool = True) -> State:
    """The released V2Xum-LLM folder, its base in `base/`."""
    base = write_base(root.parent / "base", bin_file=True)
    stage1, stage2 = root / "llava-vicuna-v1-5-7b-stage1", root / "v2xumllm-vicuna-v1-5-7b-stage2-e2"
    merged = write_adapter(stage2, base, str(root.parent / "base"), safetensors=False)
    write_json({"model_type": "V2XumLLM", "architectures": ["V2XumLLMLlamaForCausalLM"]}, stage2 / "config.json")
    projector = projector_state(CLIP_EMBEDDING, linear=True)
    stage1.mkdir(parents=True)
    torch.save({name: tensor.half() for name, tensor in projector.items()}, stage1 / "mm_projector.bin")
    projector = {name: tensor.half().float() for name, tensor in projector.items()}
    if empty_non_lora:
        torch.save({}, stage2 / "non_lora_trainables.bin")
    else:
        projector = projector_state(CLIP_EMBEDDING, linear=True, prefix="stage2.")
        torch.save(wrapped(projector), stage2 / "non_lora_trainables.bin")
    write_clip(root / "clip" / CLIP_NAME)
    return merged | projector


def make_clip():
    """A tiny CLIP by open_clip, with OpenAI's activation; its weights have OpenAI's names."""
    import open_clip

    clip = open_clip.CLIP(
        embed_dim=CLIP_EMBEDDING,
        vision_cfg=dict(layers=2, width=CLIP_WIDTH, patch_size=7, image_size=tiny.IMAGE_SIZE, head_width=64),
        text_cfg=dict(context_length=8, vocab_size=16, width=64, heads=1, layers=1),
        quick_gelu=True,
    )
    weights.fill(clip.visual)
    return clip.half().float().eval()  # OpenAI's weights are half precision


class _Shell(nn.Module):
    """A module with nothing but names: the least that TorchScript can archive."""

    def forward(self):
        return 0


def write_clip(file: Path) -> None:
    """A TorchScript archive of OpenAI's form, as ViT-L-14.pt is."""
    shell = _Shell()
    for name, tensor in make_clip().state_dict().items():
        *path, leaf = name.split(".")
        module = shell
        for part in path:
            if part not in module._modules:
                module.add_module(part, _Shell())
            module = module._modules[part]
        module.register_parameter(leaf, nn.Parameter(tensor.clone(), requires_grad=False))
    file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(shell).save(str(file))


def copy_tower(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder)
    return folder
