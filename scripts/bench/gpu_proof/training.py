"""Training: whether a step is right on the card and packed, and how fast steps are."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator

import torch
from bench_train import batches_of, make_model, make_samples, measure_step
from torch import Tensor

from gpu_proof.card import flop_limit
from gpu_proof.rows import MFU, Row, measured
from gpu_proof.setting import Setting

VIDEOS = 2  # of the step that is checked: their six samples fill one packed row
CLOSE = 1e-4  # relative, of losses and gradients in float32

Gradients = dict[str, Tensor]


def check(setting: Setting) -> Iterator[Row]:
    """Loss and gradients of a tiny model in float32: on the device, and of the same samples in a packed row."""
    model, tokenizer = make_model("tiny", "sdpa", "cpu", torch.float32)
    there = copy.deepcopy(model).to(setting.device)
    samples = make_samples(tokenizer, VIDEOS)
    (padded,) = batches_of("released", samples, len(samples))
    (packed,) = batches_of("packed", samples, 1)
    here = _step(model, padded)
    yield measured("on the device", _checked, there, padded, here)
    yield measured("packed, on the device", _checked, there, packed, here)


def _step(model, batch: tuple) -> tuple[float, Gradients]:
    tensors, numbers, _ = batch
    made = torch.Generator().manual_seed(0)
    features = torch.randn(VIDEOS, 100, model.config.mm_hidden_size, generator=made).to(model.device)
    tensors = {name: tensor.to(model.device) for name, tensor in tensors.items()}
    model.zero_grad()
    loss = model(**tensors, videos=[features[number] for number in numbers]).loss
    loss.backward()
    found = {name: weight.grad.cpu() for name, weight in model.named_parameters() if weight.grad is not None}
    return float(loss.detach()), found


def _checked(model, batch: tuple, expected: tuple[float, Gradients]) -> Row:
    """Largest relative differences; of a gradient against its largest number."""
    found = _step(model, batch)
    loss = abs(found[0] - expected[0]) / abs(expected[0])
    differences = [
        float((found[1][name] - true).abs().max() / true.abs().max().clamp(min=1e-8))
        for name, true in expected[1].items()
    ]
    same = found[1].keys() == expected[1].keys()
    return {
        "loss": found[0],
        "loss differs by": loss,
        "gradients differ by": max(differences),
        "right": same and max(loss, *differences) <= CLOSE,
    }


def lora(setting: Setting) -> Iterator[Row]:
    """LoRA and the projector: the largest batch and packed rows first, whose share of the limit is an aim."""
    for batch in setting.training_batches:
        for variant in ("packed", "ours"):
            for checkpointing in (False, True):
                name = f"{variant}, batch {batch}{', checkpointing' * checkpointing}"
                yield measured(name, _figures, setting, variant, batch, checkpointing)


def _figures(setting: Setting, variant: str, batch: int, checkpointing: bool) -> Row:
    made = measure_step(
        setting.training, variant, "lora", batch, setting.training_steps, setting.device,
        getattr(torch, setting.dtype), checkpointing,
    )  # fmt: skip
    return {"packed": variant == "packed", **_told(made, setting)}


def _told(made: dict[str, float], setting: Setting) -> Row:
    return {
        "tokens a second": made["positions_per_second"],
        "samples a second": made["samples_per_second"],
        MFU: made["tflops"] * 1e12 / flop_limit(setting),
        "memory, GB": made["peak_gb"],
    }


def full(setting: Setting) -> Iterator[Row]:
    """All weights: shapes from the largest down, until one fits."""
    eight_bit = importlib.util.find_spec("bitsandbytes") is not None and setting.device == "cuda"
    for shape in setting.full:
        name = f"{shape}, packed, AdamW in {'8 bits' if eight_bit else setting.dtype}"
        row = measured(name, _all_weights, setting, shape, eight_bit)
        yield row
        if "fault" not in row:
            return


def _all_weights(setting: Setting, shape: str, eight_bit: bool) -> Row:
    made = measure_step(
        shape, "packed", "full", setting.training_batches[0], setting.training_steps, setting.device,
        getattr(torch, setting.dtype), True, eight_bit,
    )  # fmt: skip
    return _told(made, setting)
