"""Runs command lines one after the other, as Python would, and tells what each said and what it had loaded by then.

    python tests/support/command_lines.py '[["llava_v2xum.infer", "--help"], ["scripts/bench/bench_video.py",
    "--help"]]'
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import sys

HEAVY = (
    "accelerate", "bert_score", "deepspeed", "llava", "matplotlib", "open_clip", "pandas", "peft", "ray", "scipy",
    "sklearn", "torch", "torchvision", "transformers",
)  # fmt: skip


def run(name: str, *arguments: str) -> dict:
    """One command: a module's name, or a script's path.

    Returns:
        status, out, err; loaded: those of `HEAVY` that no earlier command had loaded.
    """
    before, path = set(sys.modules), list(sys.path)
    sys.argv = [name, *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            if os.sep in name:
                sys.path.insert(0, os.path.dirname(name))
                runpy.run_path(name, run_name="__main__")
            else:
                sys.modules.pop(name, None)  # else Python warns of a second copy, which there is in no real run
                runpy.run_module(name, run_name="__main__", alter_sys=True)
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
    sys.path[:] = path
    loaded = sorted((set(sys.modules) - before) & set(HEAVY))
    return {"status": status, "out": out.getvalue(), "err": err.getvalue(), "loaded": loaded}


if __name__ == "__main__":
    lines = json.loads(sys.argv[1])
    print(json.dumps([run(*line) for line in lines]))
