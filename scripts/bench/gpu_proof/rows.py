"""A row of the table: what was measured and what came out, or why nothing did."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]  # "what", and figures by name and unit; or "fault". "right" says whether a check holds
BANDWIDTH, FLOPS, MFU = "share of copy bandwidth", "share of FLOP limit", "MFU"
RATE, RELEASED = "videos a minute", "released loop"


def measured(what: str, work: Callable[..., Row], *arguments: Any) -> Row:
    """The row of one measurement; what it raises is told there, and the next one goes on."""
    try:
        return {"what": what, **work(*arguments)}
    except Exception as error:
        traceback.print_exc()
        return {"what": what, "fault": reason(error)}
    finally:
        free_memory()


def reason(error: BaseException) -> str:
    """One line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no more is said'}"


def free_memory() -> None:
    """Give back what the last measurement held, and begin to count the peak anew."""
    gc.collect()
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def peak_gigabytes(device: str) -> Row:
    """The figure of the card's memory since `free_memory`; the CPU has none."""
    import torch

    return {"peak memory, GB": torch.cuda.max_memory_allocated() / 1e9} if device == "cuda" else {}
