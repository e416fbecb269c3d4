"""The V2V metrics of one video: every candidate against every annotator at once.

Shapes: B candidates (a system and baselines), A annotators, T samples, F frames.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .baselines import human_correlations, human_f1
from .keyframes import RULES, f1_table, keyshot_summary, top_fraction
from .metric import FRAMES, IMPORTANCE, Family, Metric, Need
from .rank_correlation import TABLES, Ranks

if TYPE_CHECKING:
    from ...core.keyshots import Keyshots

Scores = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class SampledVideo:
    """What is scored of one video, and against what.

    Args:
        importance: float [B, T].
        sets: bool [B, T].
        marks: bool [A, T], the samples that each annotator selected; A may be 0.
        people: [A, T], each annotator's importance, or the marks where nobody gave any.
        mean: float [T], the annotators' mean importance, or their sum.
        fraction: how much of the video a summary by importance takes.
        keyshots: of TVSum and SumMe, whose samples are the picks; None at 1 FPS.
        budget: of `knapsack.BUDGETS`, what a keyshot summary takes the fraction of.
        grades: [R, T], people's grades of the samples, of QVHighlights.
        concepts: [S], what each of S equally long shots of the samples shows, of QFVS.
        ranking: whether the metrics of `highlights` are asked for that every video has.
    """

    importance: np.ndarray
    sets: np.ndarray
    marks: np.ndarray
    people: np.ndarray
    mean: np.ndarray
    fraction: float
    keyshots: Keyshots | None = None
    budget: str = "frames"
    grades: np.ndarray | None = None
    ranking: bool = False
    concepts: Sequence[Collection[str]] | None = None

    @cached_property
    def summaries(self) -> np.ndarray | None:
        """The candidates' keyshot summaries, bool [B, F]; None without change points or annotators' summaries."""
        shots = self.keyshots
        if shots is None or shots.change_points is None or not len(self.users):
            return None
        points, lengths = np.array(shots.change_points), np.array(shots.n_frame_per_segment)
        return keyshot_summary(
            self.importance, points, shots.n_frames, lengths, np.array(shots.picks), self.fraction, self.budget
        )

    @cached_property
    def users(self) -> np.ndarray:
        """The annotators' keyshot summaries, bool [A, F]; none at 1 FPS."""
        return np.zeros((0, 0), dtype=bool) if self.keyshots is None else self.keyshots.user_summary()


@dataclass(frozen=True)
class SampleFamily(Family):
    """Metrics of which moments of a video matter.

    Args:
        score: a video -> [B] a metric; of those that the video has what is needed for.
        human: a video -> the figure of each annotator against the others, of the metrics that a person's choice has.
    """

    score: Callable[[SampledVideo], Scores]
    human: Callable[[SampledVideo], dict[str, float]] = lambda video: {}


def _set_f1(video: SampledVideo) -> Scores:
    return _f1("f1", video.sets, video.marks) if len(video.marks) else {}


def _top_f1(video: SampledVideo) -> Scores:
    scores: Scores = {}
    for rule in RULES if video.keyshots is None else ():
        seen = slice(_SCRIPT_SAMPLES if rule == "videoxum-script" else None)
        chosen = top_fraction(video.importance[:, seen], video.fraction, rule)
        scores |= _f1("f1_" + rule.replace("-", "_"), chosen, video.marks[:, seen])
    return scores


def _keyshot_f1(video: SampledVideo) -> Scores:
    if video.summaries is None:
        return {}
    f1 = f1_table(video.summaries, video.users)
    return {"keyshot_f1_avg": f1.mean(axis=1), "keyshot_f1_max": f1.max(axis=1)}


def _correlations(video: SampledVideo) -> Scores:
    """Per annotator only where there are some."""
    ranks, mean, people = Ranks(video.importance), Ranks(video.mean[None]), Ranks(video.people)
    scores = {kind: table(ranks, mean)[:, 0] for kind, table in TABLES.items()}
    if len(people):
        scores |= {f"{kind}_per_annotator": table(ranks, people).mean(axis=1) for kind, table in TABLES.items()}
    return scores


def _summary_correlations(video: SampledVideo) -> Scores:
    if video.summaries is None:
        return {}
    ranks, masks = Ranks(video.summaries), Ranks(video.users.sum(axis=0, keepdims=True))
    return {f"{kind}_summary": table(ranks, masks)[:, 0] for kind, table in TABLES.items()}


