"""The prompts: text files that a user can read and replace, and captions as they stand in them.

The packaged ones, `prompts/*.txt`, are worded after the paper's description of its stages (section 3.1, appendix B). A
prompt is a `string.Template`: `$captions` is where the captions go, `$count` how many are asked for, `$$` a dollar.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from ...core.errors import V2XumError

_NEEDED = {"caption": set(), "extract": {"captions"}, "refine": {"captions"}}
_POSSIBLE = {"caption": set(), "extract": {"captions", "count"}, "refine": {"captions", "count"}}

# control characters, halves of characters, and marks that turn the direction of the text behind them
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_TAG = re.compile(r"(?:<\s*)+(/?\s*captions\s*)(?:>\s*)*>", re.IGNORECASE)


@dataclass(frozen=True)
class Prompt:
    """What a model is asked.

    Args:
        name: "caption", "extract" or "refine".
        text: with its placeholders.

    Raises:
        V2XumError: if there is no such prompt, the text is empty, or a placeholder is missing or is none of the
            prompt's.
    """

    name: str
    text: str

    def __post_init__(self) -> None:
        if self.name not in _NEEDED:
            raise V2XumError(f"a prompt's name must be one of {', '.join(_NEEDED)}, got {self.name!r}")
        if not self.text.strip():
            raise V2XumError(f"the {self.name} prompt is empty")
        found = set()
        for match in Template.pattern.finditer(self.text):
            if match["invalid"] is not None:
                line = self.text.count("\n", 0, match.start()) + 1
                raise V2XumError(f"the {self.name} prompt has a lone $ in line {line}: write $$ for a dollar")
            found.add(match["named"] or match["braced"])
        found.discard(None)  # $$
        if missing := sorted(_NEEDED[self.name] - found):
            raise V2XumError(f"the {self.name} prompt lacks {_dollars(missing)}")
        if unknown := sorted(found - _POSSIBLE[self.name]):
            possible = _dollars(sorted(_POSSIBLE[self.name])) or "none"
            raise V2XumError(f"the {self.name} prompt has {_dollars(unknown)}; what it can have is {possible}")

    @classmethod
    def load(cls, name: str, path: str | os.PathLike[str] | None = None) -> Prompt:
        """The packaged prompt of this name, or a user's.

        Raises:
            V2XumError: naming the file, as the class, or if it is no UTF-8 text.
            OSError: if it cannot be read.
        """
        if name not in _NEEDED:
            raise V2XumError(f"a prompt's name must be one of {', '.join(_NEEDED)}, got {name!r}")
        file = resources.files(__package__) / "prompts" / f"{name}.txt" if path is None else Path(path)
        try:
            return cls(name, file.read_text(encoding="utf-8").removeprefix("\ufeff").strip())
        except (UnicodeDecodeError, V2XumError) as error:
            raise V2XumError(f"{file}: {error}") from error

    @property
    def hash(self) -> str:
        """The first 16 hex digits of the text's SHA-256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def filled(self, **values: object) -> str:
        """The text with the placeholders' values; what looks like a placeholder inside a value stays as it is."""
        return Template(self.text).substitute(values)


def document(captions: Iterable[tuple[int, str]]) -> str:
    """Captions, as `one_line` gives them, one a line behind the numbers of their frames."""
    return "\n".join(f"{frame}: {caption}" for frame, caption in captions)


def one_line(caption: str, most_bytes: int | None = None) -> str:
    """A caption on one line: a caption is a model's text, and must not look like two, or like the end of them all.

    Characters of `CONTROL` are left out; `<` and `>` of the marks that part captions from the prompt are left out too.

    Args:
        most_bytes: of UTF-8, at least 4; what is longer is cut, and ends in dots. None cuts nothing.
    """
    text = CONTROL.sub("", " ".join(caption.split()))
    text = " ".join(_TAG.sub(r"\1", text).split())
    if most_bytes is None or len(text.encode()) <= most_bytes:
        return text
    return text.encode()[: most_bytes - 3].decode(errors="ignore").rstrip() + "..."


def _dollars(names: Iterable[str]) -> str:
    return ", ".join(f"${name}" for name in names)
