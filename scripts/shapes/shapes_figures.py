"""The figures of the ablations on the shapes world, and their table.

Answers for different N are compared on one grid of 100 slices of the clip, on which the truth is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from measure_demo import in_order, set_f1

from llava_v2xum.core.answers import parse_answer
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.shapes import Clip, truth_frames

GRID = Timeline(100)
FIGURES = {  # heading, digits after the point, factor
    "f1_video": ("F1, VIDEO (%)", 1, 100),
    "f1_both": ("F1, BOTH (%)", 1, 100),
    "exact_text": ("sentences, TEXT (%)", 1, 100),
    "exact_both": ("sentences, BOTH (%)", 1, 100),
    "spearman": ("Spearman", 3, 1),
    "kendall": ("Kendall", 3, 1),
}


def nearest_index(num_frames: int) -> np.ndarray:
    """int64 [100]: for each slice of the clip the index of the sampled frame of N that lies nearest to it.

    Slices and indexes both go from the clip's first frame to its last (`Timeline.sample`).
    """
    slices = np.arange(GRID.num_frames) / (GRID.num_frames - 1)
    return np.floor(slices * (num_frames - 1) + 0.5).astype(np.int64)


def on_grid(frames: Iterable[int], num_frames: int) -> set[int]:
    """The slices that the frames with these indexes of N stand for."""
    return set(np.flatnonzero(np.isin(nearest_index(num_frames), list(frames))).tolist())


def correlations(importance: np.ndarray | None, truth: set[int]) -> tuple[float, float]:
    """Spearman's and Kendall's correlation of importance [N] with the true slices; 0 where either is constant."""
    wanted = np.isin(np.arange(GRID.num_frames), list(truth)).astype(float)
    given = np.zeros(1) if importance is None else np.asarray(importance)[nearest_index(len(importance))]
    if np.ptp(given) == 0 or np.ptp(wanted) == 0:
        return 0.0, 0.0
    stats = scipy_stats()
    return float(stats.spearmanr(given, wanted).statistic), float(stats.kendalltau(given, wanted).statistic)


def scipy_stats():
    """`scipy.stats`, or an error with the command that gets it."""
    try:
        import scipy.stats
    except ImportError as error:
        raise SystemExit("ablate_shapes.py needs SciPy for its correlations: pip install scipy") from error
    return scipy.stats


def true_slices(clip: Clip, num_frames: int = GRID.num_frames) -> set[int]:
    """The slices that the true answer at N marks."""
    timeline = Timeline(num_frames)
    return on_grid({index for event in clip.events for index in truth_frames(clip, event, timeline)}, num_frames)


def measure(answers: Sequence, clips: Sequence[Clip], task: str, num_frames: int) -> dict[str, float]:
    """The figures of one task's answers (`engine.Answer`), one for each clip.

    Returns:
        f1_TASK where frames are asked for, exact_TASK where sentences are; with "video" also the correlations.
    """
    f1, right, sentences, agreement = [], 0, 0, []
    for answer, clip in zip(answers, clips):
        summary = parse_answer(answer.text, num_frames, task, GRID.citations)
        f1.append(set_f1(on_grid(summary.frames, num_frames), true_slices(clip)))
        told = [sentence.text for sentence in summary.sentences if sentence.text]
        right += in_order(told, [event.sentence for event in clip.events])
        sentences += max(len(told), len(clip.events))
        agreement.append(correlations(answer.importance, true_slices(clip)))
    figures = {} if task == "text" else {f"f1_{task}": float(np.mean(f1))}
    if task != "video":
        figures[f"exact_{task}"] = right / sentences
        return figures
    spearman, kendall = np.mean(agreement, axis=0).tolist()
    return {**figures, "spearman": spearman, "kendall": kendall}


def best_possible(clips: Sequence[Clip], num_frames: int) -> dict[str, float]:
    """What true answers at N score: few frames do not tell just when an event begins, nor of one between two frames.

    Returns:
        f1 of the frames, and exact, the share of sentences with a frame that shows their event.
    """
    timeline = Timeline(num_frames)
    seen = [bool(truth_frames(clip, event, timeline)) for clip in clips for event in clip.events]
    f1 = np.mean([set_f1(true_slices(clip, num_frames), true_slices(clip)) for clip in clips])
    return {"f1": float(f1), "exact": float(np.mean(seen))}


def table(results: Sequence[dict], labels: dict[str, str]) -> str:
    """A Markdown table: a row for each variant that has results, mean and standard deviation over its seeds.

    Args:
        results: each with its variant, and those of FIGURES that it has.
        labels: the rows' headings by variant, in their order.
    """
    rows = [["", "seeds", *(heading for heading, _, _ in FIGURES.values())], ["---", *["---:"] * (len(FIGURES) + 1)]]
    for variant, label in labels.items():
        if found := [result for result in results if result["variant"] == variant]:
            cells = [_cell([one[key] for one in found if key in one], *FIGURES[key][1:]) for key in FIGURES]
            rows.append([label, str(len(found)), *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _cell(values: Sequence[float], digits: int, factor: int) -> str:
    """`81.2 ± 0.9`: mean and sample standard deviation; a dash without values, no spread of a single one."""
    if not values:
        return "-"
    mean = f"{factor * np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {factor * np.std(values, ddof=1):.{digits}f}"
