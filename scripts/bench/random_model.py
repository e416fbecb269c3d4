"""A model of random weights in any Llama's shape, made where it is to run: no file holds it and none is copied."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def random_model(tokenizer, sizes: Sequence[int], device: str | torch.device, dtype: torch.dtype, **settings):
    """The model with its timeline bound; its tower is built and not loaded.

    Args:
        sizes: hidden size, MLP, layers, heads, key and value heads.
        settings: further fields of `LlavaV2XumConfig`; `vocab_size`, `mm_vision_tower` and `mm_hidden_size` must come.
    """
    from llava_v2xum.model.modeling import LlavaV2XumConfig, LlavaV2XumForCausalLM

    hidden, mlp, layers, heads, shared = sizes
    config = LlavaV2XumConfig(
        hidden_size=hidden, intermediate_size=mlp, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=shared, max_position_embeddings=2048, mm_projector_type="mlp2x_gelu",
        mm_vision_select_layer=-2, mm_vision_select_feature="patch", mm_use_im_start_end=False,
        mm_use_im_patch_token=False, tokenizer_model_max_length=2048, **settings,
    )  # fmt: skip
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = LlavaV2XumForCausalLM(config)
    finally:
        torch.set_default_dtype(default)
    model.bind_timeline(tokenizer)
    return model
