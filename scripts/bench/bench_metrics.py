"""Time the V2V metrics, and compare them with a plain loop over SciPy and scikit-learn that does as VideoXum's script.

    python scripts/bench/bench_metrics.py
    python scripts/bench/bench_metrics.py --videos 500 --compared 50 --rounds 5

Videos are drawn like VideoXum's: 10 to 755 seconds (125 in the mean), 10 annotators who each mark a few spans. The
prediction has 100 importances and a set of indexes a video, at random.

Two things are timed, each as the median of the rounds of this one run:

1. `v2v_rows` on all videos, from 100 temporal prompts to the table: with the system, uniform and human rows, and with
   100 random seeds a video besides. The aim is less than 20 seconds for 4,000 videos on two cores.
2. The plain loop, one video, annotator and metric at a time (`sklearn.metrics.f1_score`, `scipy.stats.kendalltau` and
   `spearmanr`), on --compared of the videos, because it is slow; and `v2v_rows` on the same ones. The loop works out
   the system's row alone; `v2v_rows` adds those of uniform and human, so the ratio is no flattery. Both must agree to
   1e-9 in every metric and video, or the run fails. The ratio stands on the last line; the aim is at least 10.
3. F_CLIP of drawn embeddings [T, 768] on --compared of the videos, the system's and that of the uniform row and of
   people, and the same with the cosines of all frames with all. Both must agree; the aim is a ratio of at least 4.

Needs scikit-learn, which the package itself does not: pip install scikit-learn
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from llava_v2xum.core.annotations import Annotation
from llava_v2xum.core.command_line import Parser, at_least
from llava_v2xum.evaluate.formats.cases import Case
from llava_v2xum.evaluate.formats.predictions import Prediction
from llava_v2xum.evaluate.groups.v2v import v2v_rows
from llava_v2xum.evaluate.metrics.baselines import uniform_selection
from llava_v2xum.evaluate.metrics.clip_scores import F_CLIP, CaseVectors, ClipFamily
from llava_v2xum.evaluate.metrics.crossmodal import f_clip_of_sets

ANNOTATORS = 10
NUM_FRAMES = 100
SHORTEST, LONGEST = 10, 755  # seconds, VideoXum's
FRACTION = 0.15
WIDTH = 768  # of CLIP ViT-L/14's embeddings
AGREE = 1e-9


def main() -> None:
    """Time both, check that they agree, and print the ratio."""
    arguments = parse()
    check_packages()
    rng = np.random.default_rng(arguments.seed)
    annotations = [draw_annotation(rng, number) for number in range(arguments.videos)]
    samples = [annotation.sampled_frames for annotation in annotations]
    print(f"{len(samples)} videos, {min(samples)} to {max(samples)} s, {np.mean(samples):.0f} s in the mean")

    cases = [Case(one, draw_prediction(rng, one.video_id, NUM_FRAMES, "prompts")) for one in annotations]
    for what, seeds in (("system, uniform and human", 0), ("the same and 100 random seeds a video", 100)):
        seconds, _ = timed(lambda seeds=seeds: v2v_rows(cases, seeds=seeds), arguments.rounds)
        print(f"v2v_rows, {what}: {seconds:.1f} s")

    compared = [
        Case(one, draw_prediction(rng, one.video_id, one.sampled_frames, "samples"))
        for one in annotations[: arguments.compared]
    ]
    ours, rows = timed(lambda: v2v_rows(compared, seeds=0), arguments.rounds)
    plain, expected = timed(lambda: plain_rows(compared), arguments.rounds)
    check_agreement({measure.name: measure.values for measure in rows["system"]}, expected)
    compare_f_clip(rng, [case.annotation for case in compared], arguments.rounds)
    print(f"{len(compared)} videos: v2v_rows {ours:.3f} s, the plain loop {plain:.3f} s; all metrics agree")
    print(f"ratio {plain / ours:.1f}")


def compare_f_clip(rng: np.random.Generator, annotations: list[Annotation], rounds: int) -> None:
    """Time F_CLIP with the frames that are chosen, and with all."""
    drawn = [draw_vectors(rng, annotation) for annotation in annotations]
    chosen, ours = timed(lambda: [f_clip_of(F_CLIP, *one) for one in drawn], rounds)
    every, expected = timed(lambda: [f_clip_of_all(*one) for one in drawn], rounds)
    apart = max(np.abs(one - other).max() for one, other in zip(ours, expected))
    if not apart < AGREE:
        sys.exit(f"F_CLIP differs by up to {apart:.3g}")
    print(f"{len(drawn)} videos: F_CLIP {chosen:.3f} s, of all frames with all {every:.3f} s; both agree")
    print(f"ratio of F_CLIP {every / chosen:.1f}")


def draw_vectors(rng: np.random.Generator, annotation: Annotation) -> tuple[CaseVectors, np.ndarray]:
    """Embeddings of a video, of which the system selects 15, and the choices of the uniform row and of people."""
    people = np.array(annotation.selections, dtype=bool)
    samples = rng.standard_normal((people.shape[1], WIDTH)).astype(np.float32)
    predicted = samples[rng.integers(0, len(samples), 15)]
    none = np.zeros((0, 0))
    vectors = CaseVectors(people[people.any(axis=1)], samples, predicted, none, none, none, none)
    return vectors, np.concatenate([uniform_selection(len(samples), FRACTION)[None], vectors.people])


def f_clip_of(family: ClipFamily, vectors: CaseVectors, choices: np.ndarray) -> np.ndarray:
    """What the commands compute: the system's value, then the choices' with each annotator."""
    found = family.of_choices(vectors, choices)
    return np.array([family.of_system(vectors), *(() if found is None else found.ravel())])


def f_clip_of_all(vectors: CaseVectors, choices: np.ndarray) -> np.ndarray:
    """The same by the cosines of all frames, each scaled by its largest entry first."""
    if not len(vectors.people):
        return np.array([np.nan])
    pairs = ((vectors.samples, one) for one in (vectors.predicted, vectors.samples))
    seen, among = (np.clip(scaled_rows(one) @ scaled_rows(other).T, 0, 1) for one, other in pairs)
    system = f_clip_of_sets(seen, vectors.people).mean()
    return np.array([system, *f_clip_of_sets(among, vectors.people, choices).ravel()])


def scaled_rows(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors, first scaled by their largest entries, whatever their lengths are."""
    vectors = vectors.astype(np.float64)
    if not np.isfinite(vectors).all():
        sys.exit("the drawn embeddings are not finite")
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    scaled = np.divide(vectors, largest, out=np.zeros_like(vectors), where=largest > 0)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.divide(scaled, lengths, out=np.zeros_like(scaled), where=lengths > 0)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--videos", type=at_least(1), default=4000, help="how many to draw (default: %(default)s)")
    parser.add_argument("--compared", type=at_least(1), default=100, help="of which in the plain loop (%(default)s)")
    parser.add_argument("--rounds", type=at_least(1), default=3, help="runs that a median is taken of (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the videos (%(default)s)")
    return parser.parse_args()


