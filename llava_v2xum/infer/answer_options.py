"""How videos are answered, whoever summarizes them."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import V2XumError


@dataclass(frozen=True)
class AnswerOptions:
    """How to answer: the further arguments of `Summarizer.summarize_many`.

    Attributes:
        batch_size: answers in the making at a time; of the task "all", each video has three.
        max_new_tokens: where an answer is cut off (a problem is listed then).
        end_loops: cut it off as soon as it certainly repeats itself without end (greedy answers only).
        temperature: 0 is greedy; above it answers are sampled.
        seed: of the sampling; together with the video's name it decides the answer.
        drafts: check several likely tokens in one pass.
        max_draft: how many at most; None leaves it to the engine.
        compile: compile the decoder's passes first (greedy answers only); see `Engine`.

    Raises:
        V2XumError: if `batch_size` is not positive; `Engine` looks at the others.
    """

    batch_size: int = 8
    max_new_tokens: int = 1024
    end_loops: bool = True
    temperature: float = 0.0
    seed: int = 0
    drafts: bool = True
    max_draft: int | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise V2XumError(f"batch_size must be at least 1, got {self.batch_size}")
