"""What a run costs, on paper: memory, disk and arithmetic from a few counts. Guide and plan have their figures here.

The bytes are those of training in bf16 with Adam as DeepSpeed does it: weights and gradients in 16 bits, and for each
trained weight a float32 copy and Adam's two moments (Rajbhandari et al. 2020, arXiv 1910.02054, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass

HALF, OPTIMIZER = 2, 12  # bytes of a weight in 16 bits; of its float32 copy and two moments
FORWARD, BACKWARD = 2, 4  # FLOP of a weight at a position
H100_FLOPS = 989e12  # dense bf16, NVIDIA's data sheet
SHARE_OF_PEAK = 0.4  # our assumption: what good training code reaches
USABLE = 0.9  # of a card's memory, our assumption: the rest goes to CUDA, buffers and gaps
GB = 1e9


@dataclass(frozen=True)
class Size:
    """A model's counts.

    Args:
        weights: all that are on the card, without the tower's.
        layers, hidden: of the decoder.
        tower: the vision tower's weights, which are saved with a full run.
    """

    weights: float
    layers: int
    hidden: int
    tower: float = 0.3e9


VICUNA_7B = Size(6.738e9 + 0.021e9, 32, 4096)  # with LLaVA-1.5's projector
VICUNA_13B = Size(13.016e9 + 0.031e9, 40, 5120)


@dataclass(frozen=True)
class Method:
    """How it is trained.

    Args:
        stage: ZeRO's, 0 (none) to 3.
        offload: whether optimizer and weights wait in the machine's memory.
        trained: the weights that are trained; None for all.
        bits: of the weights that are not.
        recompute: whether activations are computed again in the backward pass.
    """

    stage: int = 2
    offload: bool = False
    trained: float | None = None
    bits: int = 16
    recompute: bool = True

    def trained_of(self, size: Size) -> float:
        return size.weights if self.trained is None else self.trained


def state_bytes(size: Size, method: Method, cards: int) -> float:
    """Bytes of weights, gradients and optimizer on each card."""
    trained = method.trained_of(size)
    frozen = size.weights - trained if method.trained is not None else 0
    weights = HALF * trained + frozen * method.bits / 8
    gradients, optimizer = HALF * trained, OPTIMIZER * trained
    if method.offload:
        return weights / cards + gradients / cards
    parted = cards if method.stage else 1
    return weights / (cards if method.stage == 3 else 1) + gradients / (parted if method.stage > 1 else 1) + (
        optimizer / parted
    )


def activation_bytes(size: Size, method: Method, positions: float) -> float:
    """Bytes of the activations of one pass; with recomputing each layer's input and one layer's own.

    34 bytes a position and hidden unit are a Llama layer's without attention scores, which SDPA does not keep
    (Korthikanti et al. 2022, arXiv 2205.05198, equation 2).
    """
    layer = 34 * positions * size.hidden
    return size.layers * HALF * positions * size.hidden + layer if method.recompute else size.layers * layer


def cards_needed(size: Size, method: Method, positions: float, card_bytes: float, most: int = 64) -> int | None:
    """The fewest cards that hold the states and one pass, None if `most` do not."""
    for cards in range(1, most + 1):
        if state_bytes(size, method, cards) + activation_bytes(size, method, positions) <= USABLE * card_bytes:
            return cards
    return None


def checkpoint_bytes(size: Size, method: Method) -> float:
    """Bytes of one checkpoint with its optimizer; a full run's holds the tower too."""
    trained = method.trained_of(size)
    return (HALF + OPTIMIZER) * trained + (HALF * size.tower if method.trained is None else 0)


def peak_disk_bytes(size: Size, method: Method, kept: int) -> float:
    """Bytes when the next checkpoint is written and the oldest not yet removed."""
    return (kept + 1) * checkpoint_bytes(size, method)


def flop(size: Size, method: Method, positions: float) -> float:
    """FLOP of learning from so many positions."""
    trained = method.trained_of(size)
    backward = FORWARD * size.weights + FORWARD * trained  # through all weights, and to those that are trained
    return positions * (FORWARD * size.weights * (2 if method.recompute else 1) + backward)


def hours_on_h100(flop_count: float, cards: int = 1) -> float:
    return flop_count / (H100_FLOPS * SHARE_OF_PEAK * cards) / 3600


def lora_weights(size: Size, rank: int, intermediate: float = 2.6875) -> float:
    """Weights of LoRA pairs at all seven linear layers of each decoder layer; `intermediate` is Vicuna's MLP width
    as a multiple of hidden (11008 / 4096; 13824 / 5120 = 2.7)."""
    wide = intermediate * size.hidden
    return size.layers * rank * (4 * 2 * size.hidden + 3 * (size.hidden + wide))


METHODS = {
    "full, ZeRO-2": lambda size: Method(2),
    "full, ZeRO-3": lambda size: Method(3),
    "full, ZeRO-3, offload": lambda size: Method(3, offload=True),
    "LoRA, ZeRO-2": lambda size: Method(2, trained=lora_weights(size, 64)),
    "QLoRA (4 bits), ZeRO-2": lambda size: Method(2, trained=lora_weights(size, 64), bits=4),
}
BATCH_POSITIONS = 8 * 670  # the script's samples of one pass, and a sample's positions


def table() -> str:
    """The guide's table of memory and disk."""
    lines = [
        "| | states on 1 card | on 8 | cards of 80 GB | of 40 GB | a checkpoint | disk at the peak |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, size in (("7B", VICUNA_7B), ("13B", VICUNA_13B)):
        for way, method_of in METHODS.items():
            method = method_of(size)
            on = [f"{state_bytes(size, method, cards) / GB:.0f} GB" for cards in (1, 8)]
            fit = [cards_needed(size, method, BATCH_POSITIONS, card * GB) for card in (80, 40)]
            told = ["none" if cards is None else str(cards) for cards in fit]
            disk = [checkpoint_bytes(size, method), peak_disk_bytes(size, method, 2)]
            cells = [f"{name} {way}", *on, *told, *(f"{one / GB:.3g} GB" for one in disk)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def hours(videos: int, tasks: int = 3, epochs: int = 5, positions: int = 670, size: Size = VICUNA_7B) -> float:
    """Hours of one H100 for so many videos."""
    return hours_on_h100(flop(size, Method(2), videos * tasks * epochs * positions))


