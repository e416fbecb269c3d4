"""The data card: facts -> card.md for people, card.json for programs, figure2.png."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ...core.atomic import replacing
from .facts import PAPER, QUANTITIES, CardFacts, VideoRow, row_of
from .plots import draw_figure2
from .text import card_text

__all__ = ["FILES", "CardFacts", "VideoRow", "row_of", "write_card"]

FILES = ("card.md", "card.json", "figure2.png")


def write_card(folder: str | os.PathLike[str], facts: CardFacts) -> list[Path]:
    """Write card.md, card.json and figure2.png, each whole or not at all; without videos there is no figure.

    Args:
        folder: made if it is not there.

    Returns:
        The files.

    Raises:
        MissingExtra: if matplotlib is missing.
        V2XumError: if an option or a cost is no JSON.
        OSError: if a file cannot be written.
    """
    content = json.dumps(facts.to_record(), indent=2, ensure_ascii=False, allow_nan=False)
    written = {"card.md": card_text(facts), "card.json": content + "\n"}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    figure = folder / "figure2.png"
    if facts.rows:
        with replacing(figure) as part:
            draw_figure2({name: [value(row) for row in facts.rows] for name, value in QUANTITIES.items()}, PAPER, part)
    else:
        figure.unlink(missing_ok=True)
    for name, text in written.items():
        with replacing(folder / name) as part:
            part.write_text(text, encoding="utf-8", errors="backslashreplace")
    return [folder / name for name in FILES if (folder / name).exists()]
