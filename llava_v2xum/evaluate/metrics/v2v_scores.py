"""The V2V measures of one video: every candidate against every annotator at once.

Shapes: B candidates (a system and baselines), A annotators, T samples, F frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .baselines import human_correlations, human_f1
from .keyframes import RULES, f1_table, keyshot_summary, top_fraction
from .rank_correlation import TABLES, Ranks

if TYPE_CHECKING:
    from ...core.keyshots import Keyshots

Scores = dict[str, np.ndarray]


def human_sample_scores(people: np.ndarray) -> dict[str, float]:
    """The figures of people among themselves at 1 FPS, bool [A, T]; none where there is one annotator alone."""
    if len(people) < 2:
        return {}
    return dict(zip(("f1", "f1_max"), human_f1(people))) | human_correlations(people)


def sample_scores(importance: np.ndarray, sets: np.ndarray, people: np.ndarray, fraction: float) -> Scores:
    """The measures of a video annotated at 1 FPS.

    Args:
        importance: float [B, T].
        sets: bool [B, T].
        people: bool [A, T], A > 0.
        fraction: how much of the video a summary by importance takes.

    Returns:
        [B] a measure, named as `v2v.v2v_rows` has them.
    """
    scores = _f1("f1", sets, people)
    for rule in RULES:
        scores |= _f1("f1_" + rule.replace("-", "_"), top_fraction(importance, fraction, rule), people)
    return scores | _correlations(Ranks(importance), Ranks(people), Ranks(people.sum(axis=0, keepdims=True)))


def keyshot_scores(
    importance: np.ndarray, sets: np.ndarray, keyshots: Keyshots, fraction: float
) -> tuple[Scores, dict[str, float]]:
    """The measures of a video of TVSum or SumMe.

    Args:
        importance: float [B, T], at the picks.
        sets: bool [B, T], at the picks.
        fraction: the knapsack's share of the frames.

    Returns:
        [B] a measure, named as `v2v.keyshot_rows` has them, and the figures of people among themselves. Measures that
        need user summaries or change points which the video does not have are not among them.
    """
    picks, users = np.array(keyshots.picks), keyshots.user_summary()
    marks = users[:, picks]
    people = marks if keyshots.scores is None else np.array(keyshots.scores, dtype=float)
    mean = people.sum(axis=0) if len(people) else np.array(keyshots.mean_scores, dtype=float)
    scores = _correlations(Ranks(importance), Ranks(people), Ranks(mean[None]))
    human = human_correlations(people) if len(people) > 1 else {}
    if not len(users):
        return scores, human
    scores |= _f1("f1", sets, marks)
    masks = Ranks(users.sum(axis=0, keepdims=True))
    if len(users) > 1:
        (human["f1"], human["f1_max"]), whole = human_f1(marks), human_f1(users)
        human["keyshot_f1_avg"], human["keyshot_f1_max"] = whole
        others = Ranks(users.sum(axis=0) - users.astype(int))
        ranks = Ranks(users)
        human |= {f"{kind}_summary": float(np.diagonal(table(ranks, others)).mean()) for kind, table in TABLES.items()}
    if keyshots.change_points is None:
        return scores, human
    points, lengths = np.array(keyshots.change_points), np.array(keyshots.n_frame_per_segment)
    summaries = keyshot_summary(importance, points, keyshots.n_frames, lengths, picks, fraction)
    f1 = f1_table(summaries, users)
    scores |= {"keyshot_f1_avg": f1.mean(axis=1), "keyshot_f1_max": f1.max(axis=1)}
    ranks = Ranks(summaries)
    return scores | {f"{kind}_summary": table(ranks, masks)[:, 0] for kind, table in TABLES.items()}, human


def _f1(name: str, sets: np.ndarray, people: np.ndarray) -> Scores:
    f1 = f1_table(sets, people)
    return {name: f1.mean(axis=1), f"{name}_max": f1.max(axis=1)}


def _correlations(ranks: Ranks, people: Ranks, mean: Ranks) -> Scores:
    """[B] each; per annotator only where there are some."""
    scores = {kind: table(ranks, mean)[:, 0] for kind, table in TABLES.items()}
    if len(people):
        scores |= {f"{kind}_per_annotator": table(ranks, people).mean(axis=1) for kind, table in TABLES.items()}
    return scores
