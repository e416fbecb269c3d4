"""What a run of the engine did, and where its time went."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class EngineStats:
    """Counts and seconds over all runs of an engine.

    Attributes:
        passes: of the decoder over rows at work; prompts are not among them.
        row_passes: the same, counted once for each row that took part: of one answer, its passes.
        prefill_passes: over prompts, or over what follows a prefix that several prompts share.
        prefill_positions: those of prompts, each counted as often as it was computed (padding left out).
        new_tokens: written, the ends of sequence among them.
        drafted: tokens that were checked.
        accepted: of these, the tokens that the model wrote too.
        answers: finished or cut off.
        seconds: by part: "embed" (prompts and videos to embeddings), "prefill", "decode", "draft", "finish" (ids to
            text and importance). Waiting for the next job is in none.
    """

    passes: int = 0
    row_passes: int = 0
    prefill_passes: int = 0
    prefill_positions: int = 0
    new_tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    answers: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def __add__(self, other: EngineStats) -> EngineStats:
        """Both together, as of one engine that did the work of two."""
        mine, others = vars(self), vars(other)
        total = EngineStats(**{name: mine[name] + others[name] for name in mine if name != "seconds"})
        for part, seconds in (*self.seconds.items(), *other.seconds.items()):
            total.seconds[part] += seconds
        return total

    @contextlib.contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the time that the block takes to a part.

        On a GPU the block must end with a copy to the host, or the work is counted where the host waits for it.
        """
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - start
