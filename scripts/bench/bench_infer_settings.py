"""The settings of a measurement of `bench_infer.py`, which neither its command line nor its table needs torch for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEMO = Path(__file__).parents[2] / "llava_v2xum" / "shapes" / "checkpoint"
SHAPES = {  # hidden size, MLP, layers, heads, key and value heads
    "tiny": (64, 128, 2, 2, 2),
    "110m": (768, 2048, 12, 12, 12),
    "1b": (2048, 5632, 22, 32, 4),
    "7b": (4096, 11008, 32, 32, 32),
}
LARGE_TOWER = {  # LLaVA-1.5's: CLIP ViT-L/14 at 336 pixels
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "image_size": 336, "patch_size": 14, "projection_dim": 768,
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What one process measures.

    Attributes:
        what: "released" (the released method's loop), "plain" (this project, one token a pass), "drafts", "three" (the
            three tasks in runs of their own, with drafts), "all" (`--task all`), "means" (what planted models know
            videos by), or "queue" (the command on many videos).
        model: "demo", or one of `SHAPES`.
        videos: the files.
        folder: for what is made.
        task: of one-task runs.
        batch: rows.
        device, dtype: where the model runs, and in what.
        tower: folder of the vision tower of a model of random weights.
        tokenizer: folder of its tokenizer.
        answers: for each video its answers to BOTH, VIDEO and TEXT as `TASKS` orders them.
        learnt: other answers, which its drafts may know.
        workers: processes that read videos; None leaves it to the package.
        max_new_tokens: where an answer is cut off.
        compile: whether this project's decoder is compiled, which is not timed.
    """

    what: str
    model: str
    videos: tuple[str, ...]
    folder: str
    task: str = "both"
    batch: int = 1
    device: str = "cpu"
    dtype: str = "float32"
    tower: str = str(DEMO / "vision_tower")
    tokenizer: str | None = None
    answers: tuple[tuple[str, ...], ...] = ()
    learnt: tuple[str, ...] = ()
    workers: int | None = None
    max_new_tokens: int = 1024
    compile: bool = False

    @property
    def means_file(self) -> Path:
        """Where "means" leaves the videos' mean features."""
        return Path(self.folder) / f"means_{Path(self.tower).name}.pt"
