"""Two systems on the same videos, measure by measure: difference, interval, and p before and after correction.

Testing many measures at once finds differences by chance; the last column is Holm's correction over all measures of
the table (Holm 1979), the one to read unless a single measure was named beforehand.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import V2XumError
from ..metric_registry import metric_of, ordered_metrics
from ..metrics.confidence import LEVEL, PERMUTATIONS, RESAMPLES, Paired, holm, paired
from ..metrics.measures import Measure
from ..metrics.metric import ABSENT, Metric
from .files import as_json, or_null, write_texts
from .layouts import lower_is_better, markdown_grid, text_grid, wrapped


@dataclass(frozen=True)
class Comparison:
    """Every measure that both systems have.

    Args:
        a, b: what the systems are called.
        pairs: one for each measure, in the order of the tables.
        corrected: [pairs], Holm's p over all of them.
        left_out: measures that only one of the two has.
        videos: how many were compared.
        notes: what a reader must know of how they were scored, one line each.
    """

    a: str
    b: str
    pairs: tuple[Paired, ...]
    corrected: tuple[float, ...]
    left_out: tuple[str, ...]
    videos: int
    level: float = LEVEL
    notes: tuple[str, ...] = ()


def compare_rows(
    a_measures: Sequence[Measure],
    b_measures: Sequence[Measure],
    a: str = "a",
    b: str = "b",
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    level: float = LEVEL,
    notes: Sequence[str] = (),
) -> Comparison:
    """Compare two systems' measures over the same videos, in the same order.

    Args:
        a_measures, b_measures: the `system` rows of two prediction files scored alike.
        a, b: what the systems are called.
        notes: what a reader must know of how they were scored.

    Raises:
        V2XumError: if they share no measure, or a shared one is not over the same videos (`confidence.paired`).
    """
    ours, theirs = ({measure.name: measure for measure in measures} for measures in (a_measures, b_measures))
    shared = [one.name for one in ordered_metrics(key for key in ours if key in theirs)]
    if not shared:
        raise V2XumError(f"{a} and {b} have no measure in common: {sorted(ours)} and {sorted(theirs)}")
    both = {key: _of_both(ours[key], theirs[key]) for key in shared}
    fewer = [metric_of(key).heading for key in shared if both[key][0] is not ours[key]]
    if fewer:
        notes = [*notes, f"{', '.join(fewer)}: over the videos that both systems have a score of"]
    pairs = tuple(paired(*both[key], resamples, permutations, seed, level) for key in shared)
    return Comparison(
        a=a,
        b=b,
        pairs=pairs,
        corrected=tuple(holm(np.array([pair.p for pair in pairs])).tolist()),
        left_out=tuple(sorted(set(ours) ^ set(theirs))),
        videos=len(ours[shared[0]].values),
        level=level,
        notes=tuple(notes),
    )


def _of_both(ours: Measure, theirs: Measure) -> tuple[Measure, Measure]:
    """Two measures without the videos that only one has a value of: METEOR cannot take every text."""
    if np.array_equal(np.isnan(ours.values), np.isnan(theirs.values)) or len(ours.values) != len(theirs.values):
        return ours, theirs
    lacking = np.isnan(ours.values) | np.isnan(theirs.values)
    kept = []
    for one in (ours, theirs):
        counts = None if one.statistics is None else np.where(lacking[:, None], 0.0, one.statistics)
        kept.append(replace(one, values=np.where(lacking, np.nan, one.values), statistics=counts))
    return kept[0], kept[1]


def format_comparison(comparison: Comparison, markdown: bool = False) -> str:
    """The table and what must be said under it, for a terminal or as Markdown."""
    percent = f"{comparison.level * 100:g} %"
    head = ["measure", comparison.a, comparison.b, "difference", f"{percent} interval", "p", "p (Holm)", "videos"]
    grid = [head]
    for pair, corrected in zip(comparison.pairs, comparison.corrected):
        shown = metric_of(pair.name)
        interval = ABSENT if math.isnan(pair.low) else f"[{_signed(shown, pair.low)}, {_signed(shown, pair.high)}]"
        grid.append(
            [
                pair.name,
                shown.text(pair.a),
                shown.text(pair.b),
                _signed(shown, pair.difference),
                interval,
                _p(pair.p),
                _p(corrected),
                str(pair.videos),
            ]
        )
    notes = [
        f"difference: {comparison.a} - {comparison.b}; interval: paired bootstrap over videos; "
        "p: two-sided, the two systems swapped video by video at random",
        f"p (Holm): corrected for testing {len(comparison.pairs)} measures at once",
    ]
    if comparison.left_out:
        notes.append(f"left out, because only one of the two has them: {', '.join(comparison.left_out)}")
    notes += [*lower_is_better(metric_of(pair.name) for pair in comparison.pairs), *comparison.notes]
    if markdown:
        title = f"# {comparison.a} against {comparison.b} on {comparison.videos} videos"
        return "\n".join([title, "", markdown_grid(grid), "", *(f"- {note}" for note in notes)]) + "\n"
    return "\n".join([text_grid(grid), *wrapped(notes)])


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """The JSON object: numbers as fractions at full precision, null where there is none."""
    pairs = [
        {**asdict(pair), "p_holm": corrected} for pair, corrected in zip(comparison.pairs, comparison.corrected)
    ]
    return {
        "a": comparison.a,
        "b": comparison.b,
        "videos": comparison.videos,
        "level": comparison.level,
        "left_out": list(comparison.left_out),
        "notes": list(comparison.notes),
        "measures": [{key: or_null(value) for key, value in pair.items()} for pair in pairs],
    }


def write_comparison(comparison: Comparison, folder: str | os.PathLike[str]) -> list[Path]:
    """Write `compare.json` and `compare.md`, each whole or not at all; returns their paths.

    Raises:
        OSError: if a file cannot be written.
    """
    record, page = as_json(comparison_record(comparison)), format_comparison(comparison, markdown=True)
    return write_texts(folder, {"compare.json": record, "compare.md": page})


def _signed(shown: Metric, value: float) -> str:
    text = shown.text(value)
    return text if text == ABSENT or text.startswith("-") or float(text) == 0 else f"+{text}"


def _p(value: float) -> str:
    if math.isnan(value):
        return ABSENT
    return "<0.001" if value < 0.001 else f"{value:.3f}"
