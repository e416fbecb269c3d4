"""Which columns a data set's table shows, how a figure is written, and a grid of cells as text or Markdown.

Figures are fractions everywhere in the package. Tables show them as the literature does: F1 and caption scores in
percent points with one decimal, rank correlations as they are with three (VideoXum's and V2Xum-LLM's tables).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ...core.errors import V2XumError

GROUPS = ("V2V", "V2T", "V2VT")
WIDTH = 110  # of text in a terminal
ABSENT = "-"  # a cell that has no figure
ROW_ORDER = ("system", "random", "uniform", "human")


@dataclass(frozen=True)
class Column:
    """How one measure is shown.

    Args:
        key: the measure's name.
        heading: over the column.
        group: V2V, V2T or V2VT; empty for a measure that this file does not know.
        about: what the figure is, in a few words.
        scale: what a fraction is multiplied with.
        decimals: how many are written.
        higher_is_better: the direction; all measures known here rise with quality.
    """

    key: str
    heading: str
    group: str = ""
    about: str = ""
    scale: float = 100.0
    decimals: int = 1
    higher_is_better: bool = True

    def text(self, value: float | None, low: float | None = None, high: float | None = None) -> str:
        """A figure as tables write it, `29.0`, with its interval if it has one, `29.0 [27.8, 30.1]`."""
        if not _is_there(value):
            return ABSENT
        shown = self._number(value)
        if _is_there(low) and _is_there(high):
            shown += f" [{self._number(low)}, {self._number(high)}]"
        return shown

    def _number(self, value: float) -> str:
        shown = f"{value * self.scale:.{self.decimals}f}"
        return shown.lstrip("-") if float(shown) == 0 else shown  # no -0.000


def _correlation(key: str, heading: str, about: str) -> Column:
    return Column(key, heading, "V2V", about, scale=1.0, decimals=3)


_ORDERS = (1, 2, 3, 4)
_KNOWN = (
    Column("f1", "F1", "V2V", "selected frames against each annotator, mean over annotators"),
    Column("f1_max", "F1 max", "V2V", "selected frames against the annotator that fits best"),
    Column("f1_top15", "F1 top15", "V2V", "top 15 % by importance (rule top15), mean over annotators"),
    Column("f1_top15_max", "F1 top15 max", "V2V", "top 15 % by importance (rule top15), best annotator"),
    Column("f1_videoxum", "F1 vx", "V2V", "top 15 % as VideoXum means it (rule videoxum), mean over annotators"),
    Column("f1_videoxum_max", "F1 vx max", "V2V", "top 15 % as VideoXum means it (rule videoxum), best annotator"),
    Column("f1_videoxum_script", "F1 script", "V2V", "as VideoXum's script computes it (rule videoxum-script), mean"),
    Column("f1_videoxum_script_max", "F1 script max", "V2V", "as VideoXum's script computes it, best annotator"),
    Column("keyshot_f1_avg", "F avg", "V2V", "keyshots within 15 %, mean over annotators"),
    Column("keyshot_f1_max", "F max", "V2V", "keyshots within 15 %, best annotator"),
    _correlation("kendall", "Kendall", "importance against the annotators' mean"),
    _correlation("spearman", "Spearman", "importance against the annotators' mean"),
    _correlation("kendall_per_annotator", "Kendall/ann", "importance against each annotator, then the mean"),
    _correlation("spearman_per_annotator", "Spearman/ann", "importance against each annotator, then the mean"),
    _correlation("kendall_summary", "Kendall/sum", "keyshot summary against the annotators' mean summary"),
    _correlation("spearman_summary", "Spearman/sum", "keyshot summary against the annotators' mean summary"),
    Column("f_clip", "F_CLIP", "V2V", "selected and reference frames in CLIP's space"),
    *(Column(f"bleu_{n}", f"BLEU@{n}", "V2T", f"up to {n}-grams, summed over the videos") for n in _ORDERS),
    Column("meteor", "METEOR", "V2T", "METEOR 1.5"),
    Column("rouge_l", "ROUGE-L", "V2T", "longest common subsequence"),
    Column("cider", "CIDEr", "V2T", "tf-idf weighted n-grams"),
    Column("bertscore_precision", "BERTScore P", "V2T", "predicted tokens matched by their embeddings"),
    Column("bertscore_recall", "BERTScore R", "V2T", "reference tokens matched by their embeddings"),
    Column("bertscore", "BERTScore", "V2T", "F1 of matched token embeddings"),
    Column("dense_precision", "dense P", "V2T", "predicted events that overlap an annotated one, mean over tIoUs"),
    Column("dense_recall", "dense R", "V2T", "annotated events that a predicted one overlaps, mean over tIoUs"),
    Column("dense_f1", "dense F1", "V2T", "of dense precision and recall"),
    *(Column(f"dense_bleu_{n}", f"dense BLEU@{n}", "V2T", "of overlapping events, mean over tIoUs") for n in _ORDERS),
    Column("dense_meteor", "dense METEOR", "V2T", "of overlapping events, mean over tIoUs"),
    Column("dense_rouge_l", "dense ROUGE-L", "V2T", "of overlapping events, mean over tIoUs"),
    Column("dense_cider", "dense CIDEr", "V2T", "of overlapping events, mean over tIoUs"),
    Column("soda_c", "SODA_c", "V2T", "dense captions matched in time order"),
    Column("soda_c_script", "SODA_c script", "V2T", "the same as its published script computes it"),
    Column("vt_clipscore", "VT-CLIP", "V2VT", "VT-CLIPScore: the summary's frames against its text"),
    Column("cross_f_clip", "Cross-F_CLIP", "V2VT", "frames against the reference's sentences and the other way"),
)
COLUMNS = {column.key: column for column in _KNOWN}

_FRAMES, _TEXT = ("f1", "kendall", "spearman", "f_clip"), ("bleu_4", "meteor", "rouge_l", "cider")
_CROSS_MODAL = (*_FRAMES, *_TEXT, "vt_clipscore", "cross_f_clip")
# TVSum's F is the mean over annotators and its correlations are per annotator; SumMe's are the best annotator's, and
# both protocols of correlation are in use.
LAYOUTS: dict[str, tuple[str, ...]] = {
    "videoxum": _CROSS_MODAL,
    "instruct-v2xum": _CROSS_MODAL,
    "shapes": _CROSS_MODAL,
    "tvsum": ("keyshot_f1_avg", "kendall_per_annotator", "spearman_per_annotator", "f_clip"),
    "summe": (
        *("keyshot_f1_max", "kendall_per_annotator", "spearman_per_annotator", "kendall_summary", "spearman_summary"),
        "f_clip",
    ),
    "activitynet-captions": (*_FRAMES, *_TEXT, "dense_f1", "dense_meteor", "soda_c"),
}


def column(key: str) -> Column:
    """How a measure is shown; one that is not known here goes by its name, as it is, with four decimals.

    A known one at a threshold, such as `dense_f1@0.5`, is shown as that one.
    """
    base = _base(key)
    if base not in COLUMNS:
        return Column(key, key, scale=1.0, decimals=4)
    known = COLUMNS[base]
    return known if key == base else replace(known, key=key, heading=known.heading + key.removeprefix(base))


def layout(dataset: str) -> tuple[Column, ...]:
    """The columns of a data set's main table, in the order V2V, V2T, V2VT.

    Raises:
        V2XumError: naming the data sets that have one.
    """
    if dataset not in LAYOUTS:
        raise V2XumError(f"no table layout for the data set {dataset!r}; there are {', '.join(LAYOUTS)}")
    return tuple(COLUMNS[key] for key in LAYOUTS[dataset])


def ordered_columns(keys: Iterable[str]) -> list[Column]:
    """One column for each measure: the known ones in this file's order, then the others as they came."""
    places = {key: place for place, key in enumerate(COLUMNS)}
    return [column(key) for key in sorted(dict.fromkeys(keys), key=lambda key: places.get(_base(key), len(places)))]


def ordered_rows(names: Iterable[str]) -> list[str]:
    """The rows of a table: system, random, uniform, human, then any other as they came."""
    names = list(dict.fromkeys(names))
    return [name for name in ROW_ORDER if name in names] + [name for name in names if name not in ROW_ORDER]


def group_cells(columns: Sequence[Column]) -> list[str]:
    """The line over the headings: each group's name over its first column."""
    return [c.group if n == 0 or columns[n - 1].group != c.group else "" for n, c in enumerate(columns)]


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


def _base(key: str) -> str:
    return key.partition("@")[0]


def _is_there(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
