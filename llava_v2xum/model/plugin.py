"""register(): LLaVA learns the video type. Run it once, or install the package and let the entry point do it."""

from __future__ import annotations

import sys
from types import ModuleType

CONVERSATION = "v2xum"


def register() -> ModuleType:
    """Add the video type to LLaVA: model class, conversation template. Calling it again changes nothing.

    `transformers.AutoConfig` and `AutoModelForCausalLM` know the model type `llava_v2xum` from then on,
    `llava.conversation.conv_templates` has `v2xum` (Vicuna's template, as the released model uses), and `llava.model`
    exports the classes. LLaVA's own classes and templates stay as they are.

    Returns:
        The module `commands`, for a LLaVA that took the patch of `patches/`.
    """
    from ..train import hooks
    from . import compat

    compat.mend_llava()
    if _model_is_half_imported():
        return hooks
    import llava.conversation
    import llava.model
    from llava.model.llava_arch import LlavaMetaForCausalLM
    from transformers import AutoConfig, AutoModelForCausalLM

    for model_class in LlavaMetaForCausalLM.__subclasses__():
        compat.mend_cache_name(model_class)
    from .modeling import LlavaV2XumConfig, LlavaV2XumForCausalLM

    AutoConfig.register(LlavaV2XumConfig.model_type, LlavaV2XumConfig, exist_ok=True)
    AutoModelForCausalLM.register(LlavaV2XumConfig, LlavaV2XumForCausalLM, exist_ok=True)
    llava.model.LlavaV2XumConfig = LlavaV2XumConfig
    llava.model.LlavaV2XumForCausalLM = LlavaV2XumForCausalLM
    templates = llava.conversation.conv_templates
    if CONVERSATION not in templates:
        # its version stays "v1", from which LLaVA's training code knows how to mask a Vicuna conversation
        templates[CONVERSATION] = templates["v1"].copy()
    return hooks


def _model_is_half_imported() -> bool:
    """Whether modeling.py is at its imports: of a patched LLaVA, which calls register(). Its last line calls it
    again."""
    module = sys.modules.get(f"{__package__}.modeling")
    return module is not None and not hasattr(module, "LlavaV2XumForCausalLM")
