"""register(): LLaVA learns the video type. Run it once, or install the package and let the entry point do it."""

from __future__ import annotations


def register() -> None:
    """Add the video type to LLaVA: model class, conversation template. Calling it again changes nothing.

    `transformers.AutoConfig` and `AutoModelForCausalLM` know the model type `llava_v2xum` from then on,
    `llava.conversation.conv_templates` has `v2xum` (Vicuna's template, as the released model uses), and `llava.model`
    exports the classes. LLaVA's own classes and templates stay as they are.
    """
    from . import modeling, tokens  # noqa: F401  (which register what they make, also where LLaVA is at its imports)
