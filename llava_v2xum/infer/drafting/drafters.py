"""The drafters by the names that `--drafter` has for them: a further one is a file of its own, and a line here."""

from __future__ import annotations

import logging
import os

from ...core.errors import V2XumError
from ...core.timeline import Timeline
from .answer_drafter import ANSWERS, INDEXES, PHRASES
from .protocols import Drafter, DrafterKind, UndraftableTokenizer

logger = logging.getLogger(__name__)

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


def load_drafter(
    name: str, tokenizer, timeline: Timeline, draft_table: str | os.PathLike[str] | None = None
) -> Drafter | None:
    """A drafter for a model's answers; None, and a warning, where it cannot read what the tokenizer writes.

    Args:
        name: in `DRAFTERS`.
        tokenizer, timeline: the model's.
        draft_table: a file with what earlier answers taught, if it is there.

    Raises:
        V2XumError: if there is no drafter of that name, or the file is no good.
    """
    try:
        return drafter_kind(name).load(tokenizer, timeline, draft_table)
    except UndraftableTokenizer as error:  # say, of several digits a token: the answers are right, a pass a token
        logger.warning("answers are not drafted: %s", error)
        return None
