"""All that the package asks of LLaVA and of transformers, and where they have it: another release is a change here.

`from ..features.upstream import LlavaConfig` imports what it lies in, so that a command which asks for nothing of
LLaVA does not load it. How a release's calls differ is in model/compat.py; tests/upstream holds every name against the
releases that are installed.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from .llava_found import UnfitLlava, check_llava, found_llava, in_package
from .releases import tell_of_untested_release

HOMES = {
    # LLaVA 1.2.2: constants and conversations
    "DEFAULT_IMAGE_TOKEN": "llava.constants",
    "IGNORE_INDEX": "llava.constants",
    "IMAGE_TOKEN_INDEX": "llava.constants",
    "Conversation": "llava.conversation",
    "SeparatorStyle": "llava.conversation",
    "conv_templates": "llava.conversation",
    "process_images": "llava.mm_utils",
    "tokenizer_image_token": "llava.mm_utils",
    # its model
    "LlavaConfig": "llava.model.language_model.llava_llama",
    "LlavaLlamaForCausalLM": "llava.model.language_model.llava_llama",
    "LlavaMetaForCausalLM": "llava.model.llava_arch",
    "CLIPVisionTower": "llava.model.multimodal_encoder.clip_encoder",
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
    "CLIPVisionModel": "transformers",
    "CLIPVisionModelWithProjection": "transformers",
    "HfArgumentParser": "transformers",
    "LlamaTokenizer": "transformers",
    "LlamaTokenizerFast": "transformers",
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
    "llava_arch": "llava.model.llava_arch",
    "llava_model": "llava.model",
    "llava_train": "llava.train.train",
    "llava_trainer": "llava.train.llava_trainer",
    "transformers": "transformers",
    "transformers_deepspeed": "transformers.integrations.deepspeed",
    "transformers_logging": "transformers.utils.logging",
    "transformers_trainer": "transformers.trainer",
}


# what LLaVA's training module must have for its `train()` to be handed ours (train/loop.py)
TRAINING = {
    "ModelArguments": "llava.train.train",
    "DataArguments": "llava.train.train",
    "TrainingArguments": "llava.train.train",
    "make_supervised_data_module": "llava.train.train",
    "maybe_zero_3": "llava.train.llava_trainer",
    "get_peft_state_non_lora_maybe_zero_3": "llava.train.train",
    "safe_save_model_for_hf_trainer": "llava.train.train",
    "train": "llava.train.train",
    "LLaVATrainer": "llava.train.llava_trainer",
}


def __getattr__(name: str) -> Any:
    home = HOMES.get(name) or MODULES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if home.partition(".")[0] == "llava":
        module = _import_of_llava(home)
    else:
        module = importlib.import_module(home)
    return module if name in MODULES else getattr(module, name)


def _import_of_llava(home: str) -> Any:
    """A module of LLaVA's.

    Raises:
        UnfitLlava: if this LLaVA cannot take videos, or cannot be imported with the packages that are installed.
    """
    tell_of_untested_release()
    require_llava()
    if home.startswith("llava.train."):
        check_llava(TRAINING.items(), "train")
        mend_llava()
    try:
        return importlib.import_module(in_package(home))
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise UnfitLlava(f"{found_llava()}: {in_package(home)} cannot be imported here: {reason}") from error


@functools.cache
def require_llava() -> None:
    """Refuse a LLaVA that has not got what this package asks of it; to be called before anything of it is imported.

    Raises:
        UnfitLlava: in one line: what was found, and what is needed.
    """
    check_llava((name, home) for name, home in HOMES.items() if home.startswith("llava."))


def mend_llava() -> None:
    """Put back the one name that LLaVA imports from `transformers.trainer` and 4.53 and later no longer have there.

    Anything of LLaVA's training is imported after it; the rest does without transformers' trainer, which takes peft and
    bitsandbytes with it: a fifth of what an inference run imports.
    """
    import torch

    # of this very module: names that its __getattr__ finds are imported, not read
    from .upstream import LlamaRMSNorm, transformers_trainer

    # used by `llava.train.llava_trainer` to leave norms out of weight decay; what 4.37 had in it for a Llama
    if not hasattr(transformers_trainer, "ALL_LAYERNORM_LAYERS"):
        transformers_trainer.ALL_LAYERNORM_LAYERS = [torch.nn.LayerNorm, LlamaRMSNorm]
