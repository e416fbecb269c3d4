"""The training commands: their defaults and `--help`, what is wrong with their arguments, the start of DeepSpeed.

`scripts/finetune_v2xum.sh` and its LoRA twin call `launch`. Nothing here imports torch before all arguments are known
to be there, so a slip on the command line is answered at once.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from ..core.errors import V2XumError
from ..core.extras import end_without
from .flags import UsageError, as_arguments, check_arguments, given_values
from .options import HELP_ALL, describe

logger = logging.getLogger(__name__)

PROGRAM = "python -m llava_v2xum.train"
TITLE = """LLaVA's own train() with the video type, in this process alone.
scripts/finetune_v2xum.sh and scripts/finetune_v2xum_lora.sh start it under
DeepSpeed, with the paper's values as defaults."""
USAGE = "%(prog)s FLAGS"
SCRIPT_USAGE = """deepspeed [DEEPSPEED FLAGS] %(prog)s FLAGS
       bash %(prog)s FLAGS"""
SCRIPT_NOTE = """DeepSpeed's own flags, such as --num_gpus N and --hostfile FILE, go between
deepspeed and the script. --bf16, --fp16, --tf32 and --use_cpu are chosen by
what the machine has, and --attn_implementation by what is installed."""


def precision(arguments: Sequence[str] = ()) -> dict[str, object]:
    """bf16 and TF32 where this machine has them; float16 on older GPUs, which have no bf16.

    Args:
        arguments: the command line; where it says --bf16 or --fp16, neither is chosen, as only one of them may be on.
    """
    import torch

    is_given = bool({"bf16", "fp16"} & given_values(arguments).keys())
    if not torch.cuda.is_available():
        return {"use_cpu": True} if is_given else {"use_cpu": True, "bf16": True}
    if torch.cuda.get_device_capability() >= (8, 0):
        return {"tf32": True} if is_given else {"bf16": True, "tf32": True}
    if is_given:
        return {}
    logger.warning("this GPU has no bf16: training in float16 (--fp16 True)")
    return {"fp16": True}


def launch(script: str | os.PathLike, title: str, defaults: Mapping[str, object], arguments: Sequence[str]) -> int:
    """Run a training command; without DeepSpeed's launcher around it, start that first.

    Args:
        script: the command's file, which the launcher runs again with Python.
        title: what the command does, a sentence or two for `--help`.
        defaults: flag -> value, without the dashes.
        arguments: the command line without the program's name.

    Returns:
        The exit status: 0, or 2 for a command line that cannot be run.
    """
    arguments = list(arguments)
    if told_help(arguments, lambda: describe(sys.argv[0], SCRIPT_USAGE, f"{title}\n\n{SCRIPT_NOTE}", defaults)):
        return 0
    defaults = dict(defaults)
    if not given_values(arguments).get("pretrain_mm_mlp_adapter"):
        defaults.pop("freeze_mm_mlp_adapter", None)  # a projector of random weights has to be trained
    if "LOCAL_RANK" in os.environ:
        return guarded([*as_arguments(defaults), *arguments], lambda: as_arguments(precision(arguments)))
    try:
        check_arguments([*as_arguments(defaults), *arguments])
        if importlib.util.find_spec("deepspeed") is None:
            raise UsageError("DeepSpeed is needed: pip install deepspeed")
    except UsageError as error:
        return refuse(error)
    command = [sys.executable, "-m", "deepspeed.launcher.runner", str(script), *arguments]
    sys.stdout.flush()
    os.execv(sys.executable, command)


def told_help(arguments: Sequence[str], tell: Callable[[], None]) -> bool:
    """Print the help that the arguments ask for, once whatever the number of processes.

    Args:
        arguments: the command line.
        tell: prints the one of `--help`; that of `--help-all` is LLaVA's own parser's.

    Returns:
        Whether they ask for any.
    """
    asked = {"-h", "--help", HELP_ALL} & set(arguments)
    if HELP_ALL in asked and _is_first():
        from .loop import train

        train(["--help"])
    elif asked and _is_first():
        tell()
    return bool(asked)


def guarded(arguments: Sequence[str], more_defaults=list) -> int:
    """Train; a slip on the command line is answered in one line.

    Args:
        arguments: the command line.
        more_defaults: gives arguments that count less than those; called only once they have been checked.

    Returns:
        The exit status: 0, or 2 for a command line that cannot be run.
    """
    if told_help(arguments, lambda: describe(PROGRAM, USAGE, TITLE, {})):
        return 0
    logging.basicConfig(level=logging.INFO if _is_first() else logging.ERROR, format="%(message)s")
    try:
        check_arguments(arguments)
        end_without("av", "PIL", "torch", "transformers")
        from .loop import train

        train([*more_defaults(), *arguments])
    except V2XumError as error:
        return refuse(error)
    return 0


def refuse(error: V2XumError) -> int:
    """Print the error once, whatever the number of processes."""
    if _is_first():
        print(f"error: {error}", file=sys.stderr)
    else:
        time.sleep(2)  # DeepSpeed's launcher ends all processes with the first one: let that be the one that prints
    return 2


def _is_first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0
