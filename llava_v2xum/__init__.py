"""Cross-modal video summarization as a thin plugin for LLaVA-1.5 (V2Xum-LLM, arXiv 2404.12353).

Importing the package loads neither torch nor llava: a public name is loaded when it is first used.
"""

from __future__ import annotations

from .lazy import names_of

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


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
