"""Is this project right and fast on a GPU? One command, some minutes, no network.

    bash scripts/bench/gpu_wheels.sh wheels                  # where there is a network: packages that a card may lack
    python scripts/bench/gpu.py --minutes 8 --out proof --wheels wheels
    python scripts/bench/gpu.py --rehearse --out proof       # on a CPU with tiny shapes: does it all run?

The steps come in the order of `gpu_proof/steps.py`, correctness first, each in a process of its own with its share of
the time that is left. gpu.json and gpu.md of --out are written after every measurement, so that a run that is cut off
at any point leaves all that it has found. A step that fails says why, its output is in logs/, and the others go on.

Models are of random weights, made on the card. The exit status is 1 if a step or a check has failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLACES = [str(HERE), str(HERE.parents[1])]  # of what is imported here and by the steps
sys.path += PLACES

from gpu_proof import runner, wheels
from gpu_proof.results import Results
from gpu_proof.setting import REHEARSAL, Setting
from gpu_proof.steps import STEPS

from llava_v2xum.core.command_line import Parser, in_range

SLOW = ("torch._dynamo", "transformers", "peft", "open_clip", "deepspeed", "bitsandbytes")  # that steps import


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    minutes = in_range(float, lambda number: number > 0, "above 0")
    add("--minutes", type=minutes, default=8, help="of the whole run (%(default)s)")
    add("--out", type=Path, required=True, metavar="DIR", help="for gpu.json, gpu.md and logs/")
    add("--rehearse", action="store_true", help="the same steps on the CPU with tiny shapes")
    add("--steps", nargs="+", choices=[step.name for step in STEPS], help="only these (default: all)")
    add("--wheels", type=Path, metavar="DIR", help="wheels to install those packages from that are not here")
    add("--answers", type=Path, help='JSON lines with an "answer" to the BOTH instruction each, to plant (default: '
        "those of rendered clips)")  # fmt: skip
    add("--tokenizer", type=Path, help="a LLaMA-type tokenizer.model, or its folder (default: the demo's)")
    args = parser.parse_args(arguments)
    if args.answers and not args.tokenizer:
        parser.error("--answers needs --tokenizer: the demo's knows the words of rendered clips alone")
    if args.wheels and not args.wheels.is_dir():
        parser.error(f"--wheels: {args.wheels} is no folder")
    return args


def main() -> int:
    """Run the steps; what failed is said at the end."""
    args = parse()
    ends = time.monotonic() + 60 * args.minutes
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that a step ends with this
    # steps' processes find what this one finds
    os.environ["PYTHONPATH"] = os.pathsep.join([*PLACES, *filter(None, [os.environ.get("PYTHONPATH")])])
    steps = [step for step in STEPS if not args.steps or step.name in args.steps]
    with tempfile.TemporaryDirectory() as scratch:
        notes = []
        if args.wheels and (fault := wheels.install(args.wheels, Path(scratch) / "site")):
            notes.append(fault)
        lacks = wheels.missing_packages()
        if lacks:
            notes.append(f"Not installed here: {', '.join(lacks)}.")
        if args.rehearse:
            notes.append("A rehearsal on the CPU with tiny shapes: its figures mean nothing.")
        results = Results(args.out, steps, notes)
        given = {name: str(value) for name in ("answers", "tokenizer") if (value := getattr(args, name))}
        setting: Setting = dataclasses.replace(REHEARSAL if args.rehearse else Setting(), folder=scratch, **given)
        if args.rehearse:
            os.environ["OMP_NUM_THREADS"] = "1"  # what is tiny is slower with more threads
            runner.preload([*SLOW, *dict.fromkeys(step.work.rpartition(".")[0] for step in steps)])
        missing = [wheels.MODULES[package] for package in lacks]
        runner.run_steps(steps, setting, ends - time.monotonic(), results, missing)
    print((args.out / "gpu.md").read_text(encoding="utf-8"))
    wrong = results.wrong()
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
