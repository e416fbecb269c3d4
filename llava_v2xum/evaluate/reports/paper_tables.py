"""Tables 2 to 5 of the paper (arXiv 2404.12353), in its own columns and scales, with the rows of reports below its own.

The paper's rows are the published ones of its sources. Rows of reports stand apart from them: the paper does not state
every protocol, so that nothing here is ranked.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...core.errors import V2XumError
from ..metric_registry import METRICS
from ..metrics.metric import ABSENT, Metric
from .layouts import markdown_grid
from .report import told_first, with_stand_ins
from .scores import Report
from .side_by_side import Published, PublishedRow

SOURCE = "v2xum-llm"  # what the names of the paper's sources begin with
FORMS = ("markdown", "latex", "csv")
Column = tuple[str, str]  # data set and measure
_TEXT, _FRAMES = ("bleu_4", "meteor", "rouge_l", "cider"), ("f1", "spearman", "kendall")
_BOTH = ("f_clip", "cross_f_clip")
_LATEX = {"~": r"\textasciitilde{}", "\\": r"\textbackslash{}"}  # other characters of LaTeX's take a backslash


@dataclass(frozen=True)
class PaperTable:
    """One table.

    Args:
        title: what it shows.
        columns: in the paper's order.
        fractions: the measures that it prints as fractions with three decimals; all others in percent with one.
    """

    title: str
    columns: tuple[Column, ...]
    fractions: tuple[str, ...] = ("spearman", "kendall", *_BOTH)


def _of(dataset: str, *measures: str) -> tuple[Column, ...]:
    return tuple((dataset, measure) for measure in measures)


PAPER_TABLES = {
    2: PaperTable("VideoXum", _of("videoxum", *_TEXT, *_FRAMES, *_BOTH)),
    3: PaperTable(
        "rank correlations on TVSum and SumMe",
        _of("tvsum", "spearman", "kendall") + _of("summe", "spearman", "kendall"),
    ),
    4: PaperTable("Instruct-V2Xum", _of("instruct-v2xum", *_TEXT, "f1", *_BOTH), fractions=()),
    5: PaperTable("ablations, on VideoXum", _of("videoxum", *_TEXT, *_FRAMES, *_BOTH)),
}


def paper_tables(
    numbers: Sequence[int], reports: Sequence[Report], published: Published, form: str = "markdown"
) -> str:
    """The tables, one after another.

    A report's row has its figures of the table's data sets; reports of one system's name share a row. A measure of
    another protocol than the paper may mean is told in the notes, not left out.

    Args:
        numbers: of `PAPER_TABLES`.
        form: of `FORMS`.

    Raises:
        V2XumError: if a number or the form is unknown.
    """
    unknown = [number for number in numbers if number not in PAPER_TABLES]
    if unknown or form not in FORMS:
        raise V2XumError(f"expected tables of {', '.join(map(str, PAPER_TABLES))} as one of {', '.join(FORMS)}, "
            f"got {list(numbers)} and {form!r}")  # fmt: skip
    write = {"markdown": _markdown, "latex": _latex, "csv": _csv}[form]
    return "\n".join(write(number, *_grid(number, reports, published)) for number in numbers)


Row = list[str]


def _grid(number: int, reports: Sequence[Report], published: Published) -> tuple[Row, list[Row], list[Row], list[str]]:
    """The heading, the paper's rows, the reports' rows, and what must be said under them."""
    table = PAPER_TABLES[number]
    several = len({dataset for dataset, _ in table.columns}) > 1
    metrics = [METRICS[measure] for _, measure in table.columns]
    head = ["", *(f"{dataset} {one.heading}" if several else one.heading
                  for (dataset, _), one in zip(table.columns, metrics))]  # fmt: skip
    rows = [one for one in published.rows if one.source.startswith(SOURCE) and one.table == f"table {number}"]
    theirs: dict[str, dict[str, PublishedRow]] = {}
    for row in rows:
        theirs.setdefault(row.system, {})[row.dataset] = row
    ours: dict[str, dict[str, Report]] = {}
    for report in reports:
        if any(report.dataset == dataset for dataset, _ in table.columns):
            name = report.system
            while report.dataset in ours.get(name, {}):
                name += " (again)"
            ours.setdefault(name, {})[report.dataset] = report
    notes = list(dict.fromkeys(row.reference for row in rows))
    notes += [f"{report.system} ({report.dataset}): {line}" for some in ours.values() for report in some.values()
              for line in (*told_first(report), *_protocols(table, report))]  # fmt: skip
    return (
        head,
        [[name, *(_printed(table, column, by_set) for column in table.columns)] for name, by_set in theirs.items()],
        [[name, *(_scored(table, column, by_set) for column in table.columns)] for name, by_set in ours.items()],
        notes,
    )


def _text(table: PaperTable, metric: Metric, fraction: float) -> str:
    """A figure in the table's scale: three decimals of a fraction, one of percent (CIDEr a hundredfold, as usual)."""
    return f"{fraction:.3f}" if metric.name in table.fractions else f"{100 * fraction:.1f}"


