"""The card: what it is, and what it can do at most."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from data_sheets import peak_tflops

from gpu_proof.rows import Row, measured
from gpu_proof.setting import Setting


def run(setting: Setting) -> Iterator[Row]:
    """Versions, copy bandwidth and FLOP limit."""
    yield measured("versions", _versions, setting)
    yield measured("copy, read and written", lambda: {"GB a second": copy_bandwidth(setting) / 1e9})
    yield measured("matrix product", lambda: {"TFLOP a second": product_flops(setting) / 1e12})
    yield measured("FLOP limit", lambda: {"TFLOP a second": flop_limit(setting) / 1e12, "from": _source(setting)})


def _versions(setting: Setting) -> Row:
    import transformers

    row = {"torch": torch.__version__, "transformers": transformers.__version__}
    if setting.device == "cuda":
        facts = torch.cuda.get_device_properties(0)
        row |= {"card": facts.name, "memory, GB": facts.total_memory / 1e9, "CUDA": torch.version.cuda}
    return row


def best_seconds(work, device: str, repeats: int = 10) -> float:
    """Of some runs, after one that warms up."""
    wait, taken = torch.cuda.synchronize if device == "cuda" else lambda: None, []
    for _ in range(repeats + 1):
        wait()
        began = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - began)
    return min(taken[1:])


def copy_bandwidth(setting: Setting) -> float:
    """Bytes a second, read and written, of a copy on the device that is larger than its caches."""
    source = torch.ones(setting.copied // 4, device=setting.device)
    target = torch.empty_like(source)
    return 2 * setting.copied / best_seconds(lambda: target.copy_(source), setting.device)


def product_flops(setting: Setting) -> float:
    """FLOP a second of a large matrix product."""
    shape, dtype = (setting.matrix, setting.matrix), getattr(torch, setting.dtype)
    one, other = (torch.randn(shape, device=setting.device, dtype=dtype) for _ in range(2))
    return 2 * setting.matrix**3 / best_seconds(lambda: one @ other, setting.device)


def flop_limit(setting: Setting) -> float:
    """FLOP a second: the data sheet's, or of a card that is not known what a large matrix product reaches."""
    known = peak_tflops(setting.device)
    return product_flops(setting) if known is None else known * 1e12


def _source(setting: Setting) -> str:
    return "measured" if peak_tflops(setting.device) is None else "data sheet, dense bf16"
