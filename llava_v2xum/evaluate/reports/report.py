"""The files and tables that show a report: `report.json`, `report.md`, `per_video.csv`, and text for the terminal."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import V2XumError
from ..metric_registry import metric_of, ordered_metrics
from ..metrics.metric import Metric
from .files import as_json, write_csv, write_texts
from .layouts import (
    WIDTH,
    group_cells,
    layout,
    lower_is_better,
    markdown_grid,
    ordered_rows,
    page_headings,
    text_grid,
    wrapped,
)
from .scores import REPORT_JSON, Report, Score, to_record

REPORT_MARKDOWN, PER_VIDEO = "report.md", "per_video.csv"


def write_report(report: Report, folder: str | os.PathLike[str], figures: Sequence[str] = ()) -> list[Path]:
    """Write `report.json`, `report.md` and `per_video.csv`, each whole or not at all.

    Args:
        folder: made if it is missing.
        figures: names of pictures in the same folder that the Markdown page shows.

    Returns:
        The three paths.

    Raises:
        OSError: if a file cannot be written.
        TypeError: if a fact is nothing that JSON can hold.
    """
    texts = {REPORT_JSON: as_json(to_record(report)), REPORT_MARKDOWN: format_markdown(report, figures)}
    rows = zip(report.video_ids, *(map(_cell, values) for values in report.per_video.values()))
    return [*write_texts(folder, texts), write_csv(Path(folder) / PER_VIDEO, ["video_id", *report.per_video], rows)]


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def main_metrics(report: Report) -> tuple[Metric, ...]:
    """The metrics of the data set's table, as `with_stand_ins`; for a data set without a layout, every one."""
    try:
        return tuple(with_stand_ins(layout(report.dataset), [report]))
    except V2XumError:
        return tuple(ordered_metrics(report.keys))


def with_stand_ins(metrics: Iterable[Metric], reports: Sequence[Report]) -> Iterator[Metric]:
    """The metrics, and behind one that a system lacks the one that stands in for it: F1 by a threshold of scores."""
    for metric in metrics:
        yield metric
        if metric.instead and any(
            one.score("system", metric.name) is None and one.score("system", metric.instead) is not None
            for one in reports
        ):
            yield metric_of(metric.instead)


def told_first(report: Report) -> list[str]:
    """The doubts as every table tells them, before any figure."""
    return [f"doubtful: {line}" for line in report.doubts]


def row_name(report: Report, row: str) -> str:
    """What a row is called: the system by its name, the baselines by theirs."""
    return report.system if row == "system" else row


def format_table(report: Report) -> str:
    """Doubts, how it was scored, the data set's table, and every measure with its interval, as text for a terminal."""
    metrics = main_metrics(report)
    grid = [["", *group_cells(metrics)], [report.dataset, *(shown.heading for shown in metrics)]]
    grid += [[row_name(report, row), *_cells(report, row, metrics)] for row in ordered_rows(report.rows)]
    facts = "; ".join(f"{key}: {fact_text(value)}" for key, value in report.facts.items())
    lines = [*wrapped(told_first(report)), *textwrap.wrap(facts, WIDTH), "", text_grid(grid, rule_after=2)]
    lines += wrapped(_table_notes(report, metrics) + measure_notes(report, ["system"]))
    return "\n".join([*lines, "", text_grid(_measure_grid(report))])


def format_markdown(report: Report, figures: Sequence[str] = ()) -> str:
    """The page `report.md`: doubts, header, the data set's table, every measure, notes, figures."""
    metrics = main_metrics(report)
    head = ["", *page_headings(metrics)]
    grid = [[row_name(report, row), *_cells(report, row, metrics, True)] for row in ordered_rows(report.rows)]
    facts = [["scored", ""], *([str(key), fact_text(value)] for key, value in report.facts.items())]
    doubts = "\n".join(f"- **{line}**" for line in told_first(report))
    parts = [f"# {report.system} on {report.dataset}", doubts, markdown_grid(facts, text_columns=(0, 1))]
    parts += ["## Results", markdown_grid([head, *grid])]
    parts.append("\n".join(f"- {note}" for note in _table_notes(report, metrics)))
    parts += ["## All measures", markdown_grid(_measure_grid(report, about=True), text_columns=(0, -1))]
    noted = [f"- {note}" for note in measure_notes(report, list(report.rows))]
    parts += ["\n".join(noted), *(f"![{Path(name).stem}]({name})" for name in figures)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _cells(report: Report, row: str, metrics: Sequence[Metric], intervals: bool = False) -> list[str]:
    scores = [report.score(row, shown.name) or Score(math.nan) for shown in metrics]
    return [
        shown.text(score.value, *((score.low, score.high) if intervals else ()))
        for shown, score in zip(metrics, scores)
    ]


def _measure_grid(report: Report, about: bool = False) -> list[list[str]]:
    """Every measure on a line of its own: the system's figure with its interval, then the other rows'."""
    rows = ordered_rows(report.rows)
    grid = [["measure", *(row_name(report, row) for row in rows), *(["what"] if about else [])]]
    for shown in ordered_metrics(report.keys):
        cells = [_cells(report, row, [shown], row == "system" or about)[0] for row in rows]
        grid.append([shown.name, *cells, *([shown.about] if about else [])])
    return grid


def fact_text(value: Any) -> str:
    """A fact of the header as people read it."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {fact_text(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(fact_text, value))
    return str(value)


def _table_notes(report: Report, metrics: Sequence[Metric]) -> list[str]:
    """What the main table leaves to say: intervals, why a system's cell is empty, the run's own notes."""
    notes = []
    if report.level is not None and len(report.video_ids) > 1:
        notes.append(f"[low, high]: {report.level * 100:g} % bootstrap interval over {len(report.video_ids)} videos")
    reasons = []
    for shown in metrics:
        score = report.score("system", shown.name)
        if score is None:
            reasons.append((report.absent.get(shown.name, "not computed"), shown.heading))
        elif math.isnan(score.value):
            reasons.append(("no video can be scored", shown.heading))
    return notes + lower_is_better(metrics) + _said_once(reasons) + list(report.notes)


def measure_notes(report: Report, rows: Sequence[str], metrics: Iterable[Metric] | None = None) -> list[str]:
    """The notes of figures, each once, with the measures that it is about; of one baseline alone, with its name.

    Args:
        rows: whose figures.
        metrics: the measures; every one if None.
    """
    keys = None if metrics is None else {shown.name for shown in metrics}
    about: dict[str, dict[str, list[str]]] = {}  # note -> row -> headings
    for row in ordered_rows(rows):
        for key, score in report.rows[row].items():
            for note in score.notes if keys is None or key in keys else ():
                about.setdefault(note, {}).setdefault(row, []).append(metric_of(key).heading)
    lines = []
    for note, by_row in about.items():
        headings = ", ".join(dict.fromkeys(heading for found in by_row.values() for heading in found))
        row, *others = by_row
        if row != "system" and not others:
            headings = row if len(by_row[row]) == len(report.rows[row]) else f"{row}, {headings}"
        lines.append(f"{headings}: {note}")
    return lines


def _said_once(notes: Iterable[tuple[str, str]]) -> list[str]:
    """(note, what it is about) -> one line a note, with everything that it is about."""
    about: dict[str, dict[str, None]] = {}
    for note, subject in notes:
        about.setdefault(note, {})[subject] = None
    return [f"{', '.join(subjects)}: {note}" for note, subjects in about.items()]
