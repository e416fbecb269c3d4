"""The table of `bench_infer.py`: ways to summarize the same videos, compared."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

STAGES = ("read", "encode", "prefill", "decode", "draft", "finish", "wait")
CLOSE = 1e-5  # importance: records round it to 8 places, float32 sums in another order
HEADINGS = (
    "way", "rows", "videos/min", "x base", "passes/answer", "same answers", *STAGES, "peak MB", "bandwidth",
)  # fmt: skip


def same_answers(these: list, those: list) -> tuple[int, float]:
    """How many answers are the same word for word, and the largest difference of their importance scores."""
    same, largest = 0, 0.0
    for (text, scores), (other, others) in zip(these, those, strict=True):
        same += text == other
        if text == other and scores is not None:
            largest = max(largest, *(abs(one - two) for one, two in zip(scores, others, strict=True)))
    return same, largest


def median(runs: list[dict]) -> dict:
    """Medians of the numbers of several measurements, also within parts; of anything else the first."""
    made = {}
    for name, value in runs[0].items():
        values = [run[name] for run in runs]
        if isinstance(value, dict):
            made[name] = median(values)
        else:
            made[name] = statistics.median(values) if isinstance(value, (int, float)) else value
    return made


@dataclass(frozen=True)
class Result:
    """The medians of one way, and how it compares.

    Attributes:
        way, rows, videos: what was measured.
        figures: as `bench_infer_job` gives them.
        base: those of what its answers are compared with: the released loop, or for "all" the three runs.
        bandwidth: bytes a second of the memory.
    """

    way: str
    rows: int
    videos: int
    figures: dict
    base: dict | None
    bandwidth: float

    @property
    def videos_per_minute(self) -> float:
        return 60 * self.videos / self.figures["seconds"]

    def times_base(self, name: str = "seconds") -> float | None:
        """How many times faster than what it is compared with."""
        return None if self.base is None else self.base[name] / self.figures[name]

    @property
    def same(self) -> tuple[int, int, float] | None:
        """Answers that are the same, of how many, and the largest difference in importance."""
        if self.base is None:
            return None
        these, those = self.figures["answers"], self.base["answers"]
        same, largest = same_answers(these, those)
        return same, len(these), largest

    @property
    def bandwidth_share(self) -> float:
        """Bytes of weights that decoding reads in a second, of what the memory gives."""
        figures = self.figures
        return figures["decoder_bytes"] * figures["weight_reads"] / figures["stages"]["decode"] / self.bandwidth

    def _milliseconds(self, stage: str) -> str:
        seconds = self.figures["stages"].get(stage)
        return "-" if seconds is None else f"{1000 * seconds / self.videos:.0f}"

    def cells(self) -> list[str]:
        """Its row of the table, in the order of `HEADINGS`."""
        figures, ratio, same = self.figures, self.times_base(), self.same
        memory = f"{figures['peak_bytes'] / 1e6:.0f} + {figures['reader_bytes'] / 1e6:.0f}"
        if "device_bytes" in figures:
            memory += f", GPU {figures['device_bytes'] / 1e6:.0f}"
        return [
            self.way,
            str(self.rows),
            f"{self.videos_per_minute:.1f}",
            "-" if ratio is None else f"{ratio:.2f} ({self.times_base('processor_seconds'):.2f})",
            f"{figures['passes']:.1f}",
            "-" if same is None else f"{same[0]}/{same[1]}",
            *(self._milliseconds(stage) for stage in STAGES),
            memory,
            f"{100 * self.bandwidth_share:.0f} %",
        ]


def table(results: list[Result]) -> str:
    """A Markdown table."""
    rows = [HEADINGS, ["---"] * len(HEADINGS), *(result.cells() for result in results)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def ratios(results: dict[str, list[Result]]) -> dict[str, dict[str, float]]:
    """For each model and way the ratio of videos a minute to what it is compared with."""
    return {
        model: {f"{one.way} {one.rows}": round(one.times_base(), 3) for one in rows if one.base is not None}
        for model, rows in results.items()
    }


def check(results: dict[str, list[Result]], dtype: str) -> list[str]:
    """What is wrong with the answers: in float32 none may differ."""
    wrong = []
    for model, rows in results.items():
        for one in rows:
            if one.same is None:
                continue
            same, count, largest = one.same
            if dtype == "float32" and (same < count or largest > CLOSE):
                wrong.append(f"{model}, {one.way} {one.rows}: {same} of {count} answers same, importance {largest:.1e}")
    return wrong
