"""The drafters by the names that `--drafter` has for them: a further one is a file of its own, and a line here."""

from __future__ import annotations

from ...core.errors import V2XumError
from .answer_drafter import ANSWERS, INDEXES, PHRASES
from .protocols import DrafterKind

DRAFTERS: dict[str, DrafterKind] = {
    "answers": ANSWERS,
    "indexes": INDEXES,
    "phrases": PHRASES,
}
DEFAULT_DRAFTER = "answers"


def drafter_kind(name: str) -> DrafterKind:
    """The kind of drafter of that name.

    Raises:
        V2XumError: if there is none.
    """
    if name not in DRAFTERS:
        raise V2XumError(f"drafter must be one of {', '.join(DRAFTERS)}, got {name!r}")
    return DRAFTERS[name]
