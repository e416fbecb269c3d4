"""What is measured: the same on every card, and all of it in small for the rehearsal."""

from __future__ import annotations

from dataclasses import dataclass

from bench_infer_settings import LARGE_TOWER, SHAPES


@dataclass(frozen=True)
class Setting:
    """Sizes and shapes of all steps.

    Attributes:
        device, dtype: where models run, and in what where nothing is said against the CPU.
        backend: of `--compile`: True is the command's own.
        copied: bytes of the buffer whose copy gives the bandwidth.
        matrix: side of the square matrices whose product gives the FLOP limit of a card that is not known.
        clips: shapes clips whose answers are compared.
        longest: tokens at which their answers are cut off.
        rows: answers in the making at a time, there.
        llama: hidden size, MLP, layers, heads, key and value heads of the decoder with planted answers.
        vocabulary: of its head, if the tokenizer's is smaller.
        width: of its frame features.
        known: videos that answers are planted for.
        learnt: other answers, which drafts may know, where they are those of shapes clips.
        released: of these, videos for the released loop, which takes seconds for each.
        batches: rows and, for each number of them, videos.
        folder: for scratch files.
        answers, tokenizer: real answers and the tokenizer they are read with (as `bench_infer.py` takes them); None
            takes the true answers of shapes clips and the demo's tokenizer.
        tower: of `CLIPVisionConfig`.
        frame_batches: frames in one pass of it.
        frame_size: height and width of frames before they are resized.
        training: shape, one of `bench_train.SHAPES`.
        training_batches: samples of a step.
        training_steps: that are timed.
        full: shapes for full fine-tuning, the largest first.
    """

    device: str = "cuda"
    dtype: str = "bfloat16"
    backend: bool | str = True
    copied: int = 2**32
    matrix: int = 8192
    clips: int = 200
    longest: int = 1024
    rows: int = 32
    llama: tuple[int, ...] = SHAPES["7b"]
    vocabulary: int = 32_000
    width: int = 1024
    known: int = 64
    learnt: int = 200
    released: int = 4
    batches: tuple[tuple[int, int], ...] = ((1, 4), (8, 32), (32, 96))
    folder: str = ""
    answers: str | None = None
    tokenizer: str | None = None
    tower: tuple[tuple[str, int], ...] = tuple(LARGE_TOWER.items())
    frame_batches: tuple[int, ...] = (8, 32, 100, 256)
    frame_size: tuple[int, int] = (360, 640)
    training: str = "7b"
    training_batches: tuple[int, ...] = (16, 4, 1)
    training_steps: int = 3
    full: tuple[str, ...] = ("13b", "7b", "3b")


REHEARSAL = Setting(
    device="cpu",
    backend="eager",
    copied=2**20,
    matrix=128,
    clips=2,
    longest=40,
    rows=2,
    llama=SHAPES["tiny"],
    vocabulary=600,
    width=64,
    known=2,
    learnt=4,
    released=1,
    batches=((1, 1), (2, 2)),
    tower=(("hidden_size", 32), ("intermediate_size", 64), ("num_hidden_layers", 2), ("num_attention_heads", 2),
        ("image_size", 28), ("patch_size", 14), ("projection_dim", 16)),
    frame_batches=(2, 4),
    frame_size=(36, 64),
    training="tiny",
    training_batches=(3,),
    training_steps=1,
    full=("tiny",),
)  # fmt: skip
