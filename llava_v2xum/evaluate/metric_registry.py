"""Every metric that reports know, family by family, in the order of the tables.

Another metric is a file with a `Family` of its kind beside its scorer, and a line here: the groups compute it, and
tables, comparisons and pictures show it. One that its own option switches on has that in `commands/options.py` too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from .metrics.captions import COCO
from .metrics.clip_scores import CROSS_F_CLIP, F_CLIP, VT_CLIPSCORE
from .metrics.concepts import CONCEPTS
from .metrics.dense import DENSE
from .metrics.events import DETECTION
from .metrics.highlights import AT_BUDGETS, HIGHLIGHTS, PIECES
from .metrics.metric import Family, Metric
from .metrics.moments import MOMENTS
from .metrics.v2v_scores import CORRELATIONS, KEYSHOT_F1, SET_F1, SUMMARY_CORRELATIONS, TOP_F1
from .models.bertscores import BERTSCORE
from .models.judge import JUDGED

FAMILIES: tuple[Family, ...] = (
    SET_F1,
    TOP_F1,
    KEYSHOT_F1,
    CORRELATIONS,
    SUMMARY_CORRELATIONS,
    HIGHLIGHTS,
    MOMENTS,
    PIECES,
    AT_BUDGETS,
    CONCEPTS,
    F_CLIP,
    *COCO,
    BERTSCORE,
    JUDGED,
    DETECTION,
    DENSE,
    VT_CLIPSCORE,
    CROSS_F_CLIP,
)
METRICS: dict[str, Metric] = {metric.name: metric for family in FAMILIES for metric in family.metrics}

Kind = TypeVar("Kind", bound=Family)


def families_of(kind: type[Kind]) -> list[Kind]:
    """The families whose scorers are of a kind, such as `SampleFamily`."""
    return [family for family in FAMILIES if isinstance(family, kind)]


def metric_of(name: str) -> Metric:
    """The metric of a name; one that is not registered goes by its name, as it is, with four decimals.

    A registered one at a threshold, such as `dense_f1@0.5`, is shown as that one.
    """
    base = _base(name)
    if base not in METRICS:
        return Metric(name, name, scale=1.0, decimals=4)
    known = METRICS[base]
    return known if name == base else replace(known, name=name, heading=known.heading + name.removeprefix(base))


def ordered_metrics(names: Iterable[str]) -> list[Metric]:
    """Each metric once: the registered ones in their order, then the others as they came."""
    places = {name: place for place, name in enumerate(METRICS)}
    return [metric_of(one) for one in sorted(dict.fromkeys(names), key=lambda one: places.get(_base(one), len(places)))]


def _base(name: str) -> str:
    return name.partition("@")[0]
