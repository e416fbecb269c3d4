"""Llama's layers over the positions of several rows laid end to end, with a cache of rows in place of transformers'.

The weights are those of transformers' modules, called one by one, so adapters and quantized layers work as they are.
Only what lies between them is done here: rotary positions, and attention that lets rows differ in where they begin and
in how many positions they bring. The modules' names are the same from transformers 4.37 to 5.

Shapes: Q positions of a pass, n rows, W positions of each row where all bring the same number, D hidden size, A heads,
H key heads, G = A / H, E width of a head, K slots of the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import LongTensor, Tensor
from torch.nn.functional import scaled_dot_product_attention

from ...core.errors import V2XumError
from ...features.upstream import LlamaAttention, LlamaDecoderLayer
from .cache import RowCache

Attention = Callable[[int, Tensor, Tensor, Tensor], Tensor]  # layer, queries, keys, values -> attended

_BY_LENGTH = ("dynamic", "longrope")  # rotary positions that change with the longest row of a pass


@dataclass(frozen=True)
class Segment:
    """What one row brings to a pass: `count` positions, from `start` on."""

    slot: int
    start: int
    count: int


def check_decoder(model) -> None:
    """Refuse a model whose decoder would not do here what it does in transformers.

    Args:
        model: a `LlavaV2XumForCausalLM`, or one that peft has wrapped.

    Raises:
        V2XumError: if peft puts learnt positions before every prompt, weights are not in memory, a layer is not
            Llama's own, so that it may do more than its modules say, or a row's rotary positions depend on the others.
    """
    adapter = getattr(model, "active_peft_config", None)
    if adapter is not None and getattr(adapter, "is_prompt_learning", False):
        raise V2XumError(
            f"peft's {adapter.peft_type.value} gives the decoder learnt positions beside its weights, which would be "
            "left out: load the base model, or a checkpoint with LoRA, which can be merged"
        )
    llama = model.get_model()
    for name, weight in weights_of(model):
        if weight.is_meta:
            raise V2XumError(
                f"{name} is on the meta device, as accelerate leaves what it offloads to the CPU or a disk: load the "
                "model whole, without a device_map, on a device that holds it; in 8 or 4 bits it is smaller"
            )
    for number, layer in enumerate(llama.layers):
        for found, expected in ((layer, LlamaDecoderLayer), (getattr(layer, "self_attn", None), LlamaAttention)):
            if not isinstance(found, expected) or (found is layer and type(layer) is not expected):
                name = type(found).__name__
                raise V2XumError(f"layer {number} of the decoder: expected a {expected.__name__}, got a {name}")
    # transformers 5 has the first, 4.37 the second with "type" in it
    settings = getattr(llama.config, "rope_parameters", None) or getattr(llama.config, "rope_scaling", None) or {}
    kind = settings.get("rope_type", settings.get("type"))
    if kind in _BY_LENGTH:
        raise V2XumError(f"rope_scaling of the type {kind!r} is not supported: a row's answer would depend on others")


def weights_of(model) -> Iterator[tuple[str, Tensor]]:
    """The names and weights of what a pass goes through; the projector and the tower are not among them."""
    llama = model.get_model()
    parts = {"embed_tokens": llama.embed_tokens, "layers": llama.layers, "norm": llama.norm, "lm_head": model.lm_head}
    return chain.from_iterable(part.named_parameters(name) for name, part in parts.items())


def run_segments(
    llama, hidden: Tensor, segments: Sequence[Segment], cache: RowCache, ends_only: bool = False
) -> Tensor:
    """The last hidden states of rows that each bring any number of positions.

    No position is computed in vain; attention is called row by row.

    Args:
        llama: transformers' `LlamaModel`.
        hidden: embeddings [Q, D] of the segments, in their order.
        ends_only: whether those of each segment's last position are all that is wanted.

    Returns:
        [Q, D], or [n, D] with `ends_only`.
    """
    spans = [torch.arange(segment.start, segment.start + segment.count) for segment in segments]
    counts = [segment.count for segment in segments]
    masks = [_lower_right(segment, hidden.device) for segment in segments]
    ends = torch.tensor(counts, device=hidden.device).cumsum(0) - 1 if ends_only else None

    def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        attended = []
        asking = [1] * len(segments) if len(queries) < len(keys) else counts  # only the ends, in the last layer
        pieces = zip(segments, masks, queries.split(asking), keys.split(counts), values.split(counts))
        for segment, mask, query, key, value in pieces:
            seen = cache.write_row(layer, segment.slot, segment.start, key.transpose(0, 1), value.transpose(0, 1))
            mask = None if mask is None or len(query) == 1 else mask.to(query.device)
            causal = segment.start == 0 and len(query) > 1
            attended.append(_attention(query[None], seen[0][None], seen[1][None], mask, causal)[0])
        return torch.cat(attended)

    longest = max(segment.start + segment.count for segment in segments)
    return _run(llama, hidden, torch.cat(spans).to(hidden.device), longest, attend, ends)


def before_attention(layer, hidden: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A layer's queries [Q, A, E], keys and values [Q, H, E] of hidden states [Q, D]."""
    normed = layer.input_layernorm(hidden)
    return (_queries(layer, normed, cos, sin), *_keys_and_values(layer, normed, cos, sin))


