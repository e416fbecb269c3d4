"""What a word is: the PTB tokenizer of COCO's caption scores, and a plain one for machines without Java.

Scores of the two differ, so whoever reports one says which it was.

- "ptb": Stanford's PTBTokenizer with COCO's options and COCO's list of punctuation dropped; the jar, the options and
  so the tokens are those of pycocoevalcap. Its wrapper writes a file into its own package folder and loses count at
  carriage returns and Unicode's line separators; this one pipes the text and refuses an answer of another length.
- "plain": our own, `core.scores.plain_tokens`: what PTB would write differently, brackets and quotes, is dropped too.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...core.errors import V2XumError
from ...core.scores import COCO_PUNCTUATION, plain_tokens
from .java import has_java, jar_beside, run_lines

TOKENIZERS = ("ptb", "plain")
TOKENIZER_CHOICES = ("auto", *TOKENIZERS)
_SECONDS_AT_LEAST = 120.0
_SECONDS_A_TEXT = 0.01  # about a hundred times what it takes


def choose_tokenizer(name: str = "auto") -> str:
    """The tokenizer that a name stands for: "auto" is "ptb" where there is Java and "plain" where there is none.

    Raises:
        V2XumError: if the name is none of auto, ptb and plain.
    """
    if name not in TOKENIZER_CHOICES:
        raise V2XumError(f"tokenizer must be one of {', '.join(TOKENIZER_CHOICES)}, got {name!r}")
    return ("ptb" if has_java() else "plain") if name == "auto" else name


def tokenize(texts: Sequence[str], tokenizer: str) -> list[str]:
    """Each text's tokens, joined by single blanks; a text without words is "".

    Line breaks in a text count as blanks.

    Args:
        tokenizer: "ptb" or "plain".

    Raises:
        V2XumError: if the tokenizer is neither.
        MissingExtra: if "ptb" needs pycocoevalcap and it is not installed.
        JavaError: if "ptb" finds no Java, or it fails.
    """
    if choose_tokenizer(tokenizer) != tokenizer:
        raise V2XumError(f"tokenizer must be one of {', '.join(TOKENIZERS)}, got {tokenizer!r}")
    return _tokenize_ptb(texts) if tokenizer == "ptb" else [" ".join(plain_tokens(text)) for text in texts]


def _tokenize_ptb(texts: Sequence[str]) -> list[str]:
    if not texts:
        return []
    jar = jar_beside("pycocoevalcap.tokenizer.ptbtokenizer", "stanford-corenlp-3.4.1.jar")
    lines = run_lines(
        "the PTB tokenizer",
        ["-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"],
        [" ".join(text.splitlines()) for text in texts],
        len(texts),
        _SECONDS_AT_LEAST + _SECONDS_A_TEXT * len(texts),
    )
    return [" ".join(word for word in line.split(" ") if word and word not in COCO_PUNCTUATION) for line in lines]