def check_packages() -> None:
    """Leave with the pip command where the plain loop's packages are missing."""
    try:
        import scipy.stats  # noqa: F401
        import sklearn.metrics  # noqa: F401
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is needed for the comparison: pip install scipy scikit-learn")


def draw_annotation(rng: np.random.Generator, number: int) -> Annotation:
    """A video with one to four events that ten annotators mark a little differently."""
    seconds = float(np.clip(SHORTEST + rng.gamma(2.0, 57.5), SHORTEST, LONGEST))
    samples = int(np.ceil(seconds))
    events = rng.integers(1, 5)
    masks = np.zeros((ANNOTATORS, samples), dtype=int)
    for centre in rng.uniform(0, samples, events):
        for mask in masks:
            middle, half = centre + rng.normal(0, 0.03 * samples), rng.uniform(0.2, 1) * 0.1 * samples / events
            mask[max(int(middle - half), 0) : max(int(middle + half) + 1, 0)] = 1
    selections = tuple(map(tuple, masks.tolist()))
    return Annotation(f"video {number}", seconds, "drawn", sampled_frames=samples, selections=selections)


def draw_prediction(rng: np.random.Generator, video_id: str, count: int, clock: str) -> Prediction:
    """Importance of two decimals, so that some are tied, and a set of about 15 %."""
    frames = tuple(np.flatnonzero(rng.random(count) < FRACTION).tolist())
    return Prediction(video_id, count, frames, rng.random(count).round(2), clock=clock)


def timed(work: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """The median seconds of several runs, and what the last gave."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def plain_rows(cases: list[Case]) -> dict[str, list[float]]:
    """The system's row, one video, annotator and metric at a time."""
    from scipy.stats import kendalltau, rankdata, spearmanr
    from sklearn.metrics import f1_score

    def number(value: float) -> float:
        return 0.0 if np.isnan(value) else float(value)

    rows: dict[str, list[float]] = {}
    for case in cases:
        people = np.array(case.annotation.selections)
        importance = case.prediction.importance
        chosen = np.zeros(len(importance), dtype=int)
        chosen[list(case.prediction.frames)] = 1
        sets = {"f1": chosen} | plain_tops(importance)
        for name, one in sets.items():
            f1 = [f1_score(person, one, zero_division=0) for person in people]
            rows.setdefault(name, []).append(np.mean(f1))
            rows.setdefault(f"{name}_max", []).append(np.max(f1))
        mean = people.mean(axis=0)
        rows.setdefault("kendall", []).append(number(kendalltau(rankdata(-mean), rankdata(-importance))[0]))
        rows.setdefault("spearman", []).append(number(spearmanr(mean, importance)[0]))
        for kind, correlate in (("kendall", kendalltau), ("spearman", spearmanr)):
            each = [number(correlate(person, importance)[0]) for person in people]
            rows.setdefault(f"{kind}_per_annotator", []).append(np.mean(each))
    return rows


def plain_tops(importance: np.ndarray) -> dict[str, np.ndarray]:
    """The three rules of the top 15 %, one video at a time."""
    count = int(FRACTION * len(importance))
    top = np.zeros(len(importance), dtype=int)
    top[sorted(range(len(importance)), key=lambda place: -importance[place])[: max(count, 1)]] = 1
    column = importance[:, None]  # what the published script is handed
    return {
        "f1_top15": top,
        "f1_videoxum": (importance >= np.sort(importance)[::-1][count]).astype(int),
        "f1_videoxum_script": (column >= np.sort(column)[::-1][count]).astype(int)[:, 0],
    }


def check_agreement(ours: dict[str, np.ndarray], expected: dict[str, list[float]]) -> None:
    """Leave with what differs, if anything does."""
    if ours.keys() != expected.keys():
        sys.exit(f"the two do not have the same metrics: {sorted(ours.keys() ^ expected.keys())}")
    for name, values in expected.items():
        apart = np.abs(ours[name] - values)
        if not (apart < AGREE).all():
            sys.exit(f"{name} differs by up to {apart.max():.3g}, in {np.sum(apart >= AGREE)} videos")


if __name__ == "__main__":
    main()
