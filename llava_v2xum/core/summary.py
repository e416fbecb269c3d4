"""Summary and Sentence: answer text -> Summary -> answer text.

Two answer forms are read, and the form is decided from the text itself:

- "after": `A woman brushes her hair [42, 43, 44]. She smiles [60].` Frames follow the sentence (released
  models).
- "before": `[05]A hand holds a small white box.` and so on, one a line. The frame comes first
  (Instruct-V2Xum).

A list is a pair of brackets with frame indexes in it. The first list that has prose beside it on its own line
decides: prose before it means "after"; prose straight behind it, with no full stop between, means "before".

Rules for what lies between the lists:

- "after": a sentence ends at its list and the stop behind it, nowhere else, so `Dr. Smith sits [03].` is one
  sentence. Lists with no stop between them belong together. Only a line that ends in a stop ends an uncited
  one.
- "before": a sentence runs from its list to the next list or the end of the line.
- Prose that belongs to no list (a text-only answer, or what follows the last list) is split at line ends and
  at `.`, `!` or `?` before a blank and a capital letter, except after a few titles (`Dr. Smith`).
- Brackets without digits, such as `[music]`, are prose as captions have it, and no problem. Brackets with
  digits that are not indexes (`[05-09]`, `[f00]`) stay in the prose too, but are listed as a problem.
- `[5]` means `[05]`. Indexes that do not ascend are kept as written and are no problem (real models do that).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from .errors import V2XumError
from .tasks import TASKS
from .timeline import DEFAULT_NUM_FRAMES, Timeline

FORMS = ("after", "before")

_TIMELINE = Timeline()
_BRACKET = re.compile(r"\[([^\[\]]*)(\]?)|\]")
_INDEX_LIST = re.compile(r"\s*[0-9]+(?:\s*,\s*[0-9]+)*\s*")
_STOP_BEHIND_LIST = re.compile(r"\s*([.!?])")
_ENDS_IN_STOP = re.compile(r"[.!?\u2026][\"'\u201d\u2019)\]]*$")
_STOP_THEN_BLANK = re.compile(r"[.!?][\"'\u201d\u2019)]*(\s+)[\"'\u201c\u2018(]*(?=[^\W\d_])")
_TITLES = ("Dr.", "Mr.", "Mrs.", "Ms.", "St.", "Prof.", "Jr.", "Sr.", "vs.")
_PUNCTUATION = " .,;:!?]"  # never begins a sentence: what is left of the separators between lists
_SHOWN_CHARACTERS = 40  # of an offending piece of the answer, in a problem


@lru_cache(maxsize=4096)  # the converter asks for the same sentences of every task and annotator
def canonical_text(text: str) -> str:
    """The one way a sentence is kept: single blanks, no leading punctuation, a stop at its end.

    `A man runs`, `A man runs .` and ` A man\\n runs.` must not be three different sentences: an answer writes
    its stop behind the frames, a person in front of them or not at all.
    """
    text = " ".join(text.split()).lstrip(_PUNCTUATION).rstrip(" ,;:")
    text = re.sub(r" ([.!?])$", r"\1", text)
    return text if not text or _ENDS_IN_STOP.search(text) else text + "."


@dataclass(frozen=True)
class Sentence:
    """One sentence and the frames it cites.

    Args:
        text: kept in its canonical form (`canonical_text`); empty for frames alone (VIDEO answers).
        frames: the cited frame indexes, in the order of the answer.
    """

    text: str
    frames: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", canonical_text(self.text))
        object.__setattr__(self, "frames", tuple(int(frame) for frame in self.frames))


@dataclass(frozen=True)
class Summary:
    """What an answer says: sentences, and the problems found in reading it.

    Two summaries are equal when their sentences are. Problems tell of the answer that was read, not of what
    was understood from it, so they take no part: a summary built by hand equals the one read from its text.

    Args:
        sentences: those that have neither text nor frames are left out.
        problems: one line each, for people.
    """

    sentences: tuple[Sentence, ...]
    problems: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sentences", tuple(s for s in self.sentences if s.text or s.frames))
        object.__setattr__(self, "problems", tuple(self.problems))

    @property
    def frames(self) -> tuple[int, ...]:
        """Every cited frame index once, ascending."""
        return tuple(sorted({frame for sentence in self.sentences for frame in sentence.frames}))

    @property
    def text(self) -> str:
        """The sentences, joined by one blank."""
        return " ".join(sentence.text for sentence in self.sentences if sentence.text)


@dataclass(frozen=True)
class _List:
    """A list of frame indexes at text[start:end]; frames are those inside 0..N-1."""

    start: int
    end: int
    frames: tuple[int, ...]


def parse_answer(
    text: str, num_frames: int = DEFAULT_NUM_FRAMES, task: str | None = None, digits: int | None = None
) -> Summary:
    """Read a generated answer, of either form. It never fails on what a model writes: it lists problems.

    Args:
        text: the answer.
        num_frames: N; indexes outside 0..N-1 are listed as problems and are not among the frames.
        task: "video", "text" or "both" adds what the task asks for to the checks; None checks the form alone.
        digits: how many digits a temporal prompt has (default: the default template's, or more if N needs
            them). Only the last index of an answer that was cut off depends on it: `[03, 0` does not cite
            frame 0.

    Raises:
        V2XumError: if the task is not one of the three, or num_frames is not positive.
    """
    if task is not None and task not in TASKS:
        raise V2XumError(f"task must be one of {', '.join(TASKS)} or None, got {task!r}")
    if num_frames < 1:
        raise V2XumError(f"num_frames must be at least 1, got {num_frames}")
    digits = digits or max(_TIMELINE.digits, len(str(num_frames - 1)))
    problems: list[str] = []
    lists = list(_find_lists(text, num_frames, digits, problems))
    if not lists:
        sentences = [Sentence(prose) for prose in _split_prose(text)]
    elif _form(text, lists) == "before":
        sentences = _read_before(text, lists)
    else:
        sentences = _read_after(text, lists)
    summary = Summary(tuple(sentences))
    cites = any(re.search("[0-9]", text[item.start : item.end]) for item in lists)
    problems += _task_problems(summary, task, cites)
    return Summary(summary.sentences, tuple(problems))


def format_answer(summary: Summary, form: str = "after", timeline: Timeline = _TIMELINE) -> str:
    """Write a summary as an answer of either form; `parse_answer` reads the same summary back.

    Not every summary can be written so that it reads back: text that itself holds a list (`[05]`) or an
    unpaired bracket, and a sentence without frames that holds two, cannot.

    Args:
        form: "after" (frames behind the sentence) or "before" (in front of it).
        timeline: says how many digits an index has.

    Raises:
        V2XumError: if the form is neither, or a frame lies outside 0..N-1.
    """
    if form not in FORMS:
        raise V2XumError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    outside = [frame for frame in summary.frames if not 0 <= frame < timeline.num_frames]
    if outside:
        raise V2XumError(f"frames must lie in 0..{timeline.num_frames - 1}, got {outside}")
    if not summary.frames:
        texts = [sentence.text for sentence in summary.sentences]
        joined = " ".join(texts)
        return joined if _split_prose(joined) == texts else "\n".join(texts)
    answer = ""
    previous: Sentence | None = None
    for sentence in summary.sentences:
        if previous is not None:
            answer += _separator(previous, sentence, form)
        answer += _format_sentence(sentence, form, timeline)
        previous = sentence
    return answer


def _format_sentence(sentence: Sentence, form: str, timeline: Timeline) -> str:
    cited = (
        "[" + ", ".join(timeline.cite(frame) for frame in sentence.frames) + "]" if sentence.frames else ""
    )
    if not cited:
        return sentence.text
    if not sentence.text:
        return cited + "."
    if form == "before":
        return cited + sentence.text
    body = sentence.text[:-1]
    # `He waits... [03].` keeps its dots: only a stop that reading puts back is moved behind the frames.
    body = body if sentence.text.endswith(".") and canonical_text(body) == sentence.text else sentence.text
    return f"{body} {cited}."


def _separator(previous: Sentence, sentence: Sentence, form: str) -> str:
    if not previous.frames and not sentence.text:
        return "\n\n"  # a blank line keeps frames that stand alone from the sentence before them
    return "\n" if form == "before" or not (previous.frames and sentence.frames) else " "


def _find_lists(text: str, num_frames: int, digits: int, problems: list[str]) -> Iterator[_List]:
    """Yield the lists of the answer and append what is wrong with any bracket to `problems`."""
    for match in _BRACKET.finditer(text):
        content, closed = match[1], bool(match[2])
        if content is None:
            problems.append(
                f"a closing bracket without an opening one: {_shown(text[: match.end()], last=True)}"
            )
        elif not closed:
            problems.append(f"an open bracket: {_shown(match[0])}")
            run = _open_run(content)
            if run or not content.strip():
                end = match.start() + 1 + len(run)
                if end == len(text):
                    run = _without_cut_off_index(run, digits, problems)
                yield _List(match.start(), end, _indexes(run, num_frames, problems))
        elif re.fullmatch(r"[0-9,\s]*[0-9][0-9,\s]*", content):
            if not _INDEX_LIST.fullmatch(content):
                problems.append(f"indexes that are not parted by single commas: {_shown(match[0])}")
            yield _List(match.start(), match.end(), _indexes(content, num_frames, problems))
        elif not content.strip() or re.search("[0-9]", content):
            problems.append(f"brackets that hold no list of frame indexes, kept as prose: {_shown(match[0])}")


def _open_run(content: str) -> str:
    """The indexes behind an open bracket, or nothing if it opens on prose such as `[05-09` or `[music`."""
    run = re.match(r"[0-9,\s]*", content)[0]
    behind = content[len(run) :]
    if not re.search("[0-9]", run) or (behind and run[-1].isdigit() and behind[0] not in ".!?"):
        return ""
    return run


def _without_cut_off_index(run: str, digits: int, problems: list[str]) -> str:
    """Drop the last index where the answer was cut off inside it: what is left of it is not an index."""
    last = re.search("[0-9]*$", run)
    if not 0 < len(last[0]) < digits:
        return run
    problems.append(f"a cut-off index: {last[0]!r} at the end of the answer")
    return run[: last.start()]


def _indexes(content: str, num_frames: int, problems: list[str]) -> tuple[int, ...]:
    frames = []
    for number in re.findall("[0-9]+", content):
        # Lengths first: a runaway model writes numbers that int() refuses to read.
        significant = number.lstrip("0") or "0"
        if len(significant) > len(str(num_frames)) or int(significant) >= num_frames:
            problems.append(f"index {_shown(number, quoted=False)} lies outside 0..{num_frames - 1}")
        else:
            frames.append(int(significant))
    return tuple(frames)


def _form(text: str, lists: list[_List]) -> str:
    """ "before" or "after": see the module's docstring."""
    for position, item in enumerate(lists):
        line_start = text.rfind("\n", 0, item.start) + 1
        before = text[max(line_start, lists[position - 1].end if position else 0) : item.start]
        if before.strip(_PUNCTUATION + "\t\r"):
            return "after"
        if _prose_behind(text, lists, position, same_line=True):
            return "before"
    leads = not text[: lists[0].start].strip()
    return "before" if leads and _prose_behind(text, lists, 0, same_line=False) else "after"


