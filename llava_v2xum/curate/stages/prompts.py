"""The prompts: text files that a user can read and replace, and captions as they stand in them.

The packaged ones, `prompts/*.txt`, are worded after the paper's description of its stages (section 3.1, appendix B). A
prompt is a `string.Template`: `$captions` is where the captions go, `$count` how many are asked for, `$$` a dollar. A
user's may have the placeholders that the packaged one of its name has, and must have `$captions` where that has it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from string import Template

from ...core.errors import V2XumError

# control characters, halves of characters, and marks that turn the direction of the text behind them
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_TAG = re.compile(r"(?:<\s*)+(/?\s*captions\s*)(?:>\s*)*>", re.IGNORECASE)


@dataclass(frozen=True)
class Prompt:
    """What a model is asked.

    Args:
        name: of a packaged one.
        text: with its placeholders.

    Raises:
        V2XumError: if there is no such prompt, the text is empty, or a placeholder is missing or is none of the
            prompt's.
    """

    name: str
    text: str

    def __post_init__(self) -> None:
        packaged = _packaged()
        if self.name not in packaged:
            raise V2XumError(f"a prompt's name must be one of {', '.join(packaged)}, got {self.name!r}")
        if not self.text.strip():
            raise V2XumError(f"the {self.name} prompt is empty")
        found, possible = (_placeholders(self.name, text) for text in (self.text, packaged[self.name]))
        if "captions" in possible - found:
            raise V2XumError(f"the {self.name} prompt lacks $captions")
        if unknown := found - possible:
            raise V2XumError(
                f"the {self.name} prompt has {_dollars(unknown)}; what it can have is {_dollars(possible) or 'none'}"
            )

    @classmethod
    def load(cls, name: str, path: str | os.PathLike[str] | None = None) -> Prompt:
        """The packaged prompt of this name, or a user's.

        Raises:
            V2XumError: naming the file, as the class, or if it is no UTF-8 text.
            OSError: if it cannot be read.
        """
        if path is None:
            return cls(name, _packaged().get(name, ""))
        try:
            return cls(name, Path(path).read_text(encoding="utf-8").removeprefix("\ufeff").strip())
        except (UnicodeDecodeError, V2XumError) as error:
            raise V2XumError(f"{path}: {error}") from error

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


@cache
def _packaged() -> dict[str, str]:
    """Name -> text of the packaged prompts."""
    files = sorted((resources.files(__package__) / "prompts").iterdir(), key=lambda file: file.name)
    return {file.name.removesuffix(".txt"): file.read_text(encoding="utf-8").strip() for file in files}


def _placeholders(name: str, text: str) -> set[str]:
    found = set()
    for match in Template.pattern.finditer(text):
        if match["invalid"] is not None:
            line = text.count("\n", 0, match.start()) + 1
            raise V2XumError(f"the {name} prompt has a lone $ in line {line}: write $$ for a dollar")
        found.add(match["named"] or match["braced"])
    return found - {None}  # $$


def _dollars(names: Iterable[str]) -> str:
    return ", ".join(f"${name}" for name in sorted(names))
