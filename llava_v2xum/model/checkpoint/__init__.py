"""Load and save checkpoints: this plugin's, LLaVA-1.5's, the released V2Xum-LLM's; full or LoRA.

What a folder is, its files and their configs say, never its name.
"""

from ..releases import tell_of_untested_release

tell_of_untested_release()
from .load import load_pretrained  # noqa: E402  (imports LLaVA, which may fail under a release that is told of)
from .save import save_checkpoint  # noqa: E402

__all__ = ["load_pretrained", "save_checkpoint"]
