"""What a run will do and take: steps, tokens, time, memory, disk, cards."""

from __future__ import annotations

import argparse
import json
import logging
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from ...data.dataset import VideoCollator
from ...model.packing import ENTRY_IDS, PackedDataset
from .. import costs
from ..costs import GB

logger = logging.getLogger(__name__)

_MOST_MEASURED = 1e9  # weights of a model that a CPU learns from in reasonable time


def size_of(model) -> costs.Size:
    """The model's counts, as the costs take them."""
    tower = model.get_vision_tower()
    of_tower = {id(one) for one in tower.parameters()} if tower is not None else set()
    counts = [getattr(one, "ds_numel", one.numel()) for one in model.parameters() if id(one) not in of_tower]
    held = sum(one.numel() for one in tower.parameters()) if tower is not None else 0
    return costs.Size(sum(counts), model.config.num_hidden_layers, model.config.hidden_size, held)


def method_of(asked: argparse.Namespace, size: costs.Size) -> costs.Method:
    """How the arguments train it; without --deepspeed as the scripts do, under ZeRO-2."""
    stage, offload = 2, False
    if asked.deepspeed and Path(asked.deepspeed).is_file():
        zero = json.loads(Path(asked.deepspeed).read_text()).get("zero_optimization", {})
        stage, offload = zero.get("stage", 0), "offload_optimizer" in zero
    trained = None
    if asked.lora_enable:
        trained = float(costs.lora_weights(size, asked.lora_r))
    return costs.Method(stage, offload, trained, asked.bits, recomputes(asked))


def recomputes(asked: argparse.Namespace) -> bool:
    """Whether activations are computed again; transformers 5 has another name for the flag."""
    given = vars(asked)
    return bool(given.get("activation_checkpointing") or given.get("gradient_checkpointing"))


def lines(asked: argparse.Namespace, model, dataset, world: int) -> Iterator[str]:
    """The plan, line by line.

    Args:
        asked: the arguments of training.
        model: loaded.
        dataset: of an epoch.
        world: cards that the run has.
    """
    plain = dataset.dataset if isinstance(dataset, PackedDataset) else dataset
    size = size_of(model)
    method = method_of(asked, size)
    per_pass, accumulated = asked.per_device_train_batch_size, asked.gradient_accumulation_steps
    batch = per_pass * accumulated * world
    steps_of_epoch = math.ceil(len(dataset) / batch)
    steps = asked.max_steps if asked.max_steps > 0 else math.ceil(steps_of_epoch * asked.num_train_epochs)
    epochs = steps / steps_of_epoch
    positions, learned = sum(dataset.lengths), sum(entry.learned for entry in plain.entries)
    what = "rows" if dataset is not plain else "samples"
    yield (
        f"{len(dataset):,} {what} an epoch, {batch} a step ({per_pass} x {accumulated} x {world} cards): "
        f"{steps_of_epoch:,} steps an epoch, {steps:,} in all ({epochs:.3g} epochs)"
    )
    yield f"{positions * epochs:,.0f} positions, {learned * epochs:,.0f} of them learned tokens"
    work = costs.flop(size, method, positions * epochs)
    yield (
        f"{size.weights / 1e9:.3g} billion weights, {method.trained_of(size) / 1e9:.3g} trained: {work:.3g} FLOP, "
        f"{costs.hours_on_h100(work, world):.3g} hours of {world} H100 at {costs.SHARE_OF_PEAK:.0%} of their peak"
    )
    of_pass = per_pass * positions / len(dataset)
    state = costs.state_bytes(size, method, world) / GB
    active = costs.activation_bytes(size, method, of_pass) / GB
    way = f"ZeRO-{method.stage}" if method.stage else "no ZeRO"
    yield f"memory of each of {world} cards: {state:.3g} GB of states ({way}), about {active:.3g} GB for a pass"
    for card in (80, 40, 24):
        fewest = costs.cards_needed(size, method, of_pass, card * GB)
        yield f"cards of {card} GB: " + (f"{fewest} hold it" if fewest else "none hold it; try zero3.json, or LoRA")
    kept = asked.save_total_limit or math.ceil(steps / max(asked.save_steps, 1))
    one, peak = costs.checkpoint_bytes(size, method) / GB, costs.peak_disk_bytes(size, method, kept) / GB
    free = shutil.disk_usage(_there(Path(asked.output_dir))).free / GB
    if str(asked.save_strategy) == "no":
        yield f"disk: {costs.HALF * method.trained_of(size) / GB:.3g} GB for the model; {free:.3g} GB are free"
    else:
        short = "" if peak < free else ": NOT ENOUGH"
        yield f"disk: {one:.3g} GB a checkpoint, {peak:.3g} GB at the peak ({kept} kept); {free:.3g} GB are free{short}"
    seconds = measured_step(asked, model, dataset)
    if seconds is not None:
        yield (
            f"time on this machine, by a measured pass of {seconds:.3g} s without the optimizer: "
            f"{seconds * accumulated * steps / 3600:.3g} hours"
        )


def measured_step(asked: argparse.Namespace, model, dataset) -> float | None:
    """Seconds of one pass forward and backward, of samples of middle length; None where it would take too long."""
    on_gpu = torch.cuda.is_available() and not asked.use_cpu
    whole = not any(hasattr(one, "ds_id") for one in model.parameters())
    too_slow = not on_gpu and sum(one.numel() for one in model.parameters()) > _MOST_MEASURED
    if not whole or asked.bits != 16 or too_slow:
        return None
    order = sorted(range(len(dataset)), key=lambda position: dataset.lengths[position])
    middle = order[len(order) // 2 :][: asked.per_device_train_batch_size]
    tokenizer = (dataset.dataset if isinstance(dataset, PackedDataset) else dataset).tokenizer.tokenizer
    batch = VideoCollator(tokenizer.pad_token_id)([dataset[position] for position in middle])
    batch.pop(ENTRY_IDS, None)
    device = torch.device("cuda" if on_gpu else "cpu")
    model.to(device).train()
    moved = {key: value.to(device) if hasattr(value, "to") else value for key, value in batch.items()}
    if "images" in moved:
        moved["images"] = [one.to(device) for one in batch["images"]]
    try:
        for _ in range(2):  # the first one also sets up what the second one uses
            begin = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=bool(asked.bf16)):
                loss = model(**moved).loss
            loss.backward()
            if on_gpu:
                torch.cuda.synchronize()
            seconds = time.perf_counter() - begin
            model.zero_grad(set_to_none=True)
    except RuntimeError as error:  # out of memory, mostly: the plan is told all the same
        logger.warning("no step could be measured: %s", str(error).splitlines()[0])
        return None
    return seconds


def _there(folder: Path) -> Path:
    """The folder, or the nearest above it that there is."""
    return next(one for one in (folder.resolve(), *folder.resolve().parents) if one.is_dir())


