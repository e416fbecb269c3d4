"""Cross-modal video summarization as a thin plugin for LLaVA-1.5 (V2Xum-LLM, arXiv 2404.12353).

Importing the package loads neither torch nor llava: a public name is loaded when it is first used.
"""

from __future__ import annotations

import sys
from types import ModuleType

from .core.lazy import names_of

__version__ = "0.1.0"

_HOMES = {
    "Sentence": "core.summary",
    "Summary": "core.summary",
    "Summarizer": "infer.summarizer",
    "Timeline": "core.timeline",
    "V2XumError": "core.errors",
    "VideoError": "media.video",
    "build_input_ids": "data.dataset",
    "format_answer": "core.answers",
    "load_pretrained": "model.checkpoint",
    "parse_answer": "core.answers",
    "read_summary": "media.formats",
    "read_video": "media.video",
    "register": "train.hooks",
}

__all__ = ["__version__", *sorted(_HOMES)]


__getattr__ = names_of(__name__, _HOMES)

# `training_args.bin` of earlier checkpoints has its classes in a module that is no more: see train/arguments.py
_OF_PICKLES = dict.fromkeys(("DataArguments", "ModelArguments", "TrainingArguments"), "train.arguments")
sys.modules[f"{__name__}.arguments"] = ModuleType(f"{__name__}.arguments")
sys.modules[f"{__name__}.arguments"].__dict__["__getattr__"] = names_of(__name__, _OF_PICKLES)


def __dir__() -> list[str]:
    return __all__
