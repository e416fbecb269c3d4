"""A tiny LLaVA with the video type whose weights come from NumPy and the parameters' names alone.

No library initialises them, so both transformers releases get the same numbers.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import tiny
import torch

NUM_FRAMES = 100
CHANNELS = tiny.TOWER_WIDTH


def fill(module: torch.nn.Module, prefix: str = "") -> None:
    """Give every parameter uniform numbers that its name and shape alone decide."""
    for name, parameter in module.named_parameters():
        rng = np.random.Generator(np.random.PCG64(zlib.crc32((prefix + name).encode())))
        values = rng.random(tuple(parameter.shape)) - 0.5
        scale, shift = (0.2, 1.0) if name.endswith("norm.weight") else (0.5, 0.0)
        parameter.data.copy_(torch.from_numpy(values * scale + shift))


def numbers(*shape: int, name: str = "features") -> torch.Tensor:
    """Numbers in -1..1 that the name and the shape alone decide, float32."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return torch.from_numpy(rng.random(shape) * 2 - 1).float()


@lru_cache(maxsize=1)
def sources() -> tuple[Path, Path]:
    """Folders of the tokenizer and of the CLIP tower; written once, gone with the process."""
    from transformers import CLIPVisionModel

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tiny.write_tokenizer(folder / "tokenizer")
    tower = tiny.write_tower(folder / "tower")
    clip = CLIPVisionModel.from_pretrained(tower)
    fill(getattr(clip, "vision_model", clip))  # 4.37 has this word before the names, 5 does not
    clip.save_pretrained(tower)
    return folder / "tokenizer", tower


@lru_cache(maxsize=1)
def tokenizer():
    """The tiny tokenizer, in the class that LLaVA asks for."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(sources()[0], use_fast=False)


def llava_settings(tower: Path) -> dict:
    """What LLaVA-1.5 adds to Llama's config."""
    return dict(
        mm_vision_tower=str(tower), mm_hidden_size=CHANNELS, mm_projector_type="mlp2x_gelu",
        mm_vision_select_layer=-2, mm_vision_select_feature="patch", mm_patch_merge_type="flat",
        mm_use_im_start_end=False, mm_use_im_patch_token=False, image_aspect_ratio="pad",
        use_mm_proj=True, tokenizer_padding_side="right", tokenizer_model_max_length=2048,
    )  # fmt: skip


def video_model(num_frames: int = NUM_FRAMES, **settings):
    """The tiny model with its tower loaded and its timeline bound, float32, in evaluation mode."""
    from llava_v2xum.model.modeling import LlavaV2XumConfig, LlavaV2XumForCausalLM

    _, tower = sources()
    config = LlavaV2XumConfig(**{**tiny.llama_sizes(), **llava_settings(tower), "num_frames": num_frames, **settings})
    model = LlavaV2XumForCausalLM(config)
    fill(model)
    model.bind_timeline(tokenizer())
    model.get_vision_tower().load_model()
    return model.eval()


def image_model():
    """Stock LLaVA of the same sizes and numbers."""
    from llava.model import LlavaConfig, LlavaLlamaForCausalLM

    _, tower = sources()
    model = LlavaLlamaForCausalLM(LlavaConfig(**{**tiny.llama_sizes(), **llava_settings(tower)}))
    fill(model)
    model.get_vision_tower().load_model()
    return model.eval()


@contextlib.contextmanager
def decoder_inputs(model) -> Iterator[list[torch.Tensor]]:
    """The embeddings [B, L, D] that the decoder is called with while it is open."""
    seen: list[torch.Tensor] = []

    def keep(module, args, kwargs) -> None:
        if kwargs.get("inputs_embeds") is not None:  # later steps of a generation bring ids
            seen.append(kwargs["inputs_embeds"].detach())

    handle = model.model.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()
