"""Makes odd and damaged video files without end, and compares what this project reads of them with what they hold."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUPPORT = ROOT / "tests" / "support"
sys.path[:0] = [str(ROOT), str(SUPPORT)]

from film_trial import FAULTS, VERDICTS, Step, trial

from llava_v2xum.core.command_line import Parser, at_least, in_range
from llava_v2xum.media.helper import Helper, HelperError

TELL_SECONDS = 30

ABOUT = """\
Every case is a film that is made and known frame by frame: of some container and codec, with B-frames, open groups,
varying rates, pauses, further tracks and so on. It is read, and clips are cut from it; then copies of it are damaged
(bits flipped, blocks zeroed or lost, ends cut off, packets dropped, headers spoiled ...) and tried the same way.

verdicts:
  exact        the frames, and the seconds, that the film has
  warned       a warning names the file and what is wrong
  refused      an error names the file and what is wrong
  untold       spoiled, but nothing in the file tells: a full decode gives the same, without any message
  false alarm  a healthy film is warned of, or refused           (a fault)
  wrong        frames or seconds are wrong without a word        (a fault)
  crash        the process dies, or another exception is raised  (a fault)
  hang         nothing comes for --limit seconds                 (a fault)

Each fault is told with the command that makes it again. Ctrl-C ends the run and tells the counts so far.
The status is 1 if there were faults, else 0.
"""
EXAMPLES = """\
examples:
  python scripts/fuzz_videos.py --seconds 1800                      half an hour, of a new series
  python scripts/fuzz_videos.py --seconds 60 --seed 7 --workers 1   the same minute again
  python scripts/fuzz_videos.py --seed 7 --case 123 --out kept      one case again; its files stay in kept/
"""


def build_parser() -> Parser:
    parser = Parser(prog="python scripts/fuzz_videos.py", description=ABOUT, epilog=EXAMPLES)
    add = parser.add_argument
    seconds = in_range(float, lambda number: number > 0, "above 0")
    add("--seconds", type=seconds, default=60.0, help="how long (default: %(default)g)")
    add("--seed", type=at_least(0), help="of the series of films (default: another each time)")
    add("--case", type=at_least(0), help="this one case alone")
    add("--cases", type=at_least(1), help="no more than the first so many cases")
    add("--out", type=Path, help="keep the files of faulty cases in this folder, and with --case all")
    add("--workers", type=at_least(1), default=2, help="cases at a time (default: %(default)s)")
    add("--limit", type=seconds, default=60.0, help="seconds after which a step hangs (default: %(default)g)")
    return parser


class Worker:
    """A process that tries one case after the other; another takes its place when it dies or hangs."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.helper = Helper()

    def steps(self, seed: int, case: int, folder: Path) -> Iterator[Step]:
        """Those of a trial; what the process dies of, or hangs in, is the last one."""
        begun = Step("starting a process")
        try:
            steps = self.helper.call(trial, seed, case, folder)
            while True:
                timer = threading.Timer(self.limit, self.helper.close)
                timer.start()
                step = next(steps, None)
                timer.cancel()
                if step is None:
                    return
                yield step
                begun = step
        except HelperError as error:
            is_late = timer.finished.is_set()
            timer.cancel()
            self.helper = Helper()
            yield Step(begun.what, *(("hang", f"nothing for {self.limit:g} s") if is_late else ("crash", str(error))))
        except Exception as error:  # of the trial itself, and not of what it tries
            timer.cancel()
            yield Step(begun.what, "crash", f"{type(error).__name__}: {error}")


class Run:
    """Workers at cases, and what came of them, told as it comes."""

    def __init__(self, seed: int, cases: Iterator[int], seconds: float, out: Path | None, keeps_all: bool) -> None:
        self.seed = seed
        self.cases = cases
        self.out, self.keeps_all = out, keeps_all
        self.counts: Counter[str] = Counter()
        self.done = 0
        self.is_over = threading.Event()
        self.start = self.told = time.monotonic()
        self.end = self.start + seconds
        self._lock = threading.Lock()

    def work(self, worker: Worker) -> None:
        """Try cases until the time is over."""
        while not self.is_over.is_set() and time.monotonic() < self.end:
            with self._lock:
                case = next(self.cases, None)
            if case is None:
                return
            with tempfile.TemporaryDirectory() as folder:
                is_kept = self.keeps_all
                for step in worker.steps(self.seed, case, Path(folder)):
                    if self.is_over.is_set():
                        return
                    self.add(case, step)
                    is_kept |= step.verdict in FAULTS
                if self.out is not None and is_kept:
                    shutil.copytree(folder, self.out / f"{self.seed}-{case}", dirs_exist_ok=True)
            self.finish_case()

    def add(self, case: int, step: Step) -> None:
        """Count what came of a step, and tell of a fault."""
        with self._lock:
            self.counts.update([step.verdict] if step.verdict else [])
            if step.verdict in FAULTS or (self.keeps_all and step.verdict):
                print(f"{step.verdict}: {step.why}\n    {step.what}", flush=True)
                print(f"    again: python scripts/fuzz_videos.py --seed {self.seed} --case {case}", flush=True)

    def finish_case(self) -> None:
        """Count a case, and tell now and then how it goes."""
        with self._lock:
            self.done += 1
            if time.monotonic() - self.told > TELL_SECONDS:
                self.told = time.monotonic()
                print(self.line, flush=True)

    @property
    def line(self) -> str:
        counts = ", ".join(f"{self.counts[verdict]} {verdict}" for verdict in VERDICTS)
        return f"{time.monotonic() - self.start:.0f} s, {self.done} films: {counts}"

    @property
    def faults(self) -> int:
        return sum(self.counts[verdict] for verdict in FAULTS)


def main() -> int:
    """Run the command; returns its exit status."""
    args = build_parser().parse_args()
    seed = random.SystemRandom().randrange(10**6) if args.seed is None else args.seed
    one = args.case is not None
    cases = iter([args.case]) if one else islice(count(), args.cases)
    os.environ["SVT_LOG"] = "1"  # of an encoder, which otherwise tells of its settings with every film
    os.environ["PYTHONPATH"] = os.pathsep.join([str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = Run(seed, cases, float("inf") if one else args.seconds, args.out, one)
    workers = [Worker(args.limit) for _ in range(1 if one else args.workers)]
    threads = [threading.Thread(target=run.work, args=(worker,), daemon=True) for worker in workers]
    print(f"seed {seed}", flush=True)
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    run.is_over.set()
    for worker in workers:
        worker.helper.close()
    print(run.line)
    print(f"{run.faults} faults" if run.faults else "no fault")
    return 1 if run.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
