"""The steps in their order: what is needed for an answer to "is it right" comes before how fast it is."""

from __future__ import annotations

from dataclasses import dataclass

PACKAGE = ("llava", "av")  # what this project itself imports, of what may be missing


@dataclass(frozen=True)
class Step:
    """One process.

    Attributes:
        name: in the table and of its log.
        title: what it shows.
        work: "module.function": takes the `Setting`, yields rows (`rows.measured`).
        seconds: that it is thought to take; a share of the time that is left, against those of the steps to come.
        needs: modules without which it can do nothing.
    """

    name: str
    title: str
    work: str
    seconds: float
    needs: tuple[str, ...] = PACKAGE


STEPS = (
    Step("card", "The card", "gpu_proof.card.run", 15, ()),
    Step("layouts", "Checkpoints of every layout, against the CPU", "gpu_proof.correctness.layouts", 30),
    Step("drafts", "Drafts and recorded passes, against plain greedy answers", "gpu_proof.correctness.drafts", 70),
    Step("step", "A training step, against the CPU and packed", "gpu_proof.training.check", 25),
    Step("quantized", "Weights in 8 and 4 bits", "gpu_proof.correctness.quantized", 20, (*PACKAGE, "bitsandbytes")),
    Step("decoding", "Answers from stored features", "gpu_proof.decoding.run", 90),
    Step("compiled", "The same with --compile", "gpu_proof.decoding.run_compiled", 100),
    Step("encoding", "Frames to features", "gpu_proof.encoding.run", 40),
    Step("lora", "LoRA training", "gpu_proof.training.lora", 70, (*PACKAGE, "peft")),
    Step("full", "Full fine-tuning", "gpu_proof.training.full", 40),
)
