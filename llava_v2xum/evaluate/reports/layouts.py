"""Which metrics a data set's table shows, in which order, and a grid of cells as text or Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from ...core.errors import V2XumError
from ..formats.data_sets import DATA_SETS
from ..metric_registry import METRICS
from ..metrics.measures import ROWS
from ..metrics.metric import Metric

WIDTH = 110  # of text in a terminal


def layout(dataset: str) -> tuple[Metric, ...]:
    """The metrics of a data set's main table, in the order V2V, V2T, V2VT.

    Raises:
        V2XumError: naming the data sets that have one.
    """
    if dataset not in DATA_SETS:
        raise V2XumError(f"no table layout for the data set {dataset!r}; there are {', '.join(DATA_SETS)}")
    return tuple(METRICS[name] for name in DATA_SETS[dataset].table)


def ordered_rows(names: Iterable[str]) -> list[str]:
    """The rows of a table: system, random, uniform, human, then any other as they came."""
    names = list(dict.fromkeys(names))
    return [name for name in ROWS if name in names] + [name for name in names if name not in ROWS]


def group_cells(metrics: Sequence[Metric]) -> list[str]:
    """The line over the headings: each group's name over its first metric."""
    return [one.group if n == 0 or metrics[n - 1].group != one.group else "" for n, one in enumerate(metrics)]


def page_headings(metrics: Sequence[Metric]) -> list[str]:
    """The headings of a page's table, which has one line of them: each with its group."""
    return [f"{one.group}: {one.heading}" if one.group else one.heading for one in metrics]


def lower_is_better(metrics: Iterable[Metric]) -> list[str]:
    """A note of the metrics that fall with quality, where there are any."""
    lower = ", ".join(one.heading for one in metrics if not one.higher_is_better)
    return [f"lower is better: {lower}"] if lower else []


def text_grid(grid: Sequence[Sequence[str]], rule_after: int = 1) -> str:
    """Cells as aligned plain text: the first column to the left, the others to the right, a rule under the head."""
    widths = [max(map(len, cells)) for cells in zip(*grid)]
    lines = []
    for row in grid:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    lines.insert(rule_after, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines)


def wrapped(notes: Iterable[str]) -> list[str]:
    """Notes under a table in a terminal: indented lines; addresses are not broken."""
    fill = textwrap.TextWrapper(
        WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return [line for note in notes for line in fill.wrap(note)]


def said_by(names: Sequence[str], notes: Sequence[Iterable[str]]) -> list[str]:
    """Each note once: as it is where everybody has it, else behind the names of those that do.

    Args:
        notes: of each name.
    """
    owners: dict[str, list[str]] = {}
    for name, said in zip(names, notes):
        for note in dict.fromkeys(said):
            owners.setdefault(note, []).append(name)
    return [note if len(those) == len(names) else f"{', '.join(those)}: {note}" for note, those in owners.items()]


def markdown_grid(grid: Sequence[Sequence[str]], text_columns: Sequence[int] = (0,)) -> str:
    """Cells as a Markdown table; the first row is the head, text columns go to the left, the others to the right."""
    head, *rows = [[cell.replace("|", "\\|") for cell in row] for row in grid]
    to_the_left = {place % len(head) for place in text_columns}
    rule = ["---" if place in to_the_left else "---:" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *rows])
