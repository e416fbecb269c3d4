"""`python -m llava_v2xum.curate VIDEOS --out DIR`: videos in, an instruction-tuning set out; see options.py."""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from ..core.errors import V2XumError
from ..core.extras import end_without

if __name__ == "__main__":
    end_without("av", "PIL", "torch", "transformers")

from .options import parse_arguments

if __name__ == "__main__":
    parse_arguments()  # --help and slips are answered before what follows is imported

from ..core.atomic import replacing
from ..core.endpoint.budget import Budget
from ..core.endpoint.outcomes import Stop
from ..core.endpoint.store import Store, StoreError
from ..core.locks import only_run
from ..infer.ray.cluster import RaySettings
from .finish import REJECTED_FILE, Making, write_data_set
from .progress import Progress
from .rounds import Curated, Curation, Engine, LocalEngine
from .sources import find_sources
from .stages.command_stage import CommandStage, device_of
from .stages.registry import models_of, options_of, prompts_of, stages_of
from .store.stage import Source

DONE, SOME_FAILED, WRONG, STOPPED = 0, 1, 2, 3  # the exit status; options.py tells people
_KEPT = "What was found is kept: the same command goes on from here."
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)  # no fault of the arguments
STORE_FILE = "work.sqlite"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_arguments(arguments)
    _quiet_libraries()
    progress = Progress(args.quiet)
    try:
        return _run(args, progress)
    except (Stop, StoreError) as stop:
        progress.say(f"stopped: {stop}\n{_KEPT}")
        return STOPPED
    except KeyboardInterrupt:
        progress.say(f"stopped.\n{_KEPT}")
        return STOPPED
    except (V2XumError, OSError, ImportError) as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            progress.say(f"stopped: {args.out}: {error.strerror}\n{_KEPT}")
            return STOPPED
        progress.say(f"error: {error}")
        return WRONG


def _quiet_libraries() -> None:
    """Only warnings that are meant for users, and no bars but those of the stages."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # of fast kernels that a CPU has not
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # read by transformers, too, when it is imported


def _run(args: argparse.Namespace, progress: Progress) -> int:
    budget = Budget(args.max_requests, args.max_tokens)
    stages = stages_of(args, budget)
    sources = find_sources(args.videos, args.list)
    if args.out.exists() and not args.out.is_dir():
        raise V2XumError(f"--out {args.out}: expected a folder, got a file")
    with only_run(args.out), closing(Store(args.out / STORE_FILE)) as store:
        try:
            curation = Curation(stages, store, _engine(args, budget), progress)
        except Stop as error:  # of a model that is not there, before anything has begun
            raise V2XumError(str(error)) from error
        with _interruptible(store, budget):
            curated = curation.run(sources)
        return _end(args, stages, sources, curated, progress)


@contextmanager
def _interruptible(store: Store, budget: Budget) -> Iterator[None]:
    """Ctrl-C ends the run when the answers under way are stored, and nobody is asked any more; again, at once."""

    def halt(*_: object) -> None:
        signal.signal(signal.SIGINT, lambda *_: os._exit(STOPPED))
        os.write(2, b"\nstopping: what is under way is still stored; Ctrl-C again does not wait for it\n")
        store.halted, budget.ended = True, "the run was interrupted"
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # which alone may be told of signals
        return
    before = signal.signal(signal.SIGINT, halt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _engine(args: argparse.Namespace, budget: Budget) -> Engine:
    if args.engine == "process":
        return LocalEngine()
    from .ray_run import RayEngine

    return RayEngine(RaySettings(args.ray_address, args.ray_captioners, args.ray_gpus), args.device, budget)


def _end(
    args: argparse.Namespace, stages: Sequence[CommandStage], sources: Sequence[Source], curated: Curated,
    progress: Progress,
) -> int:  # fmt: skip
    """Write what was asked for, and tell it."""
    if args.until is not None:
        path = args.out / f"{args.until}.jsonl"
        with replacing(path) as part, open(part, "w", encoding="utf-8") as file:
            for video_id, found in curated.finished.items():
                file.write(json.dumps({"video_id": video_id, **found[args.until]}, ensure_ascii=False) + "\n")
        progress.say(f"{len(curated.finished)} of {len(sources)} videos: {path}")
        out = Counter(left.kind for left in curated.rejected)
    else:
        making = Making(
            args.tasks, args.splits, args.seed, args.preview, models_of(stages), prompts_of(stages),
            options_of(args, stages), args.grammar, args.plausibility, device_of(args),
        )  # fmt: skip
        facts = write_data_set(args.out, sources, curated, making)
        told = ", ".join(f"{count} {name}" for name, count in facts.splits().items())
        look = f"; look at {args.out / 'preview.html'} and {args.out / 'card.md'}" if facts.rows else ""
        progress.say(f"{len(facts.rows)} of {len(sources)} videos ({told}): {args.out}{look}")
        out = sum(map(Counter, facts.rejected.values()), Counter())
    if out:
        kinds = ", ".join(f"{count} {kind}" for kind, count in out.most_common())
        where = "" if args.until else f": {args.out / REJECTED_FILE} tells why"
        progress.say(f"{out.total()} fell out ({kinds}){where}")
    if curated.failed:
        first = curated.failed[0]
        progress.say(
            f"{len(curated.failed)} videos failed and are tried again by the next run; the first: {first.video_id}: "
            f"{first.stage}: {first.reason}"
        )
        return SOME_FAILED
    return DONE


if __name__ == "__main__":
    sys.exit(main())
