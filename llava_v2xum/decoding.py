"""Answers of a batch of videos: greedy by the engine, sampled by transformers' generate.

Shapes: B batch, S prompt positions, G generated tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import LongTensor, Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from .drafting import Drafter
from .engine import Engine, Job
from .engine.answers import Answer, answer_of, cited_positions, digit_token_ids, importance_scores

__all__ = ["Answer", "cited_positions", "digit_token_ids", "generate_answers", "generated_answers", "importance_scores"]


def generate_answers(
    model,
    tokenizer,
    prompts: Sequence[LongTensor],
    videos: Sequence[Tensor],
    max_new_tokens: int = 1024,
    temperature: float = 0.0,
    drafter: Drafter | None = None,
) -> list[Answer]:
    """Answers for several videos at once; each is what the video would get alone.

    Args:
        model: a `LlavaV2XumForCausalLM`.
        prompts: input ids int64 [S] with one placeholder each (`dataset.build_input_ids`).
        videos: frame features [T, C] or pixels [T, 3, H, W], one for each prompt.
        temperature: 0 is greedy; above it, sampled from torch's random numbers.
        drafter: saves passes of greedy decoding and changes no answer; without one, a pass gives one token.

    Raises:
        ValueError: if there are not as many videos as prompts, or the model refuses one.
    """
    if len(prompts) != len(videos):
        raise ValueError(f"expected a video for each prompt, got {len(prompts)} prompts and {len(videos)} videos")
    if temperature > 0:
        return generated_answers(model, tokenizer, prompts, videos, max_new_tokens, temperature)
    engine = Engine(model, tokenizer, rows=max(len(prompts), 1), max_new_tokens=max_new_tokens, drafter=drafter)
    jobs = (Job(number, (prompt,), video) for number, (prompt, video) in enumerate(zip(prompts, videos)))
    answers = dict(engine.run(jobs))
    return [answers[number][0] for number in range(len(prompts))]


class DigitRecorder(LogitsProcessor):
    """Keeps the logits of the ten digits at every step; changes none."""

    def __init__(self, digit_ids: Sequence[int]) -> None:
        self.digit_ids = list(digit_ids)
        self.steps: list[Tensor] = []

    def __call__(self, input_ids: LongTensor, scores: Tensor) -> Tensor:
        self.steps.append(scores[:, self.digit_ids].float().cpu())
        return scores


@torch.inference_mode()
def generated_answers(
    model,
    tokenizer,
    prompts: Sequence[LongTensor],
    videos: Sequence[Tensor],
    max_new_tokens: int = 1024,
    temperature: float = 0.0,
) -> list[Answer]:
    """The same by transformers' generate, one token a pass; temperature 0 is greedy here too."""
    device = model.get_input_embeddings().weight.device
    pad = tokenizer.pad_token_id
    width = max(len(prompt) for prompt in prompts)
    input_ids = torch.full((len(prompts), width), pad, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for row, prompt in enumerate(prompts):
        input_ids[row, width - len(prompt) :] = prompt
        attention_mask[row, width - len(prompt) :] = 1
    sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
    recorder = DigitRecorder(digit_token_ids(tokenizer))
    new_ids = model.generate(
        input_ids.to(device),
        videos=list(videos),
        attention_mask=attention_mask.to(device),
        generation_config=GenerationConfig(
            max_new_tokens=max_new_tokens,
            pad_token_id=pad,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            use_cache=True,  # training writes False into the config
            **sampling,
        ),
        logits_processor=LogitsProcessorList([recorder]),
    ).tolist()
    digit_logits = torch.stack(recorder.steps, dim=1)  # [B, G, 10]
    timeline = model.config.timeline
    return [answer_of(ids, logits, tokenizer, timeline) for ids, logits in zip(new_ids, digit_logits)]
