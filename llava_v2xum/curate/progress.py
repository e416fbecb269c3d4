"""What a run tells while it goes on: for each stage how far it is, its rate and the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

from .stages import Source
from .work import DONE, OUT, Outcome

_EVERY_SECONDS = 10  # our choice: how often a log that is no terminal gets a line

Tell = Callable[[int, Source, Outcome], None]


class Progress:
    """Bars on a terminal, a line now and then elsewhere; both on standard error."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    def say(self, message: str) -> None:
        """Print a line clear of the bars."""
        tqdm.write(message, file=sys.stderr)
        sys.stderr.flush()

    @contextmanager
    def stages(self, names: Sequence[str], stored: Sequence[int], total: int) -> Iterator[Tell]:
        """What to call for every video that a stage is done with.

        Args:
            names: of the stages.
            stored: how many videos each is done with before it begins.
            total: videos that the first begins with.
        """
        counts = [_Count(name, before, total, self) for name, before in zip(names, stored)]

        def tell(number: int, source: Source, outcome: Outcome) -> None:
            counts[number].add(outcome)
            if outcome.status == DONE:
                return
            for after in counts[number + 1 :]:
                after.total -= 1
            if not self.quiet:
                why = "falls out" if outcome.status == OUT else "failed"
                self.say(f"{names[number]}: {source.video_id} {why}: {outcome.reason}")

        try:
            yield tell
        finally:
            for count in counts:
                count.close()


class _Count:
    """One stage's videos."""

    def __init__(self, name: str, stored: int, total: int, progress: Progress) -> None:
        self.name, self.stored, self.total, self.progress = name, stored, total, progress
        self.done = 0
        self.start = self.told = 0.0
        self.bar = None

    def add(self, outcome: Outcome) -> None:
        now = time.monotonic()
        if not self.done:
            self.start = self.told = now
            if sys.stderr.isatty() and not self.progress.quiet:
                self.bar = tqdm(total=self.total, unit="video", desc=self.name, leave=True)
        self.done += 1
        if self.bar is not None:
            self.bar.total = self.total
            self.bar.update()
        elif now - self.told >= _EVERY_SECONDS and self.done < self.total:
            self.told = now
            self._line(now)

    def _line(self, now: float) -> None:
        made = max(self.done - self.stored, 0)  # the stored ones come first, and cost no time
        if self.progress.quiet or not made:
            return
        rate = made / max(now - self.start, 1e-3)
        left = (self.total - self.done) / rate
        self.progress.say(
            f"{self.name}: {self.done} of {self.total} videos, {60 * rate:.3g} a minute, about {_span(left)} left"
        )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.done and not self.progress.quiet:
            seconds = time.monotonic() - self.start
            stored = f", {self.stored} of them stored before" if self.stored else ""
            self.progress.say(f"{self.name}: {self.done} of {self.total} videos{stored}, in {_span(seconds)}")


def _span(seconds: float) -> str:
    """A time for people: 42 s, 7 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
