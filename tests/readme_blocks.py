"""Markdown files as tests run them: the code in their fences, the marks before it, the output shown behind it.

```bash and ```python are code, and code is run. A block without a language behind it is an excerpt of what it prints,
where `...` stands for any lines; ```text is neither. What cannot be run as it stands has a mark, a comment on a line of
its own before the block, which says why:

    <!-- not run: REASON -->                 nothing of the block
    <!-- not run, PART: REASON -->           the commands that hold PART
    <!-- run with NEW for OLD: REASON -->    all of it, with NEW in the place of each OLD
    <!-- output not compared: REASON -->     all of it, and what it prints is not held against the excerpt
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

MARK = re.compile(r"<!-- (not run|run with|output not compared)(?:,? (.+?))?: (.*\S) -->")
SUBSTITUTE = re.compile(r"(.+) for (.+)")
LANGUAGES = ("bash", "python", "text", "")


@dataclass(frozen=True)
class Mark:
    """What a comment before a block says: its kind, the part that it is about ("" is all of the block), the reason."""

    kind: str
    part: str
    reason: str


@dataclass(frozen=True)
class Command:
    """A shell command, the line of its file where it begins, and why it is not run ("" if it is)."""

    line: int
    text: str
    not_run: str


@dataclass(frozen=True)
class Block:
    """The code of a fence, as it is run: its file, the line where it begins, and the output that is shown behind it."""

    file: str
    line: int
    language: str
    code: str
    marks: tuple[Mark, ...] = ()
    output: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def not_run(self) -> str:
        """Why nothing of it is run; "" if something is."""
        reasons = [self._reason("")] if self.language == "python" else [command.not_run for command in self.commands]
        return "; ".join(dict.fromkeys(reasons)) if all(reasons) else ""

    @property
    def commands(self) -> list[Command]:
        """The commands of shell code; one may have several lines."""
        found, line = [], self.line
        for text in re.findall(r"(?:.*\\\n)*.*\n", self.code + "\n"):
            found += [Command(line, text, self._reason(text))] if text.strip() else []
            line += text.count("\n")
        return found

    def _reason(self, code: str) -> str:
        hit = (mark for mark in self.marks if mark.kind == "not run" and (not mark.part or mark.part in code))
        return next((mark.reason for mark in hit), "")

    @property
    def compared(self) -> bool:
        """Whether what it prints is held against the output that is shown."""
        return bool(self.output) and not any(mark.kind == "output not compared" for mark in self.marks)


def read_blocks(file: str, text: str) -> list[Block]:
    """The code of a file, in order.

    Args:
        file: its name, for messages.

    Raises:
        ValueError: naming file and line, for a mark without a reason, before no code, or about a part that is not in
            it; and for code that nobody would run: indented, or in another language.
    """
    blocks, marks, lines = [], (), enumerate(text.splitlines(), 1)
    for number, line in lines:
        if line.startswith("<!--"):
            if not (found := MARK.fullmatch(line)):
                raise ValueError(f"{file}:{number}: expected a mark with its reason, got {line}")
            marks += (Mark(found[1], found[2] or "", found[3]),)
        elif line.startswith("```"):
            inside = []
            for _, inner in lines:
                if inner == "```":
                    break
                inside.append(inner)
            else:
                raise ValueError(f"{file}:{number}: the fence has no end")
            _add(blocks, Block(file, number + 1, line[3:], "\n".join(inside), marks))
            marks = ()
        elif marks:
            raise ValueError(f"{file}:{number}: expected a block behind its mark, got {line!r}")
        elif line.startswith(("    ", "\t")) or "```" in line:
            raise ValueError(f"{file}:{number}: code that nobody runs: fence it, from the beginning of a line")
    if marks:
        raise ValueError(f"{file}: expected a block behind the last mark")
    return blocks


def _add(blocks: list[Block], block: Block) -> None:
    """Add code to the blocks, or output to the last of them."""
    if block.language not in LANGUAGES:
        raise ValueError(f"{block.place}: expected one of {', '.join(LANGUAGES)}, got {block.language!r}")
    if block.language in ("bash", "python"):
        blocks.append(_with_substitutes(block))
    elif block.marks:
        raise ValueError(f"{block.place}: marks are for code")
    elif block.language == "":
        if not blocks or blocks[-1].output:
            raise ValueError(f"{block.place}: output of no code")
        blocks[-1] = replace(blocks[-1], output=tuple(block.code.splitlines()))


def _with_substitutes(block: Block) -> Block:
    for kind, part, _ in ((mark.kind, mark.part, mark.reason) for mark in block.marks):
        new, old = SUBSTITUTE.fullmatch(part).groups() if kind == "run with" else (part, part)
        if old not in block.code:
            raise ValueError(f"{block.place}: {old!r} is not in the code that the mark is for")
        block = replace(block, code=block.code.replace(old, new))
    return block
