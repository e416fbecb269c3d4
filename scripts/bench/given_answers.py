"""Models of random weights whose greedy answers are given ones: real lengths and real words without a trained model.

A benchmark of decoding needs answers like the real ones, and whatever is measured must come to them on its own. So the
answers are planted into the model, where no decoding loop knows of them:

- The projector writes a video's number, in bits, into some channels of its visual tokens. It knows the video by its
  mean feature. The words that tell one task from the others carry a mark in further channels.
- One head of the first layer attends to all positions alike and copies these channels into others, which no later
  layer writes to. So at every later position the decoder has read from its cache which video and task it answers.
- The decoder's positions and these channels come out of it together, and the logits of the token that the given answer
  has at this place are raised above all others.

All matrix products are made as ever. A loop that mixes up rows, positions, masks or cached prefixes gives others.

Shapes: M videos, N frames, C feature width, D hidden size, L longest answer, V vocabulary, S prompt positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from bench_infer_settings import SHAPES
from random_model import random_model
from torch import LongTensor, Tensor

from llava_v2xum.core.tasks import TASKS, query_for
from llava_v2xum.data.dataset import build_input_ids

BITS = 10  # of a video's number
MARKS = BITS + len(TASKS)  # channels that carry a video and its task
POSITION_STEP = 32  # positions come out as two small numbers, which 16 bits hold exactly
RAISED = 1000.0  # a logit that random weights do not come near


def make_model(shape: str, tokenizer, tower: str | Path, device: str | torch.device, dtype: torch.dtype):
    """A model of that shape with random weights, and the encoder of its frames.

    Args:
        shape: one of `SHAPES`.
        tower: folder of the CLIP vision tower; its features are as wide as its hidden states.

    Returns:
        The model and its `FrameEncoder`.
    """
    from transformers import CLIPVisionConfig

    from llava_v2xum.features.clip_tower import load_clip_tower
    from llava_v2xum.model.checkpoint.load import frame_encoder_of

    width = CLIPVisionConfig.from_pretrained(tower).hidden_size
    model = make_decoder(SHAPES[shape], tokenizer, tower, width, device, dtype)
    load_clip_tower(model.get_vision_tower(), {})
    return model, frame_encoder_of(model).to(device, dtype)


def make_decoder(sizes: Sequence[int], tokenizer, tower: str | Path, width: int, device, dtype, vocabulary: int = 0):
    """The same without an encoder: frames come as features, and the tower is not loaded.

    Args:
        sizes: see `random_model`.
        width: of the features.
        vocabulary: the head's, where it is to be larger than the tokenizer's.
    """
    return random_model(
        tokenizer, sizes, device, dtype, vocab_size=max(len(tokenizer), vocabulary),
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        mm_vision_tower=str(tower), mm_hidden_size=width, image_aspect_ratio="pad", tokenizer_padding_side="left",
        use_cache=True,
    ).eval()  # fmt: skip


@dataclass(frozen=True)
class GivenAnswers:
    """Which answer a model shall give to which video and task.

    Attributes:
        means: [M, C], each video's mean feature, by which it is known.
        tokens: int64 [M, tasks, L], the answers, filled up with the end of sequence.
        starts: int64 [tasks], the position of an answer's first token.
        words: for each task the ids that its prompt has and no other prompt.
    """

    means: Tensor
    tokens: LongTensor
    starts: LongTensor
    words: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, model, tokenizer, means: Tensor, answers: Sequence[Sequence[str]], conversation: str = "v1"):
        """For each of M videos its answer to each of `TASKS`.

        Raises:
            ValueError: if there are too many videos, as many answers do not come, a task cannot be told from the
                others by its words, or an answer is not what its own tokens say.
        """
        if not len(means) == len(answers) <= 2**BITS:
            raise ValueError(f"expected answers for each of at most {2**BITS} videos, got {len(answers)}/{len(means)}")
        prompts = [build_input_ids(tokenizer, query_for(task), conversation).tolist() for task in TASKS]
        ids = [[_answer_ids(tokenizer, text) for text in texts] for texts in answers]
        said = {token for texts in ids for row in texts for token in row}
        words = tuple(
            tuple(sorted(set(prompt) - said - {token for other in prompts if other is not prompt for token in other}))
            for prompt in prompts
        )
        if not all(words):
            raise ValueError("a task has no word of its own that no answer has, by which it could be told")
        longest = max(len(row) for texts in ids for row in texts) + 1
        tokens = torch.full((len(ids), len(TASKS), longest), tokenizer.eos_token_id)
        for video, texts in enumerate(ids):
            for task, row in enumerate(texts):
                tokens[video, task, : len(row)] = torch.tensor(row)
        frames = model.config.num_frames * model.config.frame_positions
        starts = torch.tensor([len(prompt) - 1 + frames for prompt in prompts])
        return cls(means, tokens, starts, words)


def _answer_ids(tokenizer, text: str) -> list[int]:
    ids = tokenizer(text, add_special_tokens=False).input_ids
    if tokenizer.decode(ids, skip_special_tokens=True).strip() != text:
        raise ValueError(f"the tokenizer does not give back {text!r}")
    return ids


@torch.no_grad()
def plant(model, given: GivenAnswers) -> None:
    """Change the model's weights and outputs so that it gives these answers; see the module.

    Raises:
        ValueError: if its heads are too narrow, or transformers is one that has rotary positions in every layer.
    """
    attention, decoder = model.model.layers[0].self_attn, model.model
    if not hasattr(decoder, "rotary_emb"):
        raise ValueError("planted answers need transformers 5, where rotary positions are the model's")
    width = model.config.hidden_size // model.config.num_attention_heads
    if width < MARKS:
        raise ValueError(f"expected heads at least {MARKS} wide, got {width}")
    embedding = model.get_input_embeddings().weight
    strength = float(embedding.float().std())
    embedding[:, : 2 * MARKS] = 0
    for task, words in enumerate(given.words):
        embedding[list(words), BITS + task] = strength
    for layer in decoder.layers:
        layer.self_attn.o_proj.weight[: 2 * MARKS] = 0
        layer.mlp.down_proj.weight[: 2 * MARKS] = 0
    attention.q_proj.weight[-width:] = 0  # the last head: all scores are zero
    attention.v_proj.weight[-width:] = 0
    attention.o_proj.weight[:, -width:] = 0
    for mark in range(MARKS):
        attention.v_proj.weight[mark - width, mark] = 1
        attention.o_proj.weight[MARKS + mark, mark - width] = 1
    device = embedding.device
    given = GivenAnswers(given.means.to(device).float(), given.tokens.to(device), given.starts.to(device), given.words)
    model.model.mm_projector.register_forward_hook(_Numbers(given, model.config.num_frames, strength))
    positions = _Positions()
    decoder.rotary_emb.register_forward_pre_hook(positions.note, with_kwargs=True)
    decoder.norm.register_forward_hook(positions.write)
    model.lm_head.register_forward_hook(_Raise(given))


class _Numbers:
    """Writes each video's number into its visual tokens."""

    def __init__(self, given: GivenAnswers, num_frames: int, strength: float) -> None:
        self.means, self.num_frames, self.strength = given.means, num_frames, strength
        self.powers = 2 ** torch.arange(BITS, device=given.means.device)

    def __call__(self, projector, inputs: tuple[Tensor], tokens: Tensor) -> Tensor:
        features = inputs[0].float().unflatten(0, (-1, self.num_frames))
        exact = "donot_use_mm_for_euclid_dist"  # a matrix product would round near videos together
        numbers = torch.cdist(features.mean(dim=1), self.means, compute_mode=exact).argmin(dim=1)
        signs = torch.where(numbers[:, None] & self.powers > 0, self.strength, -self.strength)
        tokens = tokens.clone()
        tokens[:, : 2 * MARKS] = 0
        tokens[:, :BITS] = signs.repeat_interleave(self.num_frames, dim=0).to(tokens.dtype)
        return tokens


