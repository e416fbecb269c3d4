"""What a scorer of the quality of sentences is, and the one that needs no model: LanguageTool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ...core.errors import V2XumError
from ...core.extras import require


class Scorer(Protocol):
    """What gives sentences a score.

    Attributes:
        name: short, such as `cola`; the columns and files of a report are named by it.
        quality: "grammar" or "plausibility".
        source: the model's name or folder, or the language.
        truncated: how many texts so far were longer than the model reads; the rest of them went unread.
    """

    name: str
    quality: str
    source: str
    truncated: int

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """The scores of texts that are not empty: float [n] in 0..1."""
        ...


class LanguageToolScorer:
    """Grammar: how few errors a word LanguageTool finds, 1 - min(1, matches / words).

    Args:
        language: such as `en-US`.

    Raises:
        MissingExtra: if language-tool-python is not installed.
        OSError: if its server does not start: it needs Java, and at the first use downloads LanguageTool.
    """

    name = "languagetool"
    quality = "grammar"

    def __init__(self, language: str = "en-US") -> None:
        self.source, self.truncated = language, 0
        package = require("language_tool_python", "quality")
        try:
            self._tool = package.LanguageTool(language)
        # it raises ModuleNotFoundError, SystemError and SystemExit about Java, OSError and its own about the download
        except (Exception, SystemExit) as error:
            raise OSError(
                f"LanguageTool ({language}) does not start: {error or type(error).__name__}. It needs Java 17 or newer "
                "(apt install default-jre-headless), and at its first use downloads its server, some 250 MB, into "
                "~/.cache/language_tool_python; LTP_JAR_DIR_PATH names the folder of one that is already there"
            ) from error

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """The scores of texts: float [n] in 0..1.

        Raises:
            V2XumError: naming the number of a text without words.
        """
        check_words(texts)
        return np.array([1 - min(1, len(self._tool.check(text)) / len(text.split())) for text in texts], dtype=float)


def check_words(texts: Sequence[str]) -> None:
    """Check that no text is without words.

    Raises:
        V2XumError: naming the number of one that is.
    """
    for number, text in enumerate(texts):
        if not text.split():
            raise V2XumError(f"text number {number} has no words: {text!r}")
