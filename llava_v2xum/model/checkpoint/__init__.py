"""Load and save checkpoints: this plugin's, LLaVA-1.5's, transformers', the released V2Xum-LLM's; full or LoRA.

What a folder is, its files and their configs say, never its name.
"""

from .load import load_pretrained
from .save import save_checkpoint
from .save_hf import save_hf_llava

__all__ = ["load_pretrained", "save_checkpoint", "save_hf_llava"]