def after_attention(layer, hidden: Tensor, attended: Tensor) -> Tensor:
    """A layer's hidden states [Q, D] from those it was given and what its heads brought, [Q, A, E]."""
    hidden = hidden + layer.self_attn.o_proj(attended.flatten(1))
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden)[None])[0]  # 4.37 may split dimension 2


@dataclass(frozen=True)
class Halves:
    """What a layer does on either side of attention, as it is or compiled."""

    before: Callable[..., tuple[Tensor, Tensor, Tensor]] = before_attention
    after: Callable[..., Tensor] = after_attention


def run_block(
    llama,
    hidden: Tensor,
    starts: LongTensor,
    used: int,
    cache: RowCache,
    longest: int | None = None,
    halves: Halves = Halves(),
) -> Tensor:
    """The last hidden states [n, W, D] of the cache's first n rows, all with the same number of positions.

    Attention is called once for all rows, and nothing depends on values that lie on the device.

    Args:
        llama: transformers' `LlamaModel`.
        hidden: embeddings [n, W, D].
        starts: int64 [n], the first position of each row.
        used: K, above all positions.
        longest: for how many positions tables are made, where the model has some; None is K.
        halves: of every layer.
    """
    rows, width = hidden.shape[:2]
    positions = starts[:, None] + torch.arange(width, device=starts.device)
    may = torch.arange(used, device=starts.device) <= positions[:, None, :, None]  # [n, 1, W, K]

    def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        queries, keys, values = (states.unflatten(0, (rows, width)) for states in (queries, keys, values))
        seen = cache.write_rows(layer, positions.to(keys.device), used, keys, values)
        return _attention(queries, *seen, may.to(keys.device)).flatten(0, 1)

    flat = hidden.flatten(0, 1), positions.flatten()
    return _run(llama, *flat, longest or used, attend, halves=halves).unflatten(0, (rows, width))


def _run(
    llama,
    hidden: Tensor,
    positions: LongTensor,
    longest: int,
    attend: Attention,
    wanted: LongTensor | None = None,
    halves: Halves = Halves(),
) -> Tensor:
    """Embeddings [Q, D] at positions [Q] through all layers and the last norm.

    Args:
        longest: above all positions.
        wanted: numbers of those whose hidden states are wanted, all if None. The last layer asks for no others: of
            the rest it needs keys and values alone.
    """
    cos, sin = _rotations(llama, hidden, positions, longest)
    for number, layer in enumerate(llama.layers):
        device = layer.input_layernorm.weight.device
        hidden, cos, sin = hidden.to(device), cos.to(device), sin.to(device)
        if wanted is not None and number == len(llama.layers) - 1:
            keys, values = _keys_and_values(layer, layer.input_layernorm(hidden), cos, sin)
            positions, hidden = (states[wanted.to(states.device)] for states in (positions, hidden))
            cos, sin = (part.to(device) for part in _rotations(llama, hidden, positions, longest))
            queries = _queries(layer, layer.input_layernorm(hidden), cos, sin)
        else:
            queries, keys, values = halves.before(layer, hidden, cos, sin)
        hidden = halves.after(layer, hidden, attend(number, queries, keys, values))
    return llama.norm(hidden.to(llama.norm.weight.device))


def _queries(layer, normed: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return _rotated(_heads(layer.self_attn.q_proj(normed), layer.self_attn), cos, sin)


def _keys_and_values(layer, normed: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    attention = layer.self_attn
    keys, values = (_heads(project(normed), attention) for project in (attention.k_proj, attention.v_proj))
    return _rotated(keys, cos, sin), values


def _heads(states: Tensor, attention) -> Tensor:
    """[Q, any * E] -> [Q, any, E]."""
    return states.unflatten(-1, (-1, attention.head_dim))


def _rotations(llama, hidden: Tensor, positions: LongTensor, longest: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [Q, 1, E]: the model has them in transformers 5, every attention layer a table in 4.37."""
    if hasattr(llama, "rotary_emb"):
        cos, sin = llama.rotary_emb(hidden[None], positions[None].to(hidden.device))
        return cos[0, :, None], sin[0, :, None]
    tables = llama.layers[0].self_attn.rotary_emb(hidden, seq_len=longest)
    cos, sin = (table[positions.to(table.device)][:, None] for table in tables)
    return cos, sin


def _rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (RoFormer, arXiv 2104.09864), in transformers' order of the halves. states: [Q, any, E]."""
    first, second = states.chunk(2, dim=-1)
    rotated = states * cos + torch.cat([-second, first], dim=-1) * sin
    return rotated.to(states.dtype)  # under autocast cosines are float32, and keys would differ from their values


def _lower_right(segment: Segment, device) -> Tensor | None:
    """bool [count, K]: what each query of a segment may see; None where that is everything, or a plain triangle."""
    if segment.count == 1 or segment.start == 0:
        return None
    end = segment.start + segment.count
    return torch.arange(end, device=device) <= torch.arange(segment.start, end, device=device)[:, None]


def _attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool = False) -> Tensor:
    """Attention of queries [n, W, A, E] to keys and values [n, H, K, E] -> [n, W, A, E].

    Key heads that serve several heads are repeated, as transformers does where there is a mask.
    """
    heads, key_heads = queries.shape[2], keys.shape[1]
    queries = queries.transpose(1, 2)
    if key_heads != heads:
        keys, values = (states.repeat_interleave(heads // key_heads, dim=1) for states in (keys, values))
    attended = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=causal)
    return attended.transpose(1, 2)
