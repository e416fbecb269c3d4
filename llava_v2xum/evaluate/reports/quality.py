"""Quality of text summaries as data: grammar and commonsense plausibility, before and after a refinement.

The paper (appendix B) judges Instruct-V2Xum's summaries so, before and after they were refined, and shows histograms
of the grammar scores (figure 4) and the plausibility scores (figure 5). The scorers of `quality_models` are made for
single sentences, so a summary's score is by default the mean of its sentences' scores (our choice: the paper does not
say); `unit="text"` scores it in one piece.

A summary without words has no score: it is NaN, left out of the figures, and counted.

Shapes: V videos.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.annotations import Annotation
from ...core.atomic import replacing
from ...core.errors import V2XumError
from ..groups.v2t import reference_text
from ..metrics.confidence import bootstrap_counts, interval, paired
from ..metrics.measures import Measure
from ..models.quality_scorers import Scorer
from .files import as_json, or_null, write_csv, write_texts
from .quality_figures import draw_quality

log = logging.getLogger(__name__)

UNITS = ("sentence", "text")
_STOP = re.compile(r"([.!?]+[\"'\u201d\u2019)\]]*)\s+")
_TITLE = re.compile(r"\b(?:Dr|Mr|Mrs|Ms|St|Prof|Jr|Sr|vs)\.$")


@dataclass(frozen=True)
class QualityScores:
    """What one scorer says of every summary.

    Args:
        name, quality, source: the scorer's.
        before: float [V]; NaN where the video has no summary, or one without words.
        after: float [V] of the refined summaries, or None.
        truncated: how many of the scored texts were cut to the model's limit of tokens.
    """

    name: str
    quality: str
    source: str
    before: np.ndarray
    after: np.ndarray | None
    truncated: int

    def to_record(self) -> dict[str, Any]:
        """The figures as JSON has them: scores are fractions, NaN is null."""
        record = {"name": self.name, "quality": self.quality, "source": self.source, "truncated": self.truncated}
        record["before"] = _figures(self.name, self.before)
        if self.after is not None:
            record["after"] = _figures(self.name, self.after)
            record["difference"] = _difference(self.name, self.before, self.after)
        return record


@dataclass(frozen=True)
class QualityReport:
    """The scores of a set of summaries.

    Args:
        video_ids: [V], those of `before` in order, then those that only `after` has.
        scores: one for each scorer.
        unit: what was scored in one piece, "sentence" or "text".
        notes: what a reader of the figures must know, one line each.
    """

    video_ids: tuple[str, ...]
    scores: tuple[QualityScores, ...]
    unit: str
    notes: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """The whole report as JSON has it, without the scores of single videos."""
        scores = [one.to_record() for one in self.scores]
        return {"videos": len(self.video_ids), "unit": self.unit, "notes": list(self.notes), "scores": scores}


def quality_rows(
    before: Mapping[str, str], after: Mapping[str, str] | None, scorers: Sequence[Scorer], unit: str = "sentence"
) -> QualityReport:
    """Score summaries, and their refined form where there is one.

    Args:
        before: video id -> text summary, without citations.
        after: the refined ones, or None. Videos that only one of the two has stay out of the difference.
        scorers: that differ in their names.
        unit: "sentence": a summary's score is the mean of its sentences' scores; "text": it is scored in one piece,
            of which a model reads no more than its limit of tokens.

    Raises:
        V2XumError: for another unit, two scorers of one name, or if there is nothing to score, or `before` and
            `after` have no video in common.
    """
    if unit not in UNITS:
        raise V2XumError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")
    names = [scorer.name for scorer in scorers]
    if not names or len(set(names)) < len(names):
        raise V2XumError(f"expected scorers of different names, got {', '.join(names) or 'none'}")
    if not before:
        raise V2XumError("there is no summary to score")
    if after is not None and not before.keys() & after.keys():
        raise V2XumError(f"the {len(before)} summaries before and {len(after)} after have no video in common")
    video_ids = tuple({**before, **(after or {})})
    rows = []
    for scorer in scorers:
        already = scorer.truncated
        columns = [None if texts is None else _column(texts, video_ids, scorer, unit) for texts in (before, after)]
        cut = scorer.truncated - already
        rows.append(QualityScores(scorer.name, scorer.quality, scorer.source, columns[0], columns[1], cut))
    return QualityReport(video_ids, tuple(rows), unit, tuple(_notes(before, after, rows)))


def split_sentences(text: str) -> list[str]:
    """Split prose at line ends and behind `.`, `!` and `?`, except after a few titles; the words stay as they are.

    `answers.parse_answer` splits too, but brings sentences into a canonical form: here their stops are what is judged.
    """
    sentences = []
    for line in text.splitlines():
        start = 0
        for stop in _STOP.finditer(line):
            if not _TITLE.search(line[start : stop.end(1)]):
                sentences.append(line[start : stop.end(1)])
                start = stop.end()
        sentences.append(line[start:])
    return [sentence.strip() for sentence in sentences if re.search(r"\w", sentence)]


def write_quality(report: QualityReport, folder: str | os.PathLike[str]) -> list[Path]:
    """Write `quality.json` (the figures), `quality.csv` (every video's scores) and `quality_NAME.png` (histograms).

    Returns:
        The files, each of which is there whole or not at all.

    Raises:
        MissingExtra: if matplotlib is missing.
        OSError: if a file cannot be written.
    """
    files = write_texts(folder, {"quality.json": as_json(report.to_record())})
    columns = {}
    for one in report.scores:
        columns[f"{one.name}_before"] = one.before
        if one.after is not None:
            columns[f"{one.name}_after"] = one.after
    rows = zip(report.video_ids, *(map(_cell, column) for column in columns.values()))
    files.append(write_csv(Path(folder) / "quality.csv", ["video_id", *columns], rows))
    for one in report.scores:
        files.append(Path(folder) / f"quality_{one.name}.png")
        with replacing(files[-1]) as part:
            draw_quality(f"{one.quality} ({one.name}, {one.source})", one.before, one.after, part)
    return files


def annotated_text(annotation: Annotation) -> str:
    """An annotation's text summary: its text, or its sentences joined by a blank; empty where it has neither."""
    return reference_text(annotation) or ""


def _column(texts: Mapping[str, str], video_ids: Sequence[str], scorer: Scorer, unit: str) -> np.ndarray:
    """The scores [V] of one set of summaries; all their pieces go to the scorer at once, so that batches are full."""
    pieces, owners = [], []
    for place, video_id in enumerate(video_ids):
        text = texts.get(video_id, "")
        own = split_sentences(text) if unit == "sentence" else [text] * bool(re.search(r"\w", text))
        pieces += own
        owners += [place] * len(own)
    log.info("%s: %d pieces of %d summaries", scorer.name, len(pieces), len(texts))
    scores = np.asarray(scorer.score(pieces), dtype=float)
    if scores.shape != (len(pieces),) or not ((scores >= 0) & (scores <= 1)).all():
        raise V2XumError(f"{scorer.name}: expected {len(pieces)} scores in 0..1, got an array of {scores.shape}")
    places = np.array(owners, dtype=int)  # an empty list would be one of floats
    counts = np.bincount(places, minlength=len(video_ids))
    sums = np.bincount(places, scores, minlength=len(video_ids))
    return np.divide(sums, counts, out=np.full(len(video_ids), np.nan), where=counts > 0)


def _notes(before: Mapping[str, str], after: Mapping[str, str] | None, rows: Sequence[QualityScores]) -> list[str]:
    notes = []
    for name, texts in (("before", before), ("after", after or {})):
        empty = sum(not re.search(r"\w", text) for text in texts.values())
        if empty:
            notes.append(f"{empty} of {len(texts)} summaries {name} have no words and no score")
    if after is not None and before.keys() != after.keys():
        alone = len(before.keys() - after.keys()), len(after.keys() - before.keys())
        notes.append(f"{alone[0]} videos have a summary before only, {alone[1]} after only: not in the difference")
    notes += [
        f"{one.name}: {one.truncated} texts were longer than the model reads, and were cut"
        for one in rows
        if one.truncated
    ]
    return notes


def _figures(name: str, scores: np.ndarray) -> dict[str, Any]:
    there = scores[np.isfinite(scores)]
    low, high = interval(Measure(name, there), bootstrap_counts(len(there)))
    mean, median = (float(np.mean(there)), float(np.median(there))) if len(there) else (math.nan, math.nan)
    figures = {"summaries": len(there), "mean": mean, "low": low, "high": high, "median": median}
    return {key: or_null(value) for key, value in figures.items()}


def _difference(name: str, before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    """After minus before over the videos that have both; p is the paired permutation test's."""
    both = np.isfinite(before) & np.isfinite(after)
    test = paired(Measure(name, after[both]), Measure(name, before[both]))
    median = float(np.median(after[both] - before[both])) if both.any() else math.nan
    figures = {"summaries": test.videos, "mean": test.difference, "low": test.low, "high": test.high, "median": median}
    return {key: or_null(value) for key, value in {**figures, "p": test.p}.items()}


def _cell(score: float) -> str:
    return f"{score:.6f}" if math.isfinite(score) else ""
