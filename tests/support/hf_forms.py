"""Checkpoints in the forms of transformers and peft, written by their own `save_pretrained`."""

from __future__ import annotations

import json
from pathlib import Path

import tiny
import torch
import transformers
import weights
from transformers import CLIPVisionConfig, LlamaConfig, LlamaTokenizer, LlavaConfig, LlavaForConditionalGeneration

ROWS = tiny.llama_sizes()["vocab_size"] + 64  # as many behind the tokenizer's as llava-hf/llava-1.5-7b-hf has
IMAGE, PAD = "<image>", "<pad>"
PATCHES = (tiny.IMAGE_SIZE // 7) ** 2
NESTED_IDS = tuple(int(part) for part in transformers.__version__.split(".")[:2]) >= (4, 46)  # one id for each patch


def hf_llava(**fields) -> LlavaForConditionalGeneration:
    """transformers' LLaVA-1.5 of tiny sizes, with a padded vocabulary, in float32.

    Its numbers are those of its parameters' names, as bfloat16 can store them.
    """
    vision = CLIPVisionConfig(
        hidden_size=tiny.TOWER_WIDTH, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2,
        image_size=tiny.IMAGE_SIZE, patch_size=7, projection_dim=16,
    )  # fmt: skip
    text = LlamaConfig(**{**tiny.llama_sizes(), "vocab_size": ROWS})
    first = ROWS - 64
    config = LlavaConfig(
        **{
            "vision_config": vision, "text_config": text, "image_token_index": first, "pad_token_id": first + 1,
            "projector_hidden_act": "gelu", "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
            **fields,
        }
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config).eval()
    weights.fill(model)
    for weight in model.parameters():
        weight.data = weight.data.bfloat16().float()
    return model


def write_hf_llava(folder: Path, newer: bool = False, **fields) -> Path:
    """A folder as `llava-hf/llava-1.5-7b-hf` has it: in bfloat16 and in shards, with tokenizer and image processor.

    Args:
        newer: name the weights as transformers has them in memory since 4.52, in place of as it saves them.
    """
    hf_llava(**fields).bfloat16().save_pretrained(folder, max_shard_size="60KB")
    if newer:
        _rename(folder)
    tiny.write_tokenizer(folder)
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(transformers.AddedToken(IMAGE, special=True, normalized=False), special_tokens=True)
    tokenizer.add_special_tokens({"pad_token": PAD})
    tokenizer.save_pretrained(folder)
    size = {"height": tiny.IMAGE_SIZE, "width": tiny.IMAGE_SIZE}
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": tiny.IMAGE_SIZE}, crop_size=size)
    processor.save_pretrained(folder)
    return folder


def _rename(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    def newer(name: str) -> str:
        name = name.replace("language_model.model.", "language_model.").replace("language_model.lm_head.", "lm_head.")
        return name if name.startswith("lm_head.") else f"model.{name}"

    for file in folder.glob("*.safetensors"):
        save_file({newer(name): tensor for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    file = folder / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    index["weight_map"] = {newer(name): shard for name, shard in index["weight_map"].items()}
    file.write_text(json.dumps(index))


@torch.no_grad()
def hf_logits(model: LlavaForConditionalGeneration, before: list[int], after: list[int], pixels) -> torch.Tensor:
    """What transformers' own class answers to text, an image [3, H, W] and text; float32 [L, V]."""
    image = [model.config.image_token_index] * (PATCHES if NESTED_IDS else 1)
    ids = torch.tensor([[*before, *image, *after]])
    return model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels[None]).logits[0]
