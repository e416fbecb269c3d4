"""What a run tells while it goes on: for each stage how far it is, its rate and the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

from ..media.console import say
from .store.stage import Source
from .store.work import DONE, END, OUT, Outcome

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt}{postfix}"
_EVERY_SECONDS = 10  # our choice: how often a log that is no terminal gets a line

Tell = Callable[[int, Source, Outcome], None]


class Progress:
    """Bars on a terminal, a line now and then elsewhere; both on standard error."""

    say = staticmethod(say)

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    @contextmanager
    def stages(self, names: Sequence[str], total: int) -> Iterator[Tell]:
        """What to call for every video that a stage is done with.

        Args:
            names: of the stages.
            total: videos that the first begins with.
        """
        counts = [_Count(name, total, self) for name in names]
        before = time.monotonic()  # when the last video was told

        def tell(number: int, source: Source, outcome: Outcome) -> None:
            nonlocal before
            if outcome.status == END:  # told as the end of the run
                return
            counts[number].add(outcome, before)
            before = time.monotonic()
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
    """One stage's videos; its rate is that of those that were not stored before."""

    def __init__(self, name: str, total: int, progress: Progress) -> None:
        self.name, self.total, self.progress = name, total, progress
        self.done = self.known = 0
        self.begun: float | None = None
        self.told: float | None = None
        self.bar: tqdm | None = None

    def add(self, outcome: Outcome, before: float) -> None:
        """Count a video; `before` is when another one was counted last, and this stage may have begun its first."""
        now = time.monotonic()
        self.told = before if self.told is None else self.told
        self.done += 1
        self.known += outcome.known
        if self.begun is None and not outcome.known:
            self.begun = before
        if sys.stderr.isatty() and not self.progress.quiet:
            self._draw(now)
        elif now - self.told >= _EVERY_SECONDS and self.done < self.total:
            self.told = now
            self._line(now)

    def _draw(self, now: float) -> None:
        if self.bar is None:
            self.bar = tqdm(total=self.total, initial=self.done, desc=self.name, bar_format=_BAR)
        self.bar.total, self.bar.n = self.total, self.done
        self.bar.set_postfix_str(self._pace(now), refresh=False)
        self.bar.update(0)

    def _line(self, now: float) -> None:
        if not self.progress.quiet:
            self.progress.say(f"{self.name}: {self.done} of {self.total} videos, {self._pace(now)}")

    def _pace(self, now: float) -> str:
        made = self.done - self.known
        if not made or self.begun is None:
            return f"{self.known} of them stored before"
        rate = made / max(now - self.begun, 1e-3)
        return f"{_rounded(60 * rate)} a minute, about {_span((self.total - self.done) / rate)} left"

    def close(self) -> None:
        seconds = time.monotonic() - self.begun if self.begun is not None else 0.0
        told = f"{f', {self.known} of them stored before' if self.known else ''}, in {_span(seconds)}"
        if self.bar is not None:
            self.bar.set_postfix_str(told.removeprefix(", "))
            self.bar.close()
        elif self.done and not self.progress.quiet:
            self.progress.say(f"{self.name}: {self.done} of {self.total} videos{told}")


def _rounded(rate: float) -> str:
    return f"{rate:.3g}" if rate < 100 else f"{rate:,.0f}"


def _span(seconds: float) -> str:
    """A time for people: 42 s, 7 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
