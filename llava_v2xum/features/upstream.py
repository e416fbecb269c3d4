"""All that the package asks of LLaVA and of transformers, and where they have it: another release is a change here.

`from ..features.upstream import LlavaConfig` imports what it lies in, so that a command which asks for nothing of
LLaVA does not load it. How a release's calls differ is in model/compat.py; tests/upstream holds every name against the
releases that are installed.
"""

from __future__ import annotations

import importlib
from typing import Any

from .releases import tell_of_untested_release

HOMES = {
    # LLaVA 1.2.2: constants and conversations
    "DEFAULT_IMAGE_TOKEN": "llava.constants",
    "IGNORE_INDEX": "llava.constants",
    "IMAGE_TOKEN_INDEX": "llava.constants",
    "Conversation": "llava.conversation",
    "SeparatorStyle": "llava.conversation",
    "conv_templates": "llava.conversation",
    "tokenizer_image_token": "llava.mm_utils",
    # its model
    "LlavaConfig": "llava.model.language_model.llava_llama",
    "LlavaLlamaForCausalLM": "llava.model.language_model.llava_llama",
    "LlavaMetaForCausalLM": "llava.model.llava_arch",
    "build_vision_projector": "llava.model.multimodal_projector.builder",
    "build_vision_tower": "llava.model.multimodal_encoder.builder",
    # transformers: what every release since 4.37 has
    "AutoConfig": "transformers",
    "AutoModel": "transformers",
    "AutoModelForCausalLM": "transformers",
    "AutoTokenizer": "transformers",
    "CLIPImageProcessor": "transformers",
    "CLIPModel": "transformers",
    "CLIPVisionConfig": "transformers",
    "CLIPVisionModelWithProjection": "transformers",
    "HfArgumentParser": "transformers",
    "LlamaTokenizer": "transformers",
    "LogitsProcessor": "transformers",
    "LogitsProcessorList": "transformers",
    "PretrainedConfig": "transformers",
    "Trainer": "transformers",
    "TrainerCallback": "transformers",
    "set_seed": "transformers",
    "CausalLMOutputWithPast": "transformers.modeling_outputs",
    "LlamaAttention": "transformers.models.llama.modeling_llama",
    "LlamaDecoderLayer": "transformers.models.llama.modeling_llama",
    "LlamaRMSNorm": "transformers.models.llama.modeling_llama",
}
MODULES = {
    "llava_model": "llava.model",
    "llava_train": "llava.train.train",
    "llava_trainer": "llava.train.llava_trainer",
    "transformers": "transformers",
    "transformers_deepspeed": "transformers.integrations.deepspeed",
    "transformers_logging": "transformers.utils.logging",
    "transformers_trainer": "transformers.trainer",
}


def __getattr__(name: str) -> Any:
    home = HOMES.get(name) or MODULES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if home.partition(".")[0] == "llava":
        mend_llava()
    module = importlib.import_module(home)
    return module if name in MODULES else getattr(module, name)


def mend_llava() -> None:
    """Put back the one name that LLaVA imports from `transformers.trainer` and 4.53 and later no longer have there.

    Anything of LLaVA's is imported after it.
    """
    tell_of_untested_release()
    import torch

    # of this very module: names that its __getattr__ finds are imported, not read
    from .upstream import LlamaRMSNorm, transformers_trainer

    # used by `llava.train.llava_trainer` to leave norms out of weight decay; what 4.37 had in it for a Llama
    if not hasattr(transformers_trainer, "ALL_LAYERNORM_LAYERS"):
        transformers_trainer.ALL_LAYERNORM_LAYERS = [torch.nn.LayerNorm, LlamaRMSNorm]