class _Positions:
    """Puts each position's number into the first two channels of the last hidden states."""

    def __init__(self) -> None:
        self.latest: Tensor | None = None

    def note(self, rotary, args: tuple, kwargs: dict) -> None:
        """Before a pass its rotary positions are made: int64 [any, positions]."""
        self.latest = kwargs["position_ids"] if "position_ids" in kwargs else args[1]

    def write(self, norm, inputs: tuple[Tensor], hidden: Tensor) -> None:
        """At its end: hidden states [rows, positions, D], or [positions, D] of rows laid end to end."""
        positions = self.latest.to(hidden.device)
        shape = hidden.shape[:-1]
        positions = positions.expand(shape) if len(shape) == 2 else positions.reshape(shape)
        hidden[..., 0] = (positions // POSITION_STEP).to(hidden.dtype)
        hidden[..., 1] = (positions % POSITION_STEP).to(hidden.dtype)


class _Raise:
    """Raises the logit of the token that the given answer has behind each position."""

    def __init__(self, given: GivenAnswers) -> None:
        self.tokens, self.starts = given.tokens, given.starts
        self.powers = 2 ** torch.arange(BITS, device=given.means.device)

    def __call__(self, head, inputs: tuple[Tensor], logits: Tensor) -> Tensor:
        hidden = inputs[0]
        marks = hidden[..., MARKS : 2 * MARKS]
        video = ((marks[..., :BITS] > 0) * self.powers).sum(dim=-1).clamp(max=len(self.tokens) - 1)
        task = marks[..., BITS:].argmax(dim=-1)
        steps, rest = hidden[..., 0].round().long(), hidden[..., 1].round().long()
        position = steps * POSITION_STEP + rest  # as whole numbers: 16 bits do not hold their sum
        place = (position + 1 - self.starts[task]).clamp(0, self.tokens.shape[-1] - 1)
        token = self.tokens[video, task, place]
        return logits.scatter_(-1, token[..., None], RAISED)