def _prose_behind(text: str, lists: list[_List], position: int, same_line: bool) -> bool:
    end = lists[position + 1].start if position + 1 < len(lists) else len(text)
    behind = text[lists[position].end : end]
    behind = (behind.partition("\n")[0] if same_line else behind).lstrip()
    return bool(behind) and behind[0] not in _PUNCTUATION


def _read_after(text: str, lists: list[_List]) -> list[Sentence]:
    sentences: list[Sentence] = []
    position = 0
    open_sentence = (
        False  # the last sentence's list had no stop behind it: a further list still belongs to it
    )
    for item in lists:
        chunk = text[position : item.start]
        start = _cited_prose_start(chunk)
        sentences += [Sentence(piece) for piece in _split_prose(chunk[:start])]
        stop = _STOP_BEHIND_LIST.match(text, item.end)
        if open_sentence and not canonical_text(chunk):
            last = sentences.pop()
            sentences.append(Sentence(last.text, last.frames + item.frames))
        else:
            sentences.append(_close(chunk[start:], stop[1] if stop else "", item.frames))
        position = stop.end() if stop else item.end
        open_sentence = stop is None
    return sentences + [Sentence(piece) for piece in _split_prose(text[position:])]


def _cited_prose_start(chunk: str) -> int:
    """Where in the text before a list its own sentence begins: behind the last line that ends in a stop."""
    body = chunk.rstrip()
    if chunk[len(body) :].count("\n") > 1:
        return len(chunk)  # a blank line parts the list from what stands before it
    start = line_start = 0
    for line in body.split("\n")[:-1]:
        line_start += len(line) + 1
        if _ENDS_IN_STOP.search(line.rstrip()):
            start = line_start
    return start


