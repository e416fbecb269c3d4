"""What was found of a video -> its entries of Instruct-V2Xum's JSON, and the files of what was kept and rejected.

A key frame is a line of its prompt and its sentence, as published. VIDEO leaves the sentences away, TEXT the prompts:

    both    "\\n[<f0>]A hand holds a box.\\n[<f1>]It is turned.\\n"
    video   "\\n[<f0>]\\n[<f1>]\\n"
    text    "\\nA hand holds a box.\\nIt is turned.\\n"

`<fK>` is the K-th key frame, and its second stands in `meta.token`; the entries of one video share id, meta and
vsum_onehot. Data hold seconds, no indexes: training replaces `<fK>` by the index of its second for the model's own N.
At N = 100 no two seconds of a video under 100 s have one index; of a longer one neighbours may (940 s: 9.4 seconds an
index), and training then reads `[05]` twice: two sentences of BOTH that cite one frame, and an index that VIDEO says
twice, which `Summary.frames` counts once. Nothing is dropped for it here, as nothing is in the published data.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.answers import parse_answer
from ...core.atomic import replacing
from ...core.checks import check_text, is_frame, is_number
from ...core.citations import BRACKETS, FRAME_TOKEN, PUBLISHED, frame_token
from ...core.errors import V2XumError
from ...core.readers import shown
from ...core.special_tokens import without_leaked_ends
from ...core.summary import Sentence, canonical_text
from ...core.tasks import TASKS, query_for
from ..store.stage import Rejected

ENTRY_TASKS = ("both", "video", "text")  # the published task first, as the converter orders them
MAX_CHARACTERS = 4000  # of a sentence: our choice; a caption in detail has about 600, a model that runs on has no end

_ROUND = str.maketrans({bracket: side for pair in ("<>", *BRACKETS.items()) for bracket, side in zip(pair, "()")})
_SPEAKER = re.compile(r"\b(USER|ASSISTANT|SYSTEM)\s*:")
_BLANK_BEFORE_STOP = re.compile(r" +(?=[.!?]+(?:\s|$))")
_JOINERS = "\u200c\u200d"  # invisible, but Persian, Hindi and emoji are spelt with them


def clean_text(text: str) -> str:
    """The one form in which a model's text is written: what it says, and nothing that would be read as more.

    - Special tokens that were left at its ends go.
    - Square and angle brackets become round ones: `[05]`, `<f3>`, `<video>`, `<image>` and `</s>` stand for something.
    - Line breaks and control characters become blanks; invisible characters that turn or hide text, and halves of
      surrogate pairs, go.
    - `ASSISTANT:` and the like lose their colon: LLaVA finds a conversation's answers by them.
    - The rest is `summary.canonical_text`: single blanks, no leading punctuation, a stop at the end.
    """
    text = "".join(map(_visible, without_leaked_ends(text))).translate(_ROUND)
    text = _SPEAKER.sub(r"\1", " ".join(text.split()))
    return canonical_text(_BLANK_BEFORE_STOP.sub("", text))


def sentences_of(video_id: str, results: Mapping[str, Any]) -> list[str]:
    """A video's sentences as they are written, one for each kept frame.

    Raises:
        Rejected: if one has no words left, or never ends.
        V2XumError: naming the video, if the results are not those of its stages.
    """
    _check_results(video_id, results)
    texts = []
    for place, raw in enumerate(results["refine"]["sentences"]):
        if len(raw) > MAX_CHARACTERS:
            raise Rejected(
                "text too long", f"sentence {place} has {len(raw)} characters, expected at most {MAX_CHARACTERS}"
            )
        texts.append(clean_text(raw))
        if not re.search(r"\w", texts[-1]):
            raise Rejected("no text", f"sentence {place} has no words: {shown(raw)}")
    return texts


def entries_of(
    video_id: str, results: Mapping[str, Any], tasks: Sequence[str] = ENTRY_TASKS
) -> list[dict[str, Any]]:
    """The entries of one video, one for each task, in the order of the tasks.

    Args:
        video_id: of all of them.
        results: of its stages, by their names: select, filter and refine.
        tasks: of `tasks.TASKS`.

    Raises:
        Rejected: if its id is no text, or its text cannot be written so that it reads back as the same sentences and
            frames.
        V2XumError: if a task is unknown, or, naming the video, if the results are not those of its stages.
    """
    if not tasks or set(tasks) - set(TASKS) or len(set(tasks)) < len(tasks):
        raise V2XumError(f"tasks must be of {', '.join(TASKS)}, each once, got {', '.join(tasks) or 'none'}")
    try:
        check_text("the id", video_id)
    except V2XumError as error:  # a file's name in no encoding
        raise Rejected("id", str(error)) from error
    texts = sentences_of(video_id, results)
    frames, samples = results["filter"]["frames"], results["select"]["sampled_frames"]
    meta: dict[str, Any] = {
        "duration": float(results["select"]["duration"]),
        "sampled_frames": samples,
        "token": {frame_token(place): float(frame) for place, frame in enumerate(frames)},
    }
    chosen = set(frames)
    entries: list[dict[str, Any]] = []
    for task in tasks:
        turns = [
            {"from": "human", "value": query_for(task, separator="\n")},
            {"from": "gpt", "value": _answer(task, texts)},
        ]
        onehot = [int(second in chosen) for second in range(samples)]
        token = dict(meta["token"])
        entries.append(
            {"id": video_id, "meta": {**meta, "token": token}, "conversations": turns, "vsum_onehot": onehot}
        )
    return entries


def write_entries(path: str | os.PathLike[str], entries: Iterable[Mapping[str, Any]]) -> int:
    """Write a file of instruction JSON, an entry a line, whole or not at all; returns how many.

    Without any entry there is no file, nor one of an earlier run: training takes no empty set.

    Raises:
        V2XumError: if a text is no valid Unicode, or a number not finite.
        OSError: if the file cannot be written.
    """
    count = 0
    with replacing(path) as part:
        with open(part, "w", encoding="utf-8") as file:
            for count, entry in enumerate(entries, 1):
                file.write(("[\n" if count == 1 else ",\n") + json.dumps(entry, ensure_ascii=False, allow_nan=False))
            file.write("\n]\n")
    if not count:
        Path(path).unlink()
    return count


@dataclass(frozen=True)
class RejectedVideo:
    """A video that fell out.

    Args:
        video_id: its id.
        stage: where it fell out.
        kind, reason: as `store.stage.Rejected` has them.
    """

    video_id: str
    stage: str
    kind: str
    reason: str


def write_rejected(path: str | os.PathLike[str], rejected: Iterable[RejectedVideo]) -> int:
    """Write a line of `{"video_id", "stage", "kind", "reason"}` for each video, in the order of the ids.

    The file is there whole or not at all; returns how many lines it has.

    Raises:
        OSError: if the file cannot be written.
    """
    rows = sorted(map(asdict, rejected), key=lambda row: tuple(row.values()))
    # An id may be a file's name in no encoding; backslashreplace writes it as the escape that JSON has for it.
    with replacing(path) as part, open(part, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return len(rows)


def _visible(character: str) -> str:
    kind = unicodedata.category(character)
    if kind in ("Cc", "Zl", "Zp"):
        return " "
    return "" if kind in ("Cf", "Cs") and character not in _JOINERS else character


def _answer(task: str, texts: Sequence[str]) -> str:
    """The answer, checked to read back.

    Raises:
        Rejected: if it does not.
    """
    lines = []
    for place, text in enumerate(texts):
        cited = PUBLISHED.bracketed([frame_token(place)])
        lines.append({"both": cited + text, "video": cited, "text": text}[task])
    answer = "\n" + "\n".join(lines) + "\n"
    read = parse_answer(FRAME_TOKEN.sub(r"\1", answer), len(texts), task, PUBLISHED)
    expected = {
        "both": tuple(Sentence(text, (place,)) for place, text in enumerate(texts)),
        "video": (Sentence("", tuple(range(len(texts)))),),
        "text": read.sentences,  # prose may be cut elsewhere: two sentences in one line
    }[task]
    same = read.sentences == expected and (task != "text" or (read.text == " ".join(texts) and not read.frames))
    if read.problems or not same:
        why = "; ".join(read.problems) or f"{shown(answer)} says something else"
        raise Rejected("does not read back", f"the {task.upper()} answer does not read back: {why}")
    return answer


def _check_results(video_id: str, results: Mapping[str, Any]) -> None:
    duration, samples = (results["select"][name] for name in ("duration", "sampled_frames"))
    frames, sentences = results["filter"]["frames"], results["refine"]["sentences"]
    if not is_number(duration) or duration <= 0 or type(samples) is not int or not 1 <= samples <= max(1, duration):
        raise V2XumError(f"{video_id}: {samples!r} sampled frames do not fit a duration of {duration!r} s")
    if not frames or not all(is_frame(frame, samples) for frame in frames) or frames != sorted(set(frames)):
        raise V2XumError(f"{video_id}: expected ascending frames from 0 to {samples - 1}, got {shown(frames)}")
    if len(sentences) != len(frames) or not all(isinstance(text, str) for text in sentences):
        raise V2XumError(f"{video_id}: expected {len(frames)} sentences, one for each frame, got {shown(sentences)}")
