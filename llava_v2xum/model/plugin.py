"""register(): LLaVA learns the video type. Run it once, or install the package and let the entry point do it."""

from __future__ import annotations

from ..features.upstream import require_llava


def register() -> None:
    """Add the video type to LLaVA: model class, conversation template. Calling it again changes nothing.

    `transformers.AutoConfig` and `AutoModelForCausalLM` know the model type `llava_v2xum` from then on,
    `llava.conversation.conv_templates` has `v2xum` (Vicuna's template, as the released model uses), and `llava.model`
    exports the classes. LLaVA's own classes and templates stay as they are.

    Raises:
        UnfitLlava: a V2XumError, if this LLaVA cannot take videos; one line says what was found and what is needed.
    """
    require_llava()
    from . import modeling, tokens  # noqa: F401  (which register what they make, also where LLaVA is at its imports)
