"""The answers that training learns, read by the parser that reads a model's: what would teach it a fault is found.

Each kind of finding has a default, to refuse the entry or to warn of it, with its reason. Refused is what inference
counts as a problem, and what tells a model two things at once; warned of is what published data and real models have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..core.answers import parse_answer
from ..core.citations import CitationGrammar, FrameList, excerpt
from ..core.errors import V2XumError
from ..core.noise import LOOP
from ..core.special_tokens import LEAKED
from ..core.tasks import TASKS, VIDEO_TOKEN
from ..core.timeline import Timeline

REFUSE, WARN = "refuse", "warn"


@dataclass(frozen=True)
class Kind:
    """A kind of finding: what is done with such an entry, and why."""

    default: str
    reason: str


KINDS: Mapping[str, Kind] = MappingProxyType({
    "outside": Kind(REFUSE, "an index outside 0..N-1 is a frame that the video does not have"),
    "open bracket": Kind(REFUSE, "a list without its end teaches answers that cannot be read"),
    "digits": Kind(REFUSE, "an index in other digits than the temporal prompts' is not the prompt that it names"),
    "no citation": Kind(REFUSE, "VIDEO and BOTH ask for frames"),
    "text cites": Kind(REFUSE, "TEXT asks for none"),
    "video prose": Kind(REFUSE, "VIDEO asks for frames alone"),
    "no video": Kind(REFUSE, "a summary of a video that is not shown is made up"),
    "control characters": Kind(REFUSE, "NUL and its like are damage, and become tokens of their own"),
    "template": Kind(REFUSE, "another turn's beginning or a template's token inside an answer teaches to go on in it"),
    "loop": Kind(REFUSE, "an answer that goes round in circles teaches that"),
    "no prose": Kind(WARN, "a BOTH or TEXT answer without a sentence can be read, and says little"),
    "brackets": Kind(WARN, "brackets with digits that are no list stand in captions; they are read as prose"),
    "separator": Kind(WARN, "indexes without single commas between them are read, and written otherwise"),
    "descending": Kind(WARN, "real models write it, and it is read as it stands"),
    "repeated index": Kind(WARN, "it is read, and weighs a frame twice"),
    "mixed forms": Kind(WARN, "frames before and behind their sentences in one answer: some may go to the wrong one"),
    "numbers": Kind(WARN, "rows of numbers in prose may be lists that lost their brackets"),
    "duplicate": Kind(WARN, "said twice it counts twice, which --data_weights does on purpose"),
})  # fmt: skip

_OF_PROBLEMS = (  # how a problem of `parse_answer` begins -> its kind
    (r"a closing bracket without|an open bracket|a cut-off index", "open bracket"),
    (r"index \S+ lies outside|\d+ indexes lie outside", "outside"),
    (r"indexes that are not parted by", "separator"),
    (r"brackets that hold no list of frame indexes, kept as prose: ['\"]\W[\d\s.,:;-]+\W['\"]", "digits"),
    (r"brackets that hold no list of frame indexes", "brackets"),
    (r"a TEXT answer cites frames", "text cites"),
    (r"a VIDEO answer holds prose", "video prose"),
    (r"a \w+ answer cites no frame", "no citation"),
    (r"a \w+ answer holds no prose|the answer is empty", "no prose"),
    (re.escape(LOOP), "loop"),
    (r"numbers stand in the prose", "numbers"),
)
_ASKS = re.compile(rf"\b({'|'.join(task.upper() for task in TASKS)})\b.*?\bsummari[sz]ation")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ROLE = re.compile(r"(?:^|\s)(?:USER|ASSISTANT|Human|Assistant):")
_STOP_OR_END = re.compile(r"\s*(?:[.!?]|$)", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """Something wrong with an answer: of which kind, what exactly, and the task that was asked (None: no such one)."""

    kind: str
    reason: str
    task: str | None = None


def task_asked(question: str) -> str | None:
    """The task of a human turn, or None if it asks for no summary of a video."""
    found = _ASKS.search(question)
    return found and found[1].lower()


def findings_in(turns: Sequence[Mapping[str, str]], videos: int, timeline: Timeline) -> Iterator[Finding]:
    """What is wrong with the answers of a conversation.

    Args:
        turns: human and gpt in turn, `<fK>` already indexes.
        videos: how many it shows; of one without a video only the characters are looked at.
        timeline: of the model.
    """
    for position, turn in enumerate(turns):
        control = _CONTROL.search(turn["value"])
        if control:
            yield Finding("control characters", f"turn {position}: the text holds {control[0]!r}")
        if position % 2 == 0:
            task = task_asked(turn["value"])
            if task and not videos:
                yield Finding("no video", f"turn {position}: asks for a summary without {VIDEO_TOKEN}", task)
        elif videos:
            yield from (
                Finding(kind, f"turn {position}: {reason}", task)
                for kind, reason in _of_answer(turn["value"], task if videos == 1 else None, timeline)
            )


def _of_answer(answer: str, task: str | None, timeline: Timeline) -> Iterator[tuple[str, str]]:
    """Kind and reason of all that is wrong with one answer."""
    grammar = timeline.citations
    for leak in (LEAKED.search(answer), _ROLE.search(answer)):
        if leak:
            yield "template", f"the answer holds {leak[0].strip()!r}"
    for problem in parse_answer(answer, timeline.num_frames, task, grammar).problems:
        yield kind_of_problem(problem), problem
    lists = list(grammar.find(answer, timeline.num_frames, []))
    for found in lists:
        yield from _of_list(answer[found.start : found.end], found, grammar)
    if _is_mixed(answer, lists):
        yield "mixed forms", f"frames stand before one sentence and behind another: {excerpt(answer)}"


def kind_of_problem(problem: str) -> str:
    """The kind of a problem that the parser lists.

    Raises:
        LookupError: if the parser has learnt a new one, which this table must know.
    """
    for begins, kind in _OF_PROBLEMS:
        if re.match(begins, problem):
            return kind
    raise LookupError(f"no kind is known for the problem {problem!r}")


def _of_list(written: str, found: FrameList, grammar: CitationGrammar) -> Iterator[tuple[str, str]]:
    odd = next((number for number in re.findall("[0-9]+", written) if len(number) != grammar.digits), None)
    if odd is not None:
        yield "digits", f"{excerpt(written)}: expected {grammar.digits} digits, got {excerpt(odd)}"
    if len(set(found.frames)) < len(found.frames):
        yield "repeated index", f"{excerpt(written)} cites a frame twice"
    if list(found.frames) != sorted(found.frames):
        yield "descending", f"{excerpt(written)} does not ascend"


def _is_mixed(answer: str, lists: Sequence[FrameList]) -> bool:
    """Whether one list stands right before its sentence, and another at the end of its own."""
    before = any(answer[found.end : found.end + 1].isalnum() for found in lists)
    return before and any(_ends_sentence(answer, found) for found in lists)


def _ends_sentence(answer: str, found: FrameList) -> bool:
    line = answer[answer.rfind("\n", 0, found.start) + 1 : found.start]
    return bool(_STOP_OR_END.match(answer, found.end)) and any(map(str.isalpha, re.split(r"[.!?]\s|\]", line)[-1]))


def check_kinds(kinds: Iterable[str]) -> None:
    """Refuse names of kinds that there are not.

    Raises:
        V2XumError: naming them.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise V2XumError(f"--warn_only: expected kinds of findings ({', '.join(KINDS)}), got {', '.join(unknown)}")