def _close(prose: str, stop: str, frames: tuple[int, ...]) -> Sentence:
    """A sentence whose stop stands behind its list: `Is it he [03]?`."""
    prose = " ".join(prose.split()).lstrip(_PUNCTUATION).rstrip(" ,;:")
    return Sentence(prose if not prose or _ENDS_IN_STOP.search(prose) else prose + stop, frames)


def _read_before(text: str, lists: list[_List]) -> list[Sentence]:
    sentences = [Sentence(piece) for piece in _split_prose(text[: lists[0].start])]
    frames: tuple[int, ...] = ()
    for position, item in enumerate(lists):
        end = lists[position + 1].start if position + 1 < len(lists) else len(text)
        segment = text[item.end : end]
        frames += item.frames
        stop = _STOP_BEHIND_LIST.match(segment)
        if not segment.strip() and position + 1 < len(lists):
            continue  # `[05] [06]A hand`: both belong to the sentence
        line, _, rest = ("", "", segment[stop.end() :]) if stop else segment.strip().partition("\n")
        sentences += [Sentence(line, frames), *(Sentence(piece) for piece in _split_prose(rest))]
        frames = ()
    return sentences


def _split_prose(prose: str) -> list[str]:
    """Split prose that no list belongs to into canonical sentences: see the module's docstring."""
    pieces = []
    for line in prose.splitlines():
        start = 0
        for match in _STOP_THEN_BLANK.finditer(line):
            if line[match.end()].isupper() and not line[: match.start() + 1].endswith(_TITLES):
                pieces.append(line[start : match.start(1)])
                start = match.start(1)
        pieces.append(line[start:])
    return [text for text in map(canonical_text, pieces) if text]


def _task_problems(summary: Summary, task: str | None, cites: bool) -> list[str]:
    if not summary.sentences and not cites:
        return ["the answer is empty"]
    problems = []
    if task == "text" and cites:
        problems.append("a TEXT answer cites frames")
    if task == "video" and summary.text:
        problems.append(f"a VIDEO answer holds prose: {_shown(summary.text)}")
    if task in ("video", "both") and not cites:
        problems.append(f"a {task.upper()} answer cites no frame")
    if task in ("text", "both") and not summary.text:
        problems.append(f"a {task.upper()} answer holds no prose")
    return problems


def _shown(text: str, last: bool = False, quoted: bool = True) -> str:
    if len(text) > _SHOWN_CHARACTERS:
        text = "..." + text[-_SHOWN_CHARACTERS:] if last else text[:_SHOWN_CHARACTERS] + "..."
    return repr(text) if quoted else text
