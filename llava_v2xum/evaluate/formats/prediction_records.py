"""A JSON object of a prediction file -> the fields of a `Prediction`; predictions.py tells what such objects hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...core.answers import parse_answer
from ...core.checks import as_list, check_keys, check_prose
from ...core.citations import CitationGrammar
from ...core.errors import V2XumError
from ...core.lengths import EDIT_KEY
from ...core.sampling import TRACK_KEY
from ...core.tasks import TASKS
from ...core.timeline import DEFAULT_NUM_FRAMES
from ...core.windows import WINDOW_KEY, WINDOWS_KEY

OF_FRAMES = ("frames", "importance")
OF_TEXT = ("text", "sentences")
OF_TIME = ("clock", "frame_seconds", "duration_seconds")
FORM_KEYS = ("video_id", "num_frames", *OF_FRAMES, *OF_TEXT, *OF_TIME, TRACK_KEY, "windows")
SENTENCE_KEYS = ("text", "frames", "start_seconds", "end_seconds")
INFER_KEYS = (  # of render.make_record, besides those of the form
    "video", "fps", "task", "answer", "segments", "problems", "model", "versions", EDIT_KEY, WINDOW_KEY,
)  # fmt: skip
_CITATION = CitationGrammar().closed_list


def content_of(record: Any, num_frames: int | None = None) -> dict[str, Any]:
    """The fields of a prediction, from an object of the form, a line of `summaries.jsonl`, or a raw answer.

    Args:
        num_frames: N, where the object does not say it.

    Returns:
        field -> value, sentences as objects; values are the dataclass's to check.

    Raises:
        V2XumError: naming the key, for what is missing, unknown, or no text where text is read.
    """
    raw = isinstance(record, dict) and "answer" in record and record.keys().isdisjoint((*OF_FRAMES, *OF_TEXT))
    check_keys(record, record if raw else (*FORM_KEYS, *INFER_KEYS), ("video_id",))
    content = _parsed(record, num_frames) if raw else _written(record, num_frames)
    task = record.get("task")
    if task is not None and task not in TASKS:
        raise V2XumError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
    silent = {"video": OF_TEXT, "text": OF_FRAMES}.get(task, ())
    of_form = ("video_id", *OF_TIME, TRACK_KEY, *(() if _tells_a_film(record) else ("windows",)))
    fixed = {key: record[key] for key in of_form if key in record}
    return {**fixed, **content, **dict.fromkeys(silent)}


def _tells_a_film(record: dict[str, Any]) -> bool:
    """Whether the `windows` are those of a film that infer summarized, each with its answer, and no moments."""
    windows = record.get(WINDOWS_KEY)
    return isinstance(windows, list) and any(isinstance(one, dict) and "answer" in one for one in windows)


def without_citations(text: str) -> str:
    """The text without frame citations such as `[05, 06]`; text that has none is as it was."""
    return parse_answer(text).text if _CITATION.search(text) else text


def joined(texts: Iterable[str]) -> str:
    """Sentences as one text, parted by single blanks."""
    return " ".join(text for text in map(str.strip, texts) if text)


def _parsed(record: dict[str, Any], num_frames: int | None) -> dict[str, Any]:
    """What a raw answer says."""
    check_prose("answer", record["answer"])
    count = record.get("num_frames", num_frames or DEFAULT_NUM_FRAMES)
    if type(count) is not int or count < 1:
        raise V2XumError(f"num_frames must be a positive integer, got {count!r}")
    summary = parse_answer(record["answer"], count)
    sentences = [{"text": sentence.text, "frames": sentence.frames} for sentence in summary.sentences]
    return {"num_frames": count, "frames": summary.frames, "text": summary.text, "sentences": sentences}


def _written(record: dict[str, Any], num_frames: int | None) -> dict[str, Any]:
    """What an object of the form says, with citations taken out of its text."""
    content = {name: record.get(name) for name in (*OF_FRAMES, *OF_TEXT)}
    if num_frames is None and content["importance"] is not None:
        num_frames = len(as_list("importance", content["importance"]))
    count = record.get("num_frames", num_frames)
    if count is None:
        raise V2XumError("missing: num_frames, how many frames the system chose from")
    if content["text"] is not None:
        content["text"] = _prose("text", content["text"])
    if content["sentences"] is not None:
        sentences = enumerate(as_list("sentences", content["sentences"]))
        content["sentences"] = [_sentence(f"sentences[{number}]", one) for number, one in sentences]
        if content["text"] is None:
            content["text"] = joined(one["text"] for one in content["sentences"])
    return {"num_frames": count, **content}


def _sentence(name: str, record: Any) -> dict[str, Any]:
    check_keys(record, SENTENCE_KEYS, ("text",), f"{name}: ")
    return {**record, "text": _prose(f"{name}.text", record["text"])}


def _prose(name: str, text: Any) -> str:
    check_prose(name, text)
    return without_citations(text)
