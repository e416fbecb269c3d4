"""Moment retrieval in the V2V group: predicted windows against those that people marked, query by query.

A query without a prediction, or without windows where others have some, is a miss: 0. One whose annotation has no
windows is NaN, and so is one without a marked window of a length in the columns of lengths. Shapes: V queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...data.convert.qvhighlights import NAME as QVHIGHLIGHTS
from ..metric_registry import families_of
from ..metrics.measures import Measure
from ..metrics.moments import MomentFamily

if TYPE_CHECKING:
    from ..formats.cases import Case


def moment_rows(cases: Sequence[Case]) -> dict[str, list[Measure]]:
    """The measures of `moments.MOMENTS`, [V] values each, of the system alone; none where nothing has windows."""
    if not any(case.prediction is not None and case.prediction.windows is not None for case in cases):
        return {"system": []}
    values = {
        metric.name: np.full(len(cases), np.nan) for family in families_of(MomentFamily) for metric in family.metrics
    }
    silent = scored = 0
    for number, case in enumerate(cases):
        if case.annotation.source != QVHIGHLIGHTS or not case.annotation.key_spans:
            continue
        marked = np.array(case.annotation.key_spans[0], dtype=float)
        given = None if case.prediction is None else case.prediction.windows
        scored += 1
        silent += case.prediction is not None and given is None
        predicted = np.array(given or np.zeros((0, 3)), dtype=float)
        for family in families_of(MomentFamily):
            for name, value in family.score(predicted, marked).items():
                values[name][number] = value
    notes = (f"{silent} of {scored} queries are predicted without windows and score as misses",) if silent else ()
    found = {name: some for name, some in values.items() if not np.isnan(some).all()}
    return {"system": [Measure(name, some, notes=notes) for name, some in found.items()]}
