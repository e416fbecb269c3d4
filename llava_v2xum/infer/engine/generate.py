"""Answers of a batch of videos, in one call of the engine.

Shapes: S prompt positions, T frames, C feature width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import LongTensor, Tensor

from ...core.errors import V2XumError
from ..drafting import Drafter
from .answers import Answer
from .loop import Engine
from .work import Job


def generate_answers(
    model,
    tokenizer,
    prompts: Sequence[LongTensor],
    videos: Sequence[Tensor],
    max_new_tokens: int = 1024,
    temperature: float = 0.0,
    drafter: Drafter | None = None,
    seed: int = 0,
    end_loops: bool = True,
) -> list[Answer]:
    """Answers for several videos at once; each is what the video would get alone.

    Args:
        model: a `LlavaV2XumForCausalLM`.
        prompts: input ids int64 [S] with one placeholder each (`dataset.build_input_ids`).
        videos: frame features [T, C] or pixels [T, 3, H, W], one for each prompt.
        temperature: 0 is greedy; above it, sampled.
        drafter: saves passes and changes no answer; without one, a pass gives one token.
        seed: of the sampling.
        end_loops: as of an `Engine`.

    Raises:
        V2XumError: if there are not as many videos as prompts, or the model refuses one.
    """
    if len(prompts) != len(videos):
        raise V2XumError(f"expected a video for each prompt, got {len(prompts)} prompts and {len(videos)} videos")
    engine = Engine(
        model,
        tokenizer,
        rows=max(len(prompts), 1),
        max_new_tokens=max_new_tokens,
        drafter=drafter,
        temperature=temperature,
        end_loops=end_loops,
    )
    jobs = (Job(number, (prompt,), video, seed) for number, (prompt, video) in enumerate(zip(prompts, videos)))
    answers = dict(engine.run(jobs))
    return [answers[number][0] for number in range(len(prompts))]
