"""How an answer cites frames: `[42, 43, 44]`. What writes, finds, drafts or weighs citations asks here.

A list is a pair of brackets with frame indexes in it. Brackets without digits, such as `[music]`, are prose as captions
have it, and no problem. Brackets with digits that are not indexes (`[05-09]`, `[f00]`) stay in the prose too, but are
listed as a problem. `[5]` means `[05]`. Indexes that do not ascend are kept as written and are no problem (real models
do that).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from .errors import V2XumError
from .special_tokens import SPECIAL_TOKENS
from .tasks import VIDEO_TOKEN

BRACKETS = {"[": "]"}  # what may open a list and what then closes it: characters that a tokenizer has tokens for
BRACKET = re.compile(f"[{re.escape(''.join(BRACKETS) + ''.join(BRACKETS.values()))}]")
FRAME_TOKEN = re.compile(r"<f(\d+)>")  # stands for an index in instruction JSON, whose table has its second
# what stands for something else in a conversation; no prose may hold one
PLACEHOLDER = re.compile("|".join([VIDEO_TOKEN, "<image>", FRAME_TOKEN.pattern, *SPECIAL_TOKENS]))

_FIELD = re.compile(r"\{(?::0?(\d+)d)?\}")
_TOKEN_LIST = re.compile(r"\[([\s,]*<f\d+>(?:[\s,]|<f\d+>)*)\]")
_SHOWN_CHARACTERS = 40  # of an offending piece of the answer, in a problem


@dataclass(frozen=True)
class FrameList:
    """A list of frame indexes at text[start:end]; frames are those inside 0..N-1."""

    start: int
    end: int
    frames: tuple[int, ...]


@dataclass(frozen=True)
class CitationGrammar:
    """How lists of frame indexes are written, found and read.

    Args:
        opening, closing: the brackets, one character each.
        separator: what parts two indexes; any blanks do for its blanks in reading.
        digits: how many an index is written with.
    """

    opening: str = "["
    closing: str = "]"
    separator: str = ", "
    digits: int = 2

    @classmethod
    def of(cls, template: str) -> CitationGrammar:
        """That of the answers which cite temporal prompts of this template.

        Its digits are the template's, its brackets those that the template begins with, `[]` if with none: `00` and
        `[f00]` are cited as `[00]` too.

        Args:
            template: a format string with one zero-padded integer field, such as `[{:02d}]`.

        Raises:
            V2XumError: if the template has no such field.
        """
        fields = _FIELD.findall(template)
        if len(fields) != 1 or not fields[0]:
            raise V2XumError(
                "a temporal prompt template must have exactly one zero-padded integer field, such as '[{:02d}]', "
                f"got {template!r}"
            )
        opening = template[0] if template[0] in BRACKETS else cls.opening
        return cls(opening, BRACKETS[opening], digits=int(fields[0]))

    def index(self, frame: int) -> str:
        """The digits that cite a frame: 7 -> `07`."""
        return f"{frame:0{self.digits}d}"

    def write(self, frames: Iterable[int]) -> str:
        """The list that cites the frames: `[07, 08]`."""
        return self.bracketed(map(self.index, frames))

    def bracketed(self, cited: Iterable[str]) -> str:
        """A list of what is written already, such as `<fK>`."""
        return self.opening + self.separator.join(cited) + self.closing

    def adopt(self, text: str) -> str:
        """Text of instruction JSON with its lists of `<fK>` in these brackets; published they stand in `[]`."""
        return _TOKEN_LIST.sub(lambda found: self.opening + found[1] + self.closing, text)

    def open_behind(self, piece: str, is_open: bool = False) -> bool:
        """Whether a bracket is open behind a piece of an answer, such as a token.

        Args:
            is_open: whether one was open in front of it.
        """
        opened, closed = piece.rfind(self.opening), piece.rfind(self.closing)
        return is_open if opened == closed else opened > closed

    @cached_property
    def closed_list(self) -> re.Pattern[str]:
        """Matches what is read as a list, brackets and all, but for one that is never closed."""
        return re.compile(rf"{self._opening}[\s{self._mark}]*[0-9][\s{self._mark}0-9]*{self._closing}")

    def find(self, text: str, num_frames: int, problems: list[str]) -> Iterator[FrameList]:
        """Yield the lists of an answer and append what is wrong with any bracket to `problems`, a line each.

        Args:
            num_frames: N; indexes outside 0..N-1 are problems and not among the frames.
        """
        for match in self._bracket.finditer(text):
            content, closed = match[1], bool(match[2])
            if content is None:
                problems.append(f"a closing bracket without an opening one: {excerpt(text[: match.end()], last=True)}")
            elif not closed:
                problems.append(f"an open bracket: {excerpt(match[0])}")
                run = self._open_run(content)
                if run or not content.strip():
                    end = match.start() + 1 + len(run)
                    if end == len(text):
                        run = self._without_cut_off_index(run, problems)
                    yield FrameList(match.start(), end, _indexes(run, num_frames, problems))
            elif self.closed_list.fullmatch(match[0]):
                if not re.fullmatch(rf"\s*[0-9]+(?:\s*{self._mark}\s*[0-9]+)*\s*", content):
                    marks = "single commas" if self._mark == "," else repr(self.separator)
                    problems.append(f"indexes that are not parted by {marks}: {excerpt(match[0])}")
                yield FrameList(match.start(), match.end(), _indexes(content, num_frames, problems))
            elif not content.strip() or re.search("[0-9]", content):
                problems.append(f"brackets that hold no list of frame indexes, kept as prose: {excerpt(match[0])}")

    def _open_run(self, content: str) -> str:
        """The indexes behind an open bracket, or nothing if it opens on prose such as `[05-09` or `[music`."""
        behind = re.sub(rf"^[0-9{self._mark}\s]*", "", content)
        run = content[: len(content) - len(behind)]
        if not re.search("[0-9]", run) or (behind and run[-1].isdigit() and behind[0] not in ".!?"):
            return ""
        return run

    def _without_cut_off_index(self, run: str, problems: list[str]) -> str:
        """Drop the last index where the answer was cut off inside it: what is left of it is not an index."""
        last = re.search("[0-9]+$", run)
        if last is None or len(last[0]) >= self.digits:
            return run
        problems.append(f"a cut-off index: {last[0]!r} at the end of the answer")
        return run[: last.start()]

    @cached_property
    def _bracket(self) -> re.Pattern[str]:
        """A pair with what it holds, an opening one with what is behind it, or a closing one alone."""
        return re.compile(rf"{self._opening}([^{self._opening}{self._closing}]*)({self._closing}?)|{self._closing}")

    @property
    def _opening(self) -> str:
        return re.escape(self.opening)

    @property
    def _closing(self) -> str:
        return re.escape(self.closing)

    @property
    def _mark(self) -> str:
        return re.escape(self.separator.strip())


PUBLISHED = CitationGrammar(digits=1)  # Instruct-V2Xum's, once each `<fK>` is a number


def frame_token(number: int) -> str:
    """What cites the K-th second of an entry's table: 7 -> `<f7>`."""
    return f"<f{number}>"


def excerpt(text: str, last: bool = False, quoted: bool = True) -> str:
    """A piece of an answer as a problem shows it: its beginning, or its end."""
    if len(text) > _SHOWN_CHARACTERS:
        text = "..." + text[-_SHOWN_CHARACTERS:] if last else text[:_SHOWN_CHARACTERS] + "..."
    return repr(text) if quoted else text


def _indexes(content: str, num_frames: int, problems: list[str]) -> tuple[int, ...]:
    frames, outside = [], []
    for number in re.findall("[0-9]+", content):
        # Lengths first: a runaway model writes numbers that int() refuses to read.
        significant = number.lstrip("0") or "0"
        if len(significant) > len(str(num_frames)) or int(significant) >= num_frames:
            outside.append(excerpt(number, quoted=False))
        else:
            frames.append(int(significant))
    if len(outside) == 1:
        problems.append(f"index {outside[0]} lies outside 0..{num_frames - 1}")
    elif outside:  # a model that counts on may name hundreds
        problems.append(f"{len(outside)} indexes lie outside 0..{num_frames - 1}, the first: {outside[0]}")
    return tuple(frames)