def _human_summary_correlations(video: SampledVideo) -> dict[str, float]:
    if len(video.users) < 2:
        return {}
    ranks, others = Ranks(video.users), Ranks(video.users.sum(axis=0) - video.users.astype(int))
    return {f"{kind}_summary": float(np.diagonal(table(ranks, others)).mean()) for kind, table in TABLES.items()}


def _f1(name: str, sets: np.ndarray, people: np.ndarray) -> Scores:
    f1 = f1_table(sets, people)
    return {name: f1.mean(axis=1), f"{name}_max": f1.max(axis=1)}


def _human_f1(names: tuple[str, str], masks: np.ndarray) -> dict[str, float]:
    return dict(zip(names, human_f1(masks))) if len(masks) > 1 else {}


def _top_metric(name: str, heading: str, about: str, note: str = "") -> Metric:
    return Metric(name, heading, "V2V", about, (IMPORTANCE,), note=note)


def _correlation(name: str, heading: str, about: str, *needs: Need) -> Metric:
    return Metric(name, heading, "V2V", about, (IMPORTANCE, *needs), scale=1.0, decimals=3)


_KEYSHOTS = Need("needs the annotators' summaries and change points, which no annotation has")
_ONE_MORE = "a threshold, not a count: a 0/1 importance with no more than {percent:g} % ones selects every sample"
_SCRIPT_SAMPLES = 512  # max_frames of data/activitynet_dataset.py, jylins/videoxum
_SCRIPT = f"as the published script computes it, of the first {_SCRIPT_SAMPLES} samples; its threshold is an " \
    "arbitrary sample's score"  # fmt: skip
_TOP15, _VIDEOXUM = "top 15 % by importance (rule top15)", "top 15 % as VideoXum means it (rule videoxum)"
_BY_SCRIPT = "as VideoXum's script computes it"
_WITH_MEAN = "importance against the annotators' mean"
_WITH_EACH = "importance against each annotator, then the mean"
_WITH_SUMMARY = "keyshot summary against the annotators' mean summary"

SET_F1 = SampleFamily(
    (
        Metric("f1", "F1", "V2V", "selected frames against each annotator, mean over annotators", (FRAMES,),
               instead="f1_top15"),
        Metric("f1_max", "F1 max", "V2V", "selected frames against the annotator that fits best", (FRAMES,)),
    ),
    _set_f1,
    lambda video: _human_f1(("f1", "f1_max"), video.marks),
)
TOP_F1 = SampleFamily(
    (
        _top_metric("f1_top15", "F1 top15", f"{_TOP15}, mean over annotators"),
        _top_metric("f1_top15_max", "F1 top15 max", f"{_TOP15}, best annotator"),
        _top_metric("f1_videoxum", "F1 vx", f"{_VIDEOXUM}, mean over annotators", _ONE_MORE),
        _top_metric("f1_videoxum_max", "F1 vx max", f"{_VIDEOXUM}, best annotator", _ONE_MORE),
        _top_metric("f1_videoxum_script", "F1 script", f"{_BY_SCRIPT} (rule videoxum-script), mean", _SCRIPT),
        _top_metric("f1_videoxum_script_max", "F1 script max", f"{_BY_SCRIPT}, best annotator", _SCRIPT),
    ),
    _top_f1,
)
KEYSHOT_F1 = SampleFamily(
    tuple(
        Metric(f"keyshot_f1_{how}", f"F {how}", "V2V", f"keyshots within 15 %, {what}", (IMPORTANCE, _KEYSHOTS))
        for how, what in (("avg", "mean over annotators"), ("max", "best annotator"))
    ),
    _keyshot_f1,
    lambda video: _human_f1(("keyshot_f1_avg", "keyshot_f1_max"), video.users),
)
CORRELATIONS = SampleFamily(
    (
        _correlation("kendall", "Kendall", _WITH_MEAN),
        _correlation("spearman", "Spearman", _WITH_MEAN),
        _correlation("kendall_per_annotator", "Kendall/ann", _WITH_EACH),
        _correlation("spearman_per_annotator", "Spearman/ann", _WITH_EACH),
    ),
    _correlations,
    lambda video: human_correlations(video.people) if len(video.people) > 1 else {},
)
SUMMARY_CORRELATIONS = SampleFamily(
    (
        _correlation("kendall_summary", "Kendall/sum", _WITH_SUMMARY, _KEYSHOTS),
        _correlation("spearman_summary", "Spearman/sum", _WITH_SUMMARY, _KEYSHOTS),
    ),
    _summary_correlations,
    _human_summary_correlations,
)
