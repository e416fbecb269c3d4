"""Cross-modal video summarization as a thin plugin for LLaVA-1.5 (V2Xum-LLM, arXiv 2404.12353).

Importing the package loads neither torch nor llava: a public name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Sentence": "summary",
    "Summary": "summary",
    "Summarizer": "infer",
    "Timeline": "timeline",
    "VideoError": "video",
    "build_input_ids": "dataset",
    "format_answer": "summary",
    "load_pretrained": "checkpoint",
    "parse_answer": "summary",
    "read_video": "video",
    "register": "plugin",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