def _printed(table: PaperTable, column: Column, by_set: dict[str, PublishedRow]) -> str:
    dataset, measure = column
    row = by_set.get(dataset)
    if row is None or measure not in row.values:
        return ABSENT
    metric = METRICS[measure]
    return _text(table, metric, row.values[measure] / metric.scale) + "?" * (measure in row.unstated)


def _scored(table: PaperTable, column: Column, by_set: dict[str, Report]) -> str:
    dataset, measure = column
    score = None
    if dataset in by_set:
        score = by_set[dataset].score("system", _shown(by_set[dataset], measure).name)
    return ABSENT if score is None or math.isnan(score.value) else _text(table, METRICS[measure], score.value)


def _shown(report: Report, measure: str) -> Metric:
    """The metric of a column that a report has: the column's own, or the one that stands in for it."""
    return METRICS[[one.name for one in with_stand_ins([METRICS[measure]], [report])][-1]]


def _protocols(table: PaperTable, report: Report) -> list[str]:
    """What a report's figures are, in the columns whose protocol the paper may have chosen otherwise."""
    shown = [measure for dataset, measure in table.columns if dataset == report.dataset]
    choice = [_shown(report, measure) for measure in ("f1", "spearman", "kendall") if measure in shown]
    return [f"{one.heading}: {one.about}" for one in choice if report.score("system", one.name) is not None]


def _heading(number: int) -> str:
    return f"Table {number}: {PAPER_TABLES[number].title}"


_APART = "?: the paper does not state the protocol; rows below the rule are not ranked with those above"


def _markdown(number: int, head: Row, theirs: list[Row], ours: list[Row], notes: list[str]) -> str:
    ours = [[f"**{name}**", *cells] for name, *cells in ours]
    told = [f"- {note}" for note in (_APART.replace("below the rule", "in bold type"), *notes)]
    return "\n".join([f"## {_heading(number)}", "", markdown_grid([head, *theirs, *ours]), "", *told, ""])


def _latex(number: int, head: Row, theirs: list[Row], ours: list[Row], notes: list[str]) -> str:
    """A tabular for booktabs; notes are comments."""
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in (head, *theirs)]
    lines.insert(1, r"\midrule")
    if ours:
        lines += [r"\midrule", *(" & ".join(map(_escaped, row)) + r" \\" for row in ours)]
    body = [r"\toprule", *lines, r"\bottomrule"]
    return "\n".join([*(f"% {note}" for note in (_heading(number), _APART, *notes)),
                      rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", *body, r"\end{tabular}", ""])  # fmt: skip


def _csv(number: int, head: Row, theirs: list[Row], ours: list[Row], notes: list[str]) -> str:
    """Rows that say whose they are; an absent cell is empty, and the question mark a column of its own."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["table", "from", "system", *head[1:], "protocol not stated"])
    for whose, rows in (("paper", theirs), ("report", ours)):
        for name, *cells in rows:
            unstated = [title for title, cell in zip(head[1:], cells) if cell.endswith("?")]
            kept = ["" if cell == ABSENT else cell.rstrip("?") for cell in cells]
            writer.writerow([number, whose, name, *kept, "; ".join(unstated)])
    return text.getvalue()


def _escaped(text: str) -> str:
    return re.sub(r"[&%$#_{}~\\]", lambda match: _LATEX.get(match[0], f"\\{match[0]}"), text)
