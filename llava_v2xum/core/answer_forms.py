"""The forms of an answer: where a sentence has its list of frames, how that is written, known and read.

- "after": `A woman brushes her hair [42, 43, 44]. She smiles [60].` A sentence ends at its list and the stop behind it,
  nowhere else, so `Dr. Smith sits [03].` is one sentence. Lists with no stop between them belong together. Only a line
  that ends in a stop ends an uncited one.
- "before": `[05]A hand holds a small white box.` and so on, one a line. A sentence runs from its list to the next list
  or the end of the line.

The first list that has prose beside it on its own line tells the form: prose before it means "after"; prose straight
behind it, with no full stop between, means "before". A form of your own is one more entry of `FORMS`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .citations import FrameList
from .summary import PUNCTUATION, Sentence, canonical_text, ends_in_stop, split_prose, trimmed

_STOP_BEHIND_LIST = re.compile(r"\s*([.!?])")


@dataclass(frozen=True)
class AnswerForm:
    """One way to write an answer.

    Args:
        name: what settings call it.
        known_from: who writes so, behind "as" in `--help`.
        join: (canonical text, written list) -> the two as one sentence; neither is empty.
        between: what parts two such sentences.
        shown_at: (answer, its lists) -> the place among the lists of the first that shows this form, infinite if none
            does. The form that is shown first is read, of several the one that is registered first.
        read: (answer, its lists, at least one) -> the sentences.
    """

    name: str
    known_from: str
    join: Callable[[str, str], str]
    between: str
    shown_at: Callable[[str, Sequence[FrameList]], float]
    read: Callable[[str, Sequence[FrameList]], list[Sentence]]

    def sentence(self, text: str, cited: str) -> str:
        """A sentence as it is written, its text or its list possibly empty."""
        if not cited:
            return text
        return self.join(text, cited) if text else cited + "."

    def separator(self, previous: Sentence, sentence: Sentence) -> str:
        """What is written between two sentences."""
        if not previous.frames and not sentence.text:
            return "\n\n"  # a blank line keeps frames that stand alone from the sentence before them
        return self.between if previous.frames and sentence.frames else "\n"


def form_of(text: str, lists: Sequence[FrameList]) -> AnswerForm:
    """The form of an answer with at least one list: see the module's docstring."""
    return min(FORMS.values(), key=lambda form: form.shown_at(text, lists))


def _join_after(text: str, cited: str) -> str:
    body = text[:-1]
    # `He waits... [03].` keeps its dots: only a stop that reading puts back is moved behind the frames.
    body = body if text.endswith(".") and canonical_text(body) == text else text
    return f"{body} {cited}."


def _after_shown_at(text: str, lists: Sequence[FrameList]) -> float:
    for place, item in enumerate(lists):
        line_start = text.rfind("\n", 0, item.start) + 1
        before = text[max(line_start, lists[place - 1].end if place else 0) : item.start]
        if before.strip(PUNCTUATION + "\t\r"):
            return place
    return math.inf


def _read_after(text: str, lists: Sequence[FrameList]) -> list[Sentence]:
    sentences: list[Sentence] = []
    position = 0
    open_sentence = False  # the last one's list had no stop behind it: a further list still belongs to it
    for item in lists:
        chunk = text[position : item.start]
        start = _cited_prose_start(chunk)
        sentences += [Sentence(piece) for piece in split_prose(chunk[:start])]
        stop = _STOP_BEHIND_LIST.match(text, item.end)
        if open_sentence and not canonical_text(chunk):
            last = sentences.pop()
            sentences.append(Sentence(last.text, last.frames + item.frames))
        else:
            prose = trimmed(chunk[start:])
            if stop is not None and prose and not ends_in_stop(prose):
                prose += stop[1]  # `Is it he [03]?`
            sentences.append(Sentence(prose, item.frames))
        position = stop.end() if stop else item.end
        open_sentence = stop is None
    return sentences + [Sentence(piece) for piece in split_prose(text[position:])]


def _cited_prose_start(chunk: str) -> int:
    """Where in the text before a list its own sentence begins: behind the last line that ends in a stop."""
    body = chunk.rstrip()
    if chunk[len(body) :].count("\n") > 1:
        return len(chunk)  # a blank line parts the list from what stands before it
    start = line_start = 0
    for line in body.split("\n")[:-1]:
        line_start += len(line) + 1
        if ends_in_stop(line.rstrip()):
            start = line_start
    return start


def _join_before(text: str, cited: str) -> str:
    return cited + text


def _before_shown_at(text: str, lists: Sequence[FrameList]) -> float:
    for place in range(len(lists)):
        if _begins_prose(_behind(text, lists, place).partition("\n")[0]):
            return place
    leads = not text[: lists[0].start].strip()
    # `[05]\nA hand`: no list has prose on its own line
    return len(lists) if leads and _begins_prose(_behind(text, lists, 0)) else math.inf


def _begins_prose(behind: str) -> bool:
    return behind.lstrip()[:1] not in ("", *PUNCTUATION)


def _behind(text: str, lists: Sequence[FrameList], place: int) -> str:
    """What stands between a list and the next, or the end."""
    return text[lists[place].end : lists[place + 1].start if place + 1 < len(lists) else len(text)]


def _read_before(text: str, lists: Sequence[FrameList]) -> list[Sentence]:
    sentences = [Sentence(piece) for piece in split_prose(text[: lists[0].start])]
    frames: tuple[int, ...] = ()
    for place, item in enumerate(lists):
        segment = _behind(text, lists, place)
        frames += item.frames
        stop = _STOP_BEHIND_LIST.match(segment)
        if not segment.strip() and place + 1 < len(lists):
            continue  # `[05] [06]A hand`: both belong to the sentence
        line, _, rest = ("", "", segment[stop.end() :]) if stop else segment.strip().partition("\n")
        sentences += [Sentence(line, frames), *(Sentence(piece) for piece in split_prose(rest))]
        frames = ()
    return sentences


FORMS = {
    form.name: form
    for form in (
        AnswerForm("after", "the released models write", _join_after, " ", _after_shown_at, _read_after),
        AnswerForm("before", "Instruct-V2Xum has it", _join_before, "\n", _before_shown_at, _read_before),
    )
}
