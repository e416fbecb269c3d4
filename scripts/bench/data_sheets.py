"""What cards can do by their data sheets."""

from __future__ import annotations

PEAK_TFLOPS = {"H200": 989, "H100": 989, "A100": 312, "A6000": 155, "L40": 181, "4090": 165}  # dense bf16


def peak_tflops(device: str) -> float | None:
    """Of the GPU in use; None for one that is not known, and for the CPU."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else ""
    return next((peak for part, peak in PEAK_TFLOPS.items() if part in name), None)
