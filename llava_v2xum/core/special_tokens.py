"""Special tokens written out in a text: a tokenizer reads them as what they stand for, not as the letters they are.

A `</s>` in an answer would teach a model to end in the middle of it. Such a text is refused rather than tokenized
letter by letter, for it is nearly always a leak of another model's template: its letters are nothing to learn either,
and whatever else reads the same file would still see an end. What LLaVA's templates put between turns is theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Llama's, and those that LLaVA adds where a checkpoint asks for it; `<image>` and `<video>` have places of their own
SPECIAL_TOKENS = ("<s>", "</s>", "<unk>", "<im_start>", "<im_end>", "<im_patch>")
# what models behind endpoints end with, or begin another turn with: Llama 2 and 3, Qwen and Phi, Gemma, DeepSeek
LEAKED = re.compile(
    r"</?s>|<unk>|<pad>|<[be]os>|<\|[a-z0-9_]{2,40}\|>|<(?:start|end)_of_turn>|<\uff5c[^\uff5c<>]{1,40}\uff5c>|\[/?INST\]"
)


def special_token_in(text: str, tokens: Iterable[str] = SPECIAL_TOKENS) -> str | None:
    """A special token that stands in a text, or None.

    Args:
        tokens: those of the tokenizer at hand.
    """
    return next((token for token in tokens if token in text), None)


def without_leaked_ends(text: str) -> str:
    """A model's answer without the special tokens that its server left at its ends, and blanks at both off."""
    found = [match.span() for match in LEAKED.finditer(text)]
    start, end = 0, len(text)
    for first, behind in found:
        if text[start:first].strip():
            break
        start = behind
    for first, behind in reversed(found):
        if text[behind:end].strip():
            break
        end = first
    return text[start:end].strip()


def spelt(text: str) -> str:
    """The text with blanks inside its special tokens, so that a model can be told of them: `< /s >`."""
    return LEAKED.sub(lambda match: f"{match[0][0]} {match[0][1:-1]} {match[0][-1]}", text)
