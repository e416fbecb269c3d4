"""Answer text -> Summary -> answer text.

The form is decided from the text itself (`answer_forms`), the brackets are those of the citation grammar (`citations`).
"""

from __future__ import annotations

import re

from .answer_forms import FORMS, form_of
from .citations import CitationGrammar, excerpt
from .errors import V2XumError
from .noise import noise_in
from .summary import Sentence, Summary, split_prose
from .tasks import TASKS
from .timeline import DEFAULT_NUM_FRAMES, Timeline

_TIMELINE = Timeline()


def parse_answer(
    text: str,
    num_frames: int = DEFAULT_NUM_FRAMES,
    task: str | None = None,
    grammar: CitationGrammar | None = None,
) -> Summary:
    """Read a generated answer, of any form. It never fails on what a model writes: it lists problems.

    Args:
        text: the answer.
        num_frames: N; indexes outside 0..N-1 are listed as problems and are not among the frames.
        task: "video", "text" or "both" adds what the task asks for to the checks; None checks the form alone.
        grammar: how frames are cited (default: by the default template, with more digits if N needs them). On its
            digits depends only the last index of an answer that was cut off: `[03, 0` does not cite frame 0.

    Raises:
        V2XumError: if the task is not one of the three, or num_frames is not positive.
    """
    if task is not None and task not in TASKS:
        raise V2XumError(f"task must be one of {', '.join(TASKS)} or None, got {task!r}")
    if num_frames < 1:
        raise V2XumError(f"num_frames must be at least 1, got {num_frames}")
    problems: list[str] = []
    lists = list((grammar or Timeline.of(num_frames).citations).find(text, num_frames, problems))
    sentences = form_of(text, lists).read(text, lists) if lists else map(Sentence, split_prose(text))
    summary = Summary(tuple(sentences))
    cites = any(re.search("[0-9]", text[item.start : item.end]) for item in lists)
    problems += _task_problems(summary, task, cites) + noise_in(text, summary.text)
    return Summary(summary.sentences, tuple(dict.fromkeys(problems)))


def format_answer(summary: Summary, form: str = "after", timeline: Timeline = _TIMELINE) -> str:
    """Write a summary as an answer of any form; `parse_answer` reads the same summary back.

    Not every summary can be written so that it reads back: text that itself holds a list (`[05]`) or an
    unpaired bracket, and a sentence without frames that holds two, cannot.

    Args:
        form: "after" (frames behind the sentence) or "before" (in front of it), see `answer_forms.py`.
        timeline: says how frames are cited.

    Raises:
        V2XumError: if the form is none of `FORMS`, or a frame lies outside 0..N-1.
    """
    if form not in FORMS:
        raise V2XumError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    outside = [frame for frame in summary.frames if not 0 <= frame < timeline.num_frames]
    if outside:
        raise V2XumError(f"frames must lie in 0..{timeline.num_frames - 1}, got {outside}")
    if not summary.frames:
        texts = [sentence.text for sentence in summary.sentences]
        joined = " ".join(texts)
        return joined if split_prose(joined) == texts else "\n".join(texts)
    written, answer = FORMS[form], ""
    previous: Sentence | None = None
    for sentence in summary.sentences:
        if previous is not None:
            answer += written.separator(previous, sentence)
        cited = timeline.citations.write(sentence.frames) if sentence.frames else ""
        answer += written.sentence(sentence.text, cited)
        previous = sentence
    return answer


def _task_problems(summary: Summary, task: str | None, cites: bool) -> list[str]:
    if not summary.sentences and not cites:
        return ["the answer is empty"]
    problems = []
    if task == "text" and cites:
        problems.append("a TEXT answer cites frames")
    if task == "video" and summary.text:
        problems.append(f"a VIDEO answer holds prose: {excerpt(summary.text)}")
    if task in ("video", "both") and not cites:
        problems.append(f"a {task.upper()} answer cites no frame")
    if task in ("text", "both") and not summary.text:
        problems.append(f"a {task.upper()} answer holds no prose")
    return problems
