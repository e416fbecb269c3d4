"""The names that the YAML files give lmms-eval.

lmms-eval executes this file anew for every name that it looks up here, and takes the attribute as it is, so that also a
path can be one. What has state (the scores of all answers, which every metric reads from) lives in the modules below.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from llava_v2xum.evaluate.lmms_eval.documents import (
    annotation_file,
    doc_to_target,
    doc_to_text,
    doc_to_visual,
    instruction_form,
    make_documents,
)
from llava_v2xum.evaluate.lmms_eval.scoring import aggregate, process_results

__all__ = ["doc_to_target", "doc_to_text", "doc_to_visual", "process_results"]

_DOCUMENTS = re.compile(r"documents_(\w+)_(both|video|text)")


def __getattr__(name: str) -> Any:
    """What depends on the environment or on a part of the name.

    `annotations_DATASET`: the annotation file; `documents_DATASET_TASK`: what makes lmms-eval's documents of it;
    `form`: how models are asked; `aggregate_METRIC`: a metric over all answers.
    """
    if name == "form":
        return instruction_form()
    if name.startswith("annotations_"):
        return annotation_file(name.removeprefix("annotations_"))
    if name.startswith("aggregate_"):
        return partial(aggregate, name.removeprefix("aggregate_"))
    if made := _DOCUMENTS.fullmatch(name):
        return partial(make_documents, *made.groups())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
