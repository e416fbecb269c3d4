"""Compare ways to make a summary as long as a budget, on rendered clips with exact truth: `--length`, the most
important frames, and frames at even distances.

For each way and budget: F1 of the seconds shown against the seconds of the true events (clips' mean), which a budget
below the events' own length keeps below 1 (best: what a choice that knows the truth would have); the share of events of
which something is shown; and how many pieces the clip is cut of.

    python scripts/shapes/compare_lengths.py --clips 100
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from measure_demo import render

import llava_v2xum
from llava_v2xum.core.command_line import Parser, at_least
from llava_v2xum.core.lengths import Length, edited
from llava_v2xum.core.spans import Span, frame_spans, joined
from llava_v2xum.evaluate.keyframes import top_fraction
from llava_v2xum.evaluate.metrics.baselines import uniform_selection
from llava_v2xum.media.cut import clip_spans

BUDGETS = (10, 15, 20, 30)  # percent of the video
WAYS = ("--length", "top fraction", "uniform", "best")


def lasting(spans: Sequence[Span]) -> float:
    """Seconds of spans that lie apart."""
    return sum(end - start for start, end in spans)


def common(some: Sequence[Span], others: Sequence[Span]) -> float:
    """Seconds that lie in both."""
    return sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in some for b in others)


def spans_by(way: str, record: dict, percent: int) -> list[Span]:
    """What a clip of that budget shows."""
    if way == "--length":
        return clip_spans(edited(record, Length(percent, "%")))
    share, frames = percent / 100, frame_spans(record["frame_seconds"], record["duration_seconds"])
    scores = np.array(record["importance"])
    chosen = top_fraction(scores, share) if way == "top fraction" else uniform_selection(len(scores), share)
    return joined(frames[index] for index in np.flatnonzero(chosen))


def figures_of(record: dict, truth: dict, percent: int, way: str) -> tuple[float, float, float, float]:
    """F1, share of events shown, pieces, and the share of the video that is shown."""
    events = [(event["start_seconds"], event["end_seconds"]) for event in truth["events"]]
    true, budget = joined(events), percent / 100 * record["duration_seconds"]
    if way == "best":
        most = min(budget, lasting(true))
        return 2 * most / (max(budget, most) + lasting(true)), 1.0, len(true), percent / 100
    shown = spans_by(way, record, percent)
    f1 = 2 * common(shown, true) / (lasting(shown) + lasting(true))
    seen = np.mean([common(shown, [event]) > 0 for event in events])
    return f1, float(seen), len(shown), lasting(shown) / record["duration_seconds"]


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--model-path", help="default: the demo checkpoint that ships")
    parser.add_argument("--clips", type=at_least(1), default=100)
    parser.add_argument("--work", type=Path, help="keep clips and features here (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        truths = render(work / "videos", args.clips)
        paths = [work / "videos" / f"{truth['video_id']}.mp4" for truth in truths]
        summarizer = llava_v2xum.Summarizer.from_pretrained(args.model_path, feature_folder=work / "features")
        records = [made.record for made in summarizer.summarize_many(paths, "both", thumbnails=False)]
    pairs = [(record, truth) for record, truth in zip(records, truths) if record["frames"]]
    for percent in BUDGETS:
        for way in WAYS:
            means = np.mean([figures_of(*pair, percent, way) for pair in pairs], axis=0)
            names = ("f1", "events_shown", "pieces", "share_shown")
            figures = {name: round(float(mean), 3) for name, mean in zip(names, means)}
            print(json.dumps({"percent": percent, "way": way, **figures, "clips": len(pairs)}), flush=True)


if __name__ == "__main__":
    main()
