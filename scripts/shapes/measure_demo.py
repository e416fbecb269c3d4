"""Measure a checkpoint on rendered clips it has not seen: frame F1 and exact sentences, for the three tasks.

Frame F1 is that of index sets, prediction against the exact truth, averaged over clips. A sentence counts as right if
it equals a true one in order (longest common subsequence); the share is of the longer of the two lists.

    python scripts/shapes/measure_demo.py --clips 200
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import llava_v2xum
from llava_v2xum.core.command_line import Parser
from llava_v2xum.core.tasks import TASKS
from llava_v2xum.shapes import make_clip, truth_record, write_clip

SEEDS = (501, 502)  # clip series that no training step draws from


def set_f1(predicted: set[int], reference: set[int]) -> float:
    """F1 of two index sets."""
    common = len(predicted & reference)
    return 2 * common / (len(predicted) + len(reference)) if common else 0.0


def in_order(predicted: list[str], reference: list[str]) -> int:
    """How many sentences equal a true one in order: the longest common subsequence."""
    best = [0] * (len(reference) + 1)
    for sentence in predicted:
        previous = best[:]
        for place, wanted in enumerate(reference, 1):
            best[place] = previous[place - 1] + 1 if sentence == wanted else max(previous[place], best[place - 1])
    return best[-1]


def render(folder: Path, count: int) -> list[dict]:
    """The clips' truth; those that are there are not rendered again."""
    folder.mkdir(parents=True, exist_ok=True)
    truths = []
    for number in range(count):
        clip = make_clip(SEEDS[number % len(SEEDS)], number // len(SEEDS))
        if not (folder / f"{clip.video_id}.mp4").exists():
            write_clip(clip, folder / f"{clip.video_id}.mp4")
        truths.append(truth_record(clip))
    return truths


def measure(summaries, truths: list[dict], task: str) -> dict:
    """The figures of one task."""
    f1, right, sentences, problems, stray = [], 0, 0, 0, 0
    for made, truth in zip(summaries, truths):
        told = [sentence.text for sentence in made.summary.sentences if sentence.text]
        true_sentences = [event["sentence"] for event in truth["events"]]
        true_frames = {frame for event in truth["events"] for frame in event["frames"]}
        f1.append(set_f1(set(made.summary.frames), true_frames))
        right += in_order(told, true_sentences)
        sentences += max(len(told), len(true_sentences))
        problems += bool(made.summary.problems)
        stray += bool(told) if task == "video" else bool(made.summary.frames) if task == "text" else 0
    figures = {"task": task, "clips": len(f1), "answers_with_problems": problems}
    if task != "text":
        figures["frame_f1"] = round(sum(f1) / len(f1), 4)
    if task != "video":
        figures["sentences_right"] = round(right / sentences, 4)
    if task != "both":
        figures["answers_of_the_other_kind"] = stray  # prose in VIDEO, citations in TEXT
    return figures


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--model-path", help="default: the demo checkpoint that ships")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--work", type=Path, help="keep clips and features here (default: a temporary folder)")
    parser.add_argument("--batch-size", type=int, default=16)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        truths = render(work / "videos", args.clips)
        paths = [work / "videos" / f"{truth['video_id']}.mp4" for truth in truths]
        summarizer = llava_v2xum.Summarizer.from_pretrained(args.model_path, feature_folder=work / "features")
        for task in TASKS:
            began = time.monotonic()
            made = list(summarizer.summarize_many(paths, task, batch_size=args.batch_size))
            figures = measure(made, truths, task)
            figures["seconds"] = round(time.monotonic() - began, 1)
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
