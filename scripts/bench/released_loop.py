"""The released method's way to an answer, written plainly from its description: what the benchmarks compare with.

One video at a time; its temporal prompts tokenized and embedded anew, and every frame's four prompt embeddings and one
visual token written into their places of a buffer, frame by frame; then transformers' `generate`, which runs the
decoder once for each token and keeps the logits of every step.

Three things differ from the released code, none of which slows it down here: answers are greedy (it samples at
temperature 0.05), the buffer has the model's dtype (it is always float16), and generation stops at the end-of-sequence
token alone (it also decodes the text at every step to look for `</s>`).

Shapes: N frames, k ids of a temporal prompt, C feature width, D hidden size, S prompt positions, G generated tokens.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import LongTensor, Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from llava_v2xum.infer.engine.answers import cited_positions, digit_token_ids, importance_scores


@dataclass(frozen=True)
class ReleasedAnswer:
    """An answer, and what it took.

    Attributes:
        text, token_ids, importance, finished: as `llava_v2xum.infer.engine.Answer`.
        passes: of the decoder, the one over the prompt included.
        prefill_seconds: up to the first token's logits, with the embeddings of prompts and frames.
        decode_seconds: for all other tokens.
    """

    text: str
    token_ids: tuple[int, ...]
    importance: np.ndarray | None
    finished: bool
    passes: int
    prefill_seconds: float
    decode_seconds: float


class _Clock(LogitsProcessor):
    """Counts the passes and takes the time of the first; changes no logits."""

    def __init__(self) -> None:
        self.passes = 0
        self.first = 0.0

    def __call__(self, input_ids: LongTensor, scores: Tensor) -> Tensor:
        if not self.passes:
            synchronize(scores.device)
            self.first = time.perf_counter()
        self.passes += 1
        return scores


def synchronize(device: torch.device) -> None:
    """Wait for a GPU, so that the clock tells what it did."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def frame_embeddings(model, tokenizer, features: Tensor) -> Tensor:
    """The frames as the decoder reads them, put together frame by frame.

    Args:
        features: [N, C].

    Returns:
        [N (k + 1), D] in the model's dtype.
    """
    weight = next(model.get_model().mm_projector.parameters())
    tokens = model.get_model().mm_projector(features.to(weight.device, weight.dtype))
    prompts = [model.config.timeline.prompt(index) for index in range(len(features))]
    ids = tokenizer(prompts, return_tensors="pt", add_special_tokens=False)["input_ids"].to(tokens.device)
    embedded = model.get_input_embeddings()(ids)
    step = ids.shape[1] + 1
    buffer = torch.empty(step * len(features), tokens.shape[-1], dtype=tokens.dtype, device=tokens.device)
    for index in range(len(features)):
        buffer[step * index : step * (index + 1) - 1] = embedded[index]
        buffer[step * (index + 1) - 1] = tokens[index]
    return buffer


@torch.inference_mode()
def released_answer(
    model, tokenizer, prompt: LongTensor, features: Tensor, max_new_tokens: int = 1024
) -> ReleasedAnswer:
    """One video's greedy answer.

    Args:
        prompt: int64 [S] with one placeholder (`tokens.build_input_ids`).
        features: [N, C].
    """
    device = model.get_input_embeddings().weight.device
    began, clock = time.perf_counter(), _Clock()
    buffer = frame_embeddings(model, tokenizer, features)
    output = model.generate(
        prompt[None].to(device),
        images=[buffer[:, None, None]],  # the form of media that are embedded already; LLaVA splices it in
        do_sample=False,
        max_new_tokens=max_new_tokens,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        use_cache=True,
        output_scores=True,
        return_dict_in_generate=True,
        logits_processor=LogitsProcessorList([clock]),
    )
    synchronize(device)
    ended = time.perf_counter()
    ids = output.sequences[0].tolist()
    finished = tokenizer.eos_token_id in ids
    ids = ids[: ids.index(tokenizer.eos_token_id)] if finished else ids
    timeline = model.config.timeline
    digits = digit_token_ids(tokenizer)
    digit_logits = torch.stack([scores[0, digits] for scores in output.scores]).float().cpu()  # [G, 10]
    return ReleasedAnswer(
        text=tokenizer.decode(ids, skip_special_tokens=True).strip(),
        token_ids=tuple(ids),
        importance=importance_scores(digit_logits, cited_positions(ids, tokenizer, timeline), timeline),
        finished=finished,
        passes=clock.passes,
        prefill_seconds=clock.first - began,
        decode_seconds=ended - clock.first,
    )
