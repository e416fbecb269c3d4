"""What lmms-eval asks about: one document a video, its file, and the words of the question.

| environment variable | what |
| --- | --- |
| `LLAVA_V2XUM_VIDEOXUM`, `_INSTRUCT_V2XUM`, `_TVSUM`, `_SUMME` | the data set's annotations: an annotation JSONL |
| the same with `_VIDEOS` behind it | the folder of its videos, each named by its id |
| `LLAVA_V2XUM_INSTRUCTION` | `explained` (default): the question tells what frame numbers are and how to answer, for any model; `trained`: the instruction alone that models with temporal prompts are trained on |
"""  # noqa: E501 (a row of a table is one line)

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...core.annotations import read_annotations
from ...core.errors import V2XumError
from ...core.tasks import INSTRUCTIONS
from ...core.timeline import DEFAULT_NUM_FRAMES
from ..groups.v2t import reference_text

log = logging.getLogger(__name__)

DATA_SETS = ("videoxum", "instruct_v2xum", "tvsum", "summe")
KEYSHOT_SETS = ("tvsum", "summe")  # scored by original frames; they have no text
FORMS = ("explained", "trained")

_NUMBERED = (
    f"Think of the video as {DEFAULT_NUM_FRAMES} frames sampled at equal intervals and numbered from 00 (the first) to "
    f"{DEFAULT_NUM_FRAMES - 1} (the last). "
)
# 15 %: what the data sets' protocols take for a summary
EXPLAINED = {
    "video": _NUMBERED + "Choose the frames that summarize the video best, about 15 of them. Answer with their numbers "
    "alone, in ascending order and in square brackets, such as [12, 13, 14].",
    "text": "Summarize the video in a few sentences. Answer with the summary alone.",
    "both": _NUMBERED + "Summarize the video in a few sentences. Behind each sentence cite the numbers of the frames "
    "that show it best, in ascending order and in square brackets, about 15 frames in the whole answer, such as: "
    "A man opens a door [12, 13, 14]. He greets a woman [61, 62]. Answer with the summary alone.",
}


def annotation_file(data_set: str) -> str:
    """The data set's annotation JSONL, as the environment names it.

    Raises:
        V2XumError: naming the variable, if it is not set.
        FileNotFoundError: naming the variable, if there is no such file.
    """
    variable = _variable(data_set)
    path = _setting(variable, f"the annotations of {data_set}, which `python -m llava_v2xum.convert` writes")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{variable}: {path}: no such file")
    return path


def video_folder(data_set: str) -> str:
    """The folder of the data set's videos, as the environment names it.

    Raises:
        V2XumError: naming the variable, if it is not set.
    """
    return _setting(_variable(data_set) + "_VIDEOS", f"the folder of {data_set}'s videos")


def instruction_form() -> str:
    """How models are asked, as the environment says.

    Raises:
        V2XumError: if it is neither of the two.
    """
    form = os.environ.get("LLAVA_V2XUM_INSTRUCTION", FORMS[0])
    if form not in FORMS:
        raise V2XumError(f"LLAVA_V2XUM_INSTRUCTION must be one of {', '.join(FORMS)}, got {form!r}")
    return form


def make_documents(data_set: str, task: str, lines: Any) -> Any:
    """The data set that lmms-eval asks about: `documents_of` the task.

    Args:
        lines: what lmms-eval's text builder read. It only carries the file: this project's reader checks every line,
            and no schema is guessed from nested lists that may be empty.

    Returns:
        a `datasets.Dataset`.

    Raises:
        V2XumError: as `documents_of`.
    """
    from datasets import Dataset  # lmms-eval's own

    del lines
    return Dataset.from_list(documents_of(data_set, task))


def documents_of(data_set: str, task: str) -> list[dict[str, str]]:
    """One document a video of the annotation file.

    Args:
        data_set: one of `DATA_SETS`.
        task: "both", "video" or "text".

    Returns:
        the documents: video_id, data_set, task and target (the reference text, or "").

    Raises:
        V2XumError: naming file, line and video, for what the annotation form does not allow; or if TVSum's or SumMe's
            have no keyshots, no video has a text for a task that needs one, or the environment names no video folder.
        VideoError: if that folder cannot be listed or holds no video; single ones that are missing are warned of.
    """
    path, folder = annotation_file(data_set), video_folder(data_set)
    documents, missing = [], []
    for annotation in read_annotations(path):
        if data_set in KEYSHOT_SETS and annotation.keyshots is None:
            raise V2XumError(f"{path}: video {annotation.video_id!r} has no keyshots, which {data_set} is scored by")
        if annotation.video_id not in _videos_in(folder):
            missing.append(annotation.video_id)
        target = reference_text(annotation) or ""
        documents.append({"video_id": annotation.video_id, "data_set": data_set, "task": task, "target": target})
    if not any(document["target"] or task == "video" for document in documents):
        raise V2XumError(f"{path}: no video has what the task {task!r} is scored against")
    if missing:
        log.warning("%s has no video of %d of %d, first %s", folder, len(missing), len(documents), missing[0])
    return documents


def doc_to_visual(doc: Mapping[str, Any]) -> list[str]:
    """The document's video file.

    Raises:
        V2XumError: if the environment names no folder.
        FileNotFoundError: naming the video, if the folder does not have it.
    """
    folder = video_folder(doc["data_set"])
    path = _videos_in(folder).get(doc["video_id"])
    if path is None:
        raise FileNotFoundError(
            f"{folder} has no video {doc['video_id']!r}; `python -m llava_v2xum.convert ... --videos DIR` leaves out "
            "the videos that a folder does not have"
        )
    return [str(path)]


def doc_to_text(doc: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The question about a document.

    Args:
        settings: the task's `lmms_eval_specific_kwargs`; its `form` is "explained" or "trained".
    """
    questions = {"explained": EXPLAINED, "trained": INSTRUCTIONS}[settings["form"]]
    return questions[doc["task"]]


def doc_to_target(doc: Mapping[str, Any]) -> str:
    """The reference text, for the logged samples; empty where there is none."""
    return doc["target"]


def _variable(data_set: str) -> str:
    if data_set not in DATA_SETS:
        raise V2XumError(f"data_set must be one of {', '.join(DATA_SETS)}, got {data_set!r}")
    return f"LLAVA_V2XUM_{data_set.upper()}"


def _setting(variable: str, what: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise V2XumError(f"the environment variable {variable} is not set; it names {what}")
    return value


@lru_cache(maxsize=len(DATA_SETS))
def _videos_in(folder: str) -> dict[str, Path]:
    """Video files by id; listed once, as every document asks."""
    from ...media.video import find_videos  # here, because it loads the decoder

    found: dict[str, Path] = {}
    for path in find_videos(folder):
        if path.stem in found:
            raise V2XumError(f"{folder} has several videos of {path.stem!r}: {found[path.stem].name}, {path.name}")
        found[path.stem] = path
    return found
