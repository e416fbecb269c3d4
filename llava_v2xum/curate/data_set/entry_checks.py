"""Whether one entry is in Instruct-V2Xum's published form, so that a model can learn from it.

Plain checks rather than a JSON schema, because most of them are between fields: seconds and duration, citations and the
selected samples, answers and their tasks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from ...core.answers import parse_answer
from ...core.checks import check_keys, check_text, is_number
from ...core.citations import FRAME_TOKEN, PLACEHOLDER, PUBLISHED
from ...core.errors import V2XumError
from ...core.readers import RepeatedKeys, checked_list, shown
from ...core.tasks import INSTRUCTIONS, VIDEO_TOKEN

KEYS = ("id", "meta", "conversations", "vsum_onehot")
META_KEYS = ("duration", "sampled_frames", "token")

_ROUNDING_SECONDS = 1e-6  # published durations such as 161.07999999999998 end before their own 161.08
_TOKEN = re.compile(r"<f(0|[1-9]\d{0,8})>")


def problems_of(entry: Any) -> list[str]:
    """What is wrong with one entry; nothing for one in the published form.

    Its four keys are there and no other; seconds lie in the video; there is a sample a second; a human turn is one of
    the three instructions; answers can be read, and say what the task asks for; what they cite has a second in
    `meta.token`, and is among the samples selected in `vsum_onehot`, which has no other.
    """
    try:
        check_keys(entry, KEYS, KEYS)
        check_keys(entry["meta"], META_KEYS, META_KEYS, "meta: ")
        check_text("id", entry["id"])
        turns = _turns(entry["conversations"])
    except V2XumError as error:
        return [str(error)]
    meta, problems = entry["meta"], []
    fit = list(_meta_problems(meta, entry["vsum_onehot"]))
    problems += fit
    cited: set[str] = set()
    asked: list[str] = []
    for number in range(0, len(turns), 2):
        task = task_of(turns[number])
        if task is None:
            problems.append(f"turn {number} is none of the three instructions: {shown(turns[number])}")
            continue
        asked.append(task)
        problems += _answer_problems(turns[number + 1], task, meta["token"], cited)
    if not problems:
        told = "video" in asked or "both" in asked
        problems += _selection_problems(meta, entry["vsum_onehot"], cited if told else set(meta["token"]), told)
    return problems


def _turns(turns: Any) -> list[str]:
    """The values of a conversation, questions and answers in turn."""
    turns = checked_list("conversations", turns)
    for number, turn in enumerate(turns):
        check_keys(turn, ("from", "value"), ("from", "value"), f"turn {number}: ")
        expected = ("human", "gpt")[number % 2]
        if turn["from"] != expected:
            raise V2XumError(f"turn {number} must be from {expected!r}, got one from {shown(turn['from'])}")
        check_text(f"turn {number}", turn["value"])
    if len(turns) % 2:
        raise V2XumError(f"the last of {len(turns)} turns has no answer")
    places = [number for number, turn in enumerate(turns) for _ in range(turn["value"].count(VIDEO_TOKEN))]
    if places != [0]:
        raise V2XumError(f"expected one {VIDEO_TOKEN}, in the first turn, got it in the turns {places}")
    return [turn["value"] for turn in turns]


def task_of(question: str) -> str | None:
    """Which of the three instructions it is; `<video>` may stand before or behind it, or not at all."""
    instruction = question.replace(VIDEO_TOKEN, "", 1).strip()
    return next((task for task, words in INSTRUCTIONS.items() if words == instruction), None)


def _meta_problems(meta: dict[str, Any], onehot: Any) -> Iterator[str]:
    duration, samples, seconds = (meta[key] for key in META_KEYS)
    if not is_number(duration) or duration <= 0:
        yield f"meta.duration must be a positive number of seconds, got {shown(duration)}"
        duration = math.inf
    if type(samples) is not int or not is_number(samples) or samples < 1:
        yield f"meta.sampled_frames must be a positive integer, got {shown(samples)}"
    else:
        if duration < math.inf and abs(samples - duration) > 1:
            yield f"meta.sampled_frames is {samples}, expected one a second of {duration} s"
        right = isinstance(onehot, list) and all(type(one) is int and one in (0, 1) for one in onehot)
        if not right or len(onehot) != samples:
            yield f"vsum_onehot must be a list of {samples} times 0 or 1 (meta.sampled_frames), got " + (
                f"one of {len(onehot)}" if right else shown(onehot)
            )
    if not isinstance(seconds, dict) or isinstance(seconds, RepeatedKeys):
        yield f"meta.token must be an object in which every <fK> stands once, got {shown(seconds)}"
        return
    for token, second in seconds.items():
        if not _TOKEN.fullmatch(token):
            yield f"meta.token has the key {shown(token)}, expected <fK>"
        if not is_number(second) or not 0 <= second <= duration + _ROUNDING_SECONDS:
            yield f"meta.token: {shown(token)} must be a second of the video, 0 to {duration}, got {shown(second)}"


def _answer_problems(answer: str, task: str, seconds: Any, cited: set[str]) -> Iterator[str]:
    """What is wrong with an answer; adds what it cites."""
    name = f"the {task.upper()} answer"
    if not isinstance(seconds, dict):
        return
    found = [match[0] for match in FRAME_TOKEN.finditer(answer)]
    strange = [token for token in found if token not in seconds]
    plain = PUBLISHED.closed_list.search(answer)
    left = PLACEHOLDER.search(_TOKEN.sub("", answer))
    if strange:
        yield f"{name} cites {shown(strange[0])}, which has no second in meta.token"
    elif plain:
        yield f"{name} cites {shown(plain[0])}: expected <fK> with its second in meta.token"
    elif left:
        yield f"{name} holds {shown(left[0])}, which stands for something else"
    else:
        numbers = [int(token[2:-1]) for token in found]
        read = parse_answer(_TOKEN.sub(r"\1", answer), max(numbers, default=0) + 1, task, PUBLISHED)
        if read.problems:
            yield f"{name} cannot be read: {'; '.join(read.problems)}"
        elif set(read.frames) != set(numbers):
            yield f"{name} has <fK> outside of brackets: {shown(answer)}"
        cited.update(found)


def _selection_problems(meta: dict[str, Any], onehot: list[int], tokens: set[str], told: bool) -> Iterator[str]:
    """Where the samples of the tokens are not those that `vsum_onehot` selects; all of them where frames are told."""
    samples = {min(math.floor(meta["token"][token]), len(onehot) - 1) for token in tokens}
    selected = {sample for sample, one in enumerate(onehot) if one}
    missing, more = sorted(samples - selected), sorted(selected - samples)
    if missing:
        yield f"vsum_onehot does not select the seconds {shown(missing)}, which meta.token has"
    if told and more:
        yield f"vsum_onehot selects the seconds {shown(more)}, which no answer cites"
