"""Several reports side by side with published rows.

Published rows lie in `published.json`, and in files of the same form that a user adds:

| key | type | what |
| --- | --- | --- |
| `format` | 1 | this form |
| `sources` | {name: {`title`, `where`, `read`}} | what was copied from, where it is, and how it was read |
| `sources.*.protocol`, `.unstated` | text, [measure] | of its rows; whose protocol it does not say; may be left out |
| `rows[]` | `dataset`, `system`, `source`, `table`, `protocol`, `values` | `values` is {measure: number as printed} |
| `not_shipped[]` | `what`, `datasets`, `reason` | rows that a reader would look for here, and why they are not |

Numbers are as the source prints them, in the scale of `layouts` (F1, caption scores and CLIP's in percent points). Keys
are the measures' names, so that a row stands only under columns that are computed alike, as far as the source says: a
figure whose protocol it does not state has a question mark, and is not to be ranked with others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.annotations import is_number
from ...core.errors import V2XumError
from ..formats.data_sets import DATA_SETS
from ..metric_registry import ordered_metrics
from ..metrics.metric import ABSENT, Metric
from .files import read_record
from .layouts import (
    group_cells,
    layout,
    lower_is_better,
    markdown_grid,
    ordered_rows,
    page_headings,
    said_by,
    text_grid,
    wrapped,
)
from .report import fact_text, measure_notes, told_first, with_stand_ins
from .scores import Report

PUBLISHED = Path(__file__).with_name("published.json")
_SOURCE_KEYS = {"title", "where", "read"}
_ROW_KEYS = {"dataset", "system", "source", "table", "protocol", "values"}


@dataclass(frozen=True)
class PublishedRow:
    """One published row: its values as printed, and the line under the table that says where they come from.

    Args:
        source: its name among the file's sources.
        table: of the source.
        unstated: the measures whose protocol the source does not say.
    """

    dataset: str
    system: str
    values: dict[str, float]
    reference: str
    source: str = ""
    table: str = ""
    unstated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """Published rows, and lines that say which are not here: (data sets, line)."""

    rows: tuple[PublishedRow, ...]
    not_shipped: tuple[tuple[tuple[str, ...], str], ...] = ()


def read_published(*paths: str | os.PathLike[str]) -> Published:
    """Read the rows that ship with the package and those of further files.

    Raises:
        V2XumError: naming the file and row, for what the form does not allow.
        OSError: if a file cannot be read.
    """
    rows: list[PublishedRow] = []
    absent: list[tuple[tuple[str, ...], str]] = []
    for path in (PUBLISHED, *map(Path, paths)):
        record = read_record(path, "published rows")
        try:
            sources = _sources(record, path)
            rows += [_row(row, sources, f"{path}: row {number}") for number, row in enumerate(record.get("rows", []))]
            absent += [(tuple(a["datasets"]), f"{a['what']}: {a['reason']}") for a in record.get("not_shipped", [])]
        except (KeyError, TypeError, AttributeError) as error:
            raise V2XumError(f"{path}: not of the form of published rows: {type(error).__name__} {error}") from error
    return Published(tuple(rows), tuple(absent))


def _sources(record: dict[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    sources = record.get("sources", {})
    for name, source in sources.items():
        if not _SOURCE_KEYS <= set(source) <= _SOURCE_KEYS | {"protocol", "unstated"}:
            raise V2XumError(f"{path}: source {name}: expected {', '.join(sorted(_SOURCE_KEYS))}, got {source}")
    return sources


def _row(record: Any, sources: dict[str, dict[str, Any]], where: str) -> PublishedRow:
    given = sources.get(str(record.get("source")), {}) if isinstance(record, dict) else {}
    if "protocol" in given:
        record = {"protocol": given["protocol"], **record}
    if not isinstance(record, dict) or set(record) != _ROW_KEYS:
        got = ", ".join(sorted(record)) if isinstance(record, dict) else type(record).__name__
        raise V2XumError(f"{where}: expected the keys {', '.join(sorted(_ROW_KEYS))}, got {got}")
    if record["source"] not in sources:
        raise V2XumError(f"{where}: the source {record['source']!r} is not among the file's sources")
    if not isinstance(record["values"], dict) or not record["values"]:
        raise V2XumError(f"{where}: expected values, a number for each measure, got {record['values']!r}")
    for key, value in record["values"].items():
        if not is_number(value):
            raise V2XumError(f"{where}: {key} must be a number as printed, got {value!r}")
    source = sources[record["source"]]
    where = f"{source['where']} ({source['read']})"
    reference = f"{source['title']}, {record['table']}: {where}. Protocol: {record['protocol']}"
    return PublishedRow(
        *(record["dataset"], record["system"], record["values"], reference, record["source"], record["table"]),
        tuple(source.get("unstated", ())),
    )


def side_by_side(reports: Sequence[Report], published: Published, markdown: bool = False) -> str:
    """One table a data set: published rows with their sources, then the reports' rows.

    Under it stand the sources, how the reports' ways of scoring differ, what a reader must know about their figures
    (another tokenizer, another protocol than the published rows'), and what is not here.

    Args:
        reports: of any data sets; their order is that of the rows.
        markdown: tables for a page instead of for a terminal.

    Raises:
        V2XumError: if there is no report.
    """
    if not reports:
        raise V2XumError("expected one report or more")
    datasets = dict.fromkeys([name for name in DATA_SETS if any(r.dataset == name for r in reports)])
    datasets.update(dict.fromkeys(report.dataset for report in reports))
    return "\n\n".join(_dataset(name, reports, published, markdown) for name in datasets)


def _dataset(dataset: str, reports: Sequence[Report], published: Published, markdown: bool) -> str:
    reports = [report for report in reports if report.dataset == dataset]
    rows = [row for row in published.rows if row.dataset == dataset]
    metrics = _metrics(dataset, reports, rows)
    references = list(dict.fromkeys(row.reference for row in rows))
    body = [[f"{row.system} [{references.index(row.reference) + 1}]", *_as_printed(row, metrics)] for row in rows]
    body += _report_rows(reports, metrics)
    notes = [f"[{number}] {reference}" for number, reference in enumerate(references, 1)]
    if any(name in row.unstated for row in rows for name in row.values):
        notes.append("?: the source does not state its protocol; not to be ranked with the other rows")
    notes += lower_is_better(metrics)
    notes += _differences(reports)
    said = [[*told_first(one), *measure_notes(one, ["system"], metrics), *one.notes] for one in reports]
    notes += said_by(_labels(reports), said)
    notes += [f"not here: {line}" for datasets, line in published.not_shipped if dataset in datasets]
    if markdown:
        lines = [f"## {dataset}", "", markdown_grid([[dataset, *page_headings(metrics)], *body])]
        return "\n".join([*lines, *([""] if notes else []), *(f"- {note}" for note in notes)])
    head = [["", *group_cells(metrics)], [dataset, *(one.heading for one in metrics)]]
    return "\n".join([text_grid([*head, *body], rule_after=2), *wrapped(notes)])


def _metrics(dataset: str, reports: Sequence[Report], rows: Sequence[PublishedRow]) -> list[Metric]:
    """The data set's layout and what published rows have beyond it, without those that nobody fills."""
    own = [key for report in reports for row in report.rows.values() for key in row]
    theirs = [key for row in rows for key in row.values]
    shown = [one.name for one in with_stand_ins(layout(dataset), reports)] if dataset in DATA_SETS else own
    return [one for one in ordered_metrics([*shown, *theirs]) if one.name in {*own, *theirs}]


def _as_printed(row: PublishedRow, metrics: Sequence[Metric]) -> list[str]:
    """The cells of a published row; a question mark behind what is of no stated protocol."""
    return [
        f"{row.values[one.name]:.{one.decimals}f}{'?' if one.name in row.unstated else ''}"
        if one.name in row.values
        else ABSENT
        for one in metrics
    ]


def _labels(reports: Sequence[Report]) -> list[str]:
    """The systems' names; a name that comes again gets its number."""
    names = [report.system for report in reports]
    before = [names[:place].count(name) for place, name in enumerate(names)]
    return [name if count == 0 else f"{name} ({count + 1})" for name, count in zip(names, before)]


def _report_rows(reports: Sequence[Report], metrics: Sequence[Metric]) -> list[list[str]]:
    """Each baseline once where the reports agree on it, else once a report; then the systems."""
    labels = _labels(reports)
    cells: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for report, label in zip(reports, labels):
        for row, scores in report.rows.items():
            line = tuple(one.text(scores[one.name].value) if one.name in scores else ABSENT for one in metrics)
            cells.setdefault(row, {}).setdefault(line, []).append(label)
    systems = [[label, *line] for line, owners in cells.pop("system", {}).items() for label in owners]
    body = [
        [row if len(cells[row]) == 1 else f"{row} ({', '.join(owners)})", *line]
        for row in ordered_rows(cells)
        for line, owners in cells[row].items()
    ]
    return body + sorted(systems, key=lambda line: labels.index(line[0]))


def _differences(reports: Sequence[Report]) -> Iterator[str]:
    """One line for each fact in which the reports differ: other rules, other files, missing videos."""
    labels = _labels(reports)
    for key in dict.fromkeys(key for report in reports for key in report.facts):
        said = [fact_text(report.facts[key]) if key in report.facts else "not said" for report in reports]
        if len(set(said)) > 1:
            yield f"{key}: " + "; ".join(f"{label}: {text}" for label, text in zip(labels, said))
    ids = {report.video_ids for report in reports}
    if len(ids) > 1:
        yield "the reports are not over the same videos"
