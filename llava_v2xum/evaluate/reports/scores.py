"""Every figure of one prediction file with its interval: made from the measures, written as JSON and read back.

`report.json` has these keys (numbers at full precision; null where there is no figure):

| key | type | what |
| --- | --- | --- |
| `format` | 1 | this schema |
| `dataset` | text | of `formats.data_sets.DATA_SETS`, such as `videoxum` |
| `system` | text | what the system is called in tables |
| `facts` | object of text, numbers, booleans, lists | how it was scored: files, videos missing, rules, versions |
| `doubts` | [text] | why the files may not be what they are taken for, told before any figure; may be left out |
| `notes` | [text] | what a reader of the table must know |
| `level` | number or null | what the intervals hold, 0.95; null without intervals |
| `rows` | {row: {measure: {`value`, `low`, `high`, `notes`}}} | the rows `system`, `random`, `uniform`, `human` |
| `absent` | {measure: text} | measures that could not be computed for the system, and why |
| `video_ids` | [V] text | in the order of the annotations |
| `per_video` | {measure: [V] number or null} | the system's value on each video; null where nothing can be scored |

Values are fractions (correlations from -1 to 1, CIDEr as pycocoevalcap gives it); tables scale them (`layouts`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import V2XumError
from ..formats.other_files import REPORT_JSON
from ..metric_registry import ordered_metrics
from ..metrics.confidence import LEVEL, RESAMPLES, bootstrap_counts, interval
from ..metrics.measures import Measure
from .files import FORMAT, or_null, read_record


@dataclass(frozen=True)
class Score:
    """One figure and its interval; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What was scored, how, and what came out; the fields are those of the module's schema."""

    dataset: str
    system: str
    facts: Mapping[str, Any]
    rows: Mapping[str, Mapping[str, Score]]
    video_ids: tuple[str, ...]
    per_video: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    level: float | None = LEVEL
    doubts: tuple[str, ...] = ()

    def score(self, row: str, key: str) -> Score | None:
        """A figure, or None where the row does not have it."""
        return self.rows.get(row, {}).get(key)

    @property
    def keys(self) -> list[str]:
        """Every measure of any row, in the order of the tables."""
        return [shown.name for shown in ordered_metrics(key for row in self.rows.values() for key in row)]


def make_report(
    dataset: str,
    system: str,
    rows: Mapping[str, Sequence[Measure]],
    video_ids: Sequence[str],
    facts: Mapping[str, Any],
    notes: Sequence[str] = (),
    absent: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    doubts: Sequence[str] = (),
) -> Report:
    """Compute every figure and its bootstrap interval.

    Args:
        rows: the measures of each row over the same V videos; `system` is one of them.
        video_ids: [V], in the order of the measures' values.
        facts: how it was scored, for the header.
        absent: measures that the system has no figure for, and why.
        resamples: of the bootstrap; 0 for no intervals.

    Raises:
        V2XumError: if there is no row `system`, a measure comes twice in a row or is of another number of videos.
    """
    if "system" not in rows:
        raise V2XumError(f"expected a row named system, got {', '.join(rows) or 'none'}")
    counts = bootstrap_counts(len(video_ids), resamples, seed)
    scores = {row: _scores(row, measures, counts, level) for row, measures in rows.items()}
    notes = list(notes)
    if len(video_ids) < 2 and resamples:
        notes.append("no intervals: they need two videos or more")
    return Report(
        dataset=dataset,
        system=system,
        facts={**facts, "bootstrap": {"resamples": resamples, "seed": seed}} if resamples else dict(facts),
        rows=scores,
        video_ids=tuple(video_ids),
        per_video={measure.name: tuple(measure.values.tolist()) for measure in rows["system"]},
        absent=dict(absent or {}),
        notes=tuple(notes),
        level=level if resamples else None,
        doubts=tuple(doubts),
    )


def _scores(row: str, measures: Sequence[Measure], counts: np.ndarray, level: float) -> dict[str, Score]:
    scores: dict[str, Score] = {}
    for measure in measures:
        if measure.name in scores:
            raise V2XumError(f"row {row}: the measure {measure.name} comes twice")
        if len(measure.values) != counts.shape[1]:
            raise V2XumError(
                f"row {row}: {measure.name}: expected {counts.shape[1]} videos, got {len(measure.values)}"
            )
        scores[measure.name] = Score(measure.value, *interval(measure, counts, level), measure.notes)
    return scores


def to_record(report: Report) -> dict[str, Any]:
    """The JSON object of the module's schema."""
    return {
        "format": FORMAT,
        "dataset": report.dataset,
        "system": report.system,
        "facts": dict(report.facts),
        "doubts": list(report.doubts),
        "notes": list(report.notes),
        "level": report.level,
        "rows": {
            row: {
                key: {"value": or_null(s.value), "low": or_null(s.low), "high": or_null(s.high), "notes": list(s.notes)}
                for key, s in scores.items()
            }
            for row, scores in report.rows.items()
        },
        "absent": dict(report.absent),
        "video_ids": list(report.video_ids),
        "per_video": {key: [or_null(value) for value in values] for key, values in report.per_video.items()},
    }


def read_report(path: str | os.PathLike[str]) -> Report:
    """Read a report back, from `report.json` or the folder that holds it.

    Raises:
        V2XumError: naming the file, if it is no report of this format.
        OSError: if it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        path = path / REPORT_JSON
    record = read_record(path, "a report")
    texts = {key: record.get(key) for key in ("dataset", "system")}
    if not all(isinstance(text, str) for text in texts.values()) or not isinstance(record.get("facts"), dict):
        raise V2XumError(f"{path}: not a report: dataset and system must be text and facts an object, got {texts}")
    try:
        return Report(
            dataset=record["dataset"],
            system=record["system"],
            facts=record["facts"],
            rows={
                row: {
                    key: Score(_number(s["value"]), _number(s["low"]), _number(s["high"]), tuple(s["notes"]))
                    for key, s in scores.items()
                }
                for row, scores in record["rows"].items()
            },
            video_ids=tuple(record["video_ids"]),
            per_video={key: tuple(map(_number, values)) for key, values in record["per_video"].items()},
            absent=record["absent"],
            notes=tuple(record["notes"]),
            level=record["level"],
            doubts=tuple(record.get("doubts", ())),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise V2XumError(f"{path}: not a report: {type(error).__name__} {error}") from error


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
