"""Keyshot summaries: segments of a video chosen by importance under a budget of frames, a 0/1 knapsack.

Shapes: B sequences of scores, T picks (sampled frames), S segments, F frames; `...` any leading axes.
Source: KaiyangZhou/pytorch-vsumm-reinforce, `vsum_tools.py` and `knapsack.py`, which the published figures of TVSum and
SumMe are made with. Its tables hold float32; these hold float64, so choices whose values agree to seven digits may
fall otherwise.
"""

from __future__ import annotations

import math

import numpy as np

from ...core.errors import V2XumError

TOP_FRACTION = 0.15  # of a video, in the summary: VideoXum, TVSum and SumMe alike
BUDGETS = {
    "frames": "of all frames of the video, as pytorch-vsumm-reinforce",
    "segments": "of the frames up to the end of the last segment, as PGL-SUM and CSTA",
}


def keyshot_summary(
    scores: np.ndarray,
    change_points: np.ndarray,
    n_frames: int,
    n_frame_per_segment: np.ndarray,
    picks: np.ndarray,
    fraction: float = TOP_FRACTION,
    budget: str = "frames",
) -> np.ndarray:
    """The keyshot summary: whole segments, chosen by the knapsack over their mean importance.

    Source: `generate_summary`. Scores hold from pick to pick; a segment's value is the mean
    over its frames (not times its length), its weight its length, the capacity floor(fraction * n_frames). A video
    whose segments all score 0 has an empty summary. Where the segments end before the video does, `generate_summary` of
    PGL-SUM takes the fraction of their end.

    Args:
        scores: float [..., T], the importance at the picks.
        change_points: int [S, 2], first and last frame of each segment, both inclusive.
        n_frames: F.
        n_frame_per_segment: int [S].
        picks: int [T], the frame numbers that were sampled.
        budget: of `BUDGETS`, what the fraction is of.

    Returns:
        bool [..., F]; the segments' lengths in turn, cut or padded with False to F.

    Raises:
        V2XumError: if shapes do not agree, a segment holds no frame, a score is NaN, or the budget is unknown.
    """
    if budget not in BUDGETS:
        raise V2XumError(f"budget must be one of {', '.join(BUDGETS)}, got {budget!r}")
    scores = np.asarray(scores, dtype=float)
    if np.isnan(scores).any():
        raise V2XumError("scores must not hold NaN: no segment has a mean with it")
    lengths = np.asarray(n_frame_per_segment)
    rows = scores.reshape(-1, scores.shape[-1])
    values = segment_means(rows, change_points, n_frames, picks)
    whole = n_frames if budget == "frames" else int(np.asarray(change_points)[-1, 1]) + 1
    chosen = knapsack(values, lengths, math.floor(whole * fraction))
    return fitted(np.repeat(chosen, lengths, axis=1), n_frames).reshape(*scores.shape[:-1], n_frames)


def fitted(summaries: np.ndarray, n_frames: int) -> np.ndarray:
    """Summaries [B, any] cut or padded with False to [B, n_frames]."""
    short = n_frames - summaries.shape[1]
    return np.pad(summaries, ((0, 0), (0, short))) if short > 0 else summaries[:, :n_frames]


def segment_means(scores: np.ndarray, change_points: np.ndarray, n_frames: int, picks: np.ndarray) -> np.ndarray:
    """The mean importance of each segment's frames; a score holds from its pick up to the next.

    Frames before the first pick have importance 0. Frames of a segment behind the last frame are not counted.

    Args:
        scores: float [B, T].
        change_points: int [S, 2], first and last frame of each segment, both inclusive.
        picks: int [T], the frame numbers of the scores, ascending.

    Returns:
        float [B, S].

    Raises:
        V2XumError: if a segment holds no frame of the video, or picks do not match the scores.
    """
    scores, points, picks = np.asarray(scores, dtype=float), np.asarray(change_points), np.asarray(picks)
    if picks.ndim != 1 or len(picks) != scores.shape[-1]:
        raise V2XumError(f"expected one pick a score, got {picks.shape} picks and {scores.shape[-1]} scores")
    if len(picks) and (picks[0] < 0 or (np.diff(picks) < 0).any() or picks[-1] > n_frames):
        raise V2XumError(f"picks must ascend from 0 to at most {n_frames} (the frames), got {picks[0]}..{picks[-1]}")
    if points.ndim != 2 or points.shape[1] != 2:
        raise V2XumError(f"change_points must be [S, 2], got an array of shape {points.shape}")
    starts, ends = points[:, 0], np.minimum(points[:, 1] + 1, n_frames)
    empty = np.flatnonzero((starts < 0) | (ends <= starts))
    if len(empty):
        raise V2XumError(f"segment {empty[0]}, {points[empty[0]].tolist()}, holds no frame of {n_frames}")
    until = np.append(picks[1:], n_frames)
    shared = np.minimum(ends[:, None], until) - np.maximum(starts[:, None], picks)  # [S, T] frames
    return scores @ np.maximum(shared, 0).T / (ends - starts)


def knapsack(values: np.ndarray, weights: np.ndarray, capacity: int) -> np.ndarray:
    """Which items to take for the greatest sum of values within a capacity; B problems with the same weights.

    The dynamic program over items and capacities, in steps over whole rows of capacities. An item is taken only where
    that is strictly better, so of equal choices the one that leaves later items out is kept, and items of no or
    negative value never are.

    Args:
        values: float [B, S].
        weights: int [S], not negative.

    Returns:
        bool [B, S].

    Raises:
        V2XumError: if the weights do not match the values, or one or the capacity is negative.
    """
    values, weights = np.asarray(values, dtype=float), np.asarray(weights)
    if weights.shape != values.shape[1:] or (weights < 0).any() or capacity < 0:
        raise V2XumError(
            f"expected {values.shape[1]} weights and a capacity, none negative, got {weights.tolist()} and {capacity}"
        )
    best = np.zeros((len(values), capacity + 1))
    taken = np.zeros((len(weights), *best.shape), dtype=bool)
    for item, weight in enumerate(weights):
        if weight > capacity:
            continue
        without, with_it = best[:, weight:], values[:, item, None] + best[:, : capacity + 1 - weight]
        taken[item, :, weight:] = with_it > without
        best[:, weight:] = np.maximum(without, with_it)
    problems, room = np.arange(len(values)), np.full(len(values), capacity)
    chosen = np.zeros(values.shape, dtype=bool)
    for item in reversed(range(len(weights))):
        chosen[:, item] = taken[item, problems, room]
        room -= np.where(chosen[:, item], weights[item], 0)
    return chosen
