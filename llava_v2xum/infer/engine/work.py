"""Jobs, and the rows that their answers are written in.

Shapes: S text positions, P positions that a job's prompts share, L other positions, T frames, C feature width, D hidden
size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import LongTensor, Tensor

from ...core.errors import V2XumError
from ...features.upstream import IMAGE_TOKEN_INDEX
from .answers import Answer
from .drafts import Trust
from .loops import LoopWatch

Key = TypeVar("Key", bound=Hashable)  # what a job's answers come back with


@dataclass(frozen=True)
class Job(Generic[Key]):
    """One video and what is asked about it.

    Attributes:
        key: what its answers come back with.
        prompts: input ids int64 [S], one for each answer that is wanted, with one placeholder each
            (`dataset.build_input_ids`). What they have in common, the video above all, is computed once.
        video: frame features [T, C] (or [T, m, C]) or pixels [T, 3, H, W], on any device.
        seed: of its answers, at least 0, where they are sampled.
    """

    key: Key
    prompts: tuple[LongTensor, ...]
    video: Tensor
    seed: int = 0


@dataclass
class Work(Generic[Key]):
    """A job that is being worked on.

    Attributes:
        prefix: embeddings [P, D] of what all prompts begin with (P 0 if there is one prompt alone).
        rests: of each prompt the embeddings [L, D] behind the prefix, L at least 1.
        waiting: numbers of prompts that have no row yet. They take over rows of this job, where the prefix stands.
    """

    key: Key
    prefix: Tensor
    rests: list[Tensor]
    waiting: deque[int] = field(default_factory=deque)
    seed: int = 0
    answers: dict[int, Answer] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return len(self.answers) == len(self.rests)


@dataclass
class Row(Generic[Key]):
    """One answer in the making.

    Attributes:
        number: which of the job's prompts it answers.
        length: positions of the cache that hold; the last of `ids` is not among them.
        ids: generated so far.
        digits: the digits' logits where they were chosen, pieces of [any, 10].
        trust: in its drafts.
        watch: for loops.
        loop: tokens of a round, where the answer ends because it goes round in circles; else 0.
    """

    work: Work[Key]
    number: int
    length: int = 0
    ids: list[int] = field(default_factory=list)
    digits: list[Tensor] = field(default_factory=list)
    trust: Trust = field(default_factory=Trust)
    watch: LoopWatch = field(default_factory=LoopWatch)
    loop: int = 0

    @property
    def prompt_positions(self) -> int:
        return len(self.work.prefix) + len(self.work.rests[self.number])

    def digit_logits(self) -> Tensor:
        """[G, 10]."""
        return torch.cat(self.digits)


@torch.inference_mode()
def open_work(model, job: Job[Key], device) -> Work[Key]:
    """Embed a job's prompts with its video, which goes through the tower and the projector once.

    Raises:
        V2XumError: naming the job, if it has no prompt, one does not have one placeholder, or the model refuses the
            video or the length.
    """
    try:
        if not job.prompts:
            raise V2XumError("expected at least one prompt, got none")
        for prompt in job.prompts:
            places = int((prompt == IMAGE_TOKEN_INDEX).sum())
            if places != 1:
                raise V2XumError(f"a prompt needs one placeholder ({IMAGE_TOKEN_INDEX}), got {places}")
        (media,) = model.embed_media([job.video.to(device, non_blocking=True)])
        rows = [_embed(model, prompt.to(device), media) for prompt in job.prompts]
    except V2XumError as error:
        raise V2XumError(f"{job.key}: {error}") from error
    shared = _shared_positions(job.prompts, len(media))
    return Work(job.key, rows[0][:shared], [row[shared:] for row in rows], deque(range(len(rows))), job.seed)


def _embed(model, prompt: LongTensor, media: Tensor) -> Tensor:
    ids = prompt[None]
    embeds = model.prepare_inputs_labels_for_multimodal(ids, None, torch.ones_like(ids), None, None, [media])[4]
    if embeds is None:  # LLaVA's splicing leaves the video out
        raise V2XumError("the model has no vision tower, without which LLaVA does not take videos")
    return embeds[0]


def _shared_positions(prompts: Sequence[LongTensor], media_positions: int) -> int:
    """P: the positions that all prompts begin with, if the video is among them; each keeps one of its own."""
    if len(prompts) == 1:
        return 0
    shared = min(len(prompt) for prompt in prompts) - 1
    for prompt in prompts[1:]:
        differs = (prompt[:shared] != prompts[0][:shared]).nonzero()
        shared = int(differs[0]) if len(differs) else shared
    if not (prompts[0][:shared] == IMAGE_TOKEN_INDEX).any():
        return 0
    return shared - 1 + media_positions
