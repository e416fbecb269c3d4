"""The decoder's weights in 8 or 4 bits (bitsandbytes), as LLaVA's own `load_8bit` and `load_4bit` have them.

The Linear layers of the decoder's blocks are made small; embeddings, `lm_head`, projector and vision tower stay whole.
The layers are exchanged here and not by transformers' `from_pretrained`, which neither reads this plugin's checkpoints
nor merges an adapter before it quantizes.
"""

from __future__ import annotations

import logging

import torch
from torch import nn

from ...core.errors import V2XumError


def bits_of(load_8bit: bool, load_4bit: bool) -> int | None:
    """8, 4, or None for weights as they are.

    Raises:
        V2XumError: if both are asked for.
        ImportError: if one is, and bitsandbytes is missing.
    """
    if load_8bit and load_4bit:
        raise V2XumError("load_8bit and load_4bit: give one of them, both came")
    bits = 8 if load_8bit else 4 if load_4bit else None
    if bits is not None:
        try:
            import bitsandbytes  # noqa: F401
        except ImportError as error:
            raise ImportError(f'weights in {bits} bits need bitsandbytes: pip install "llava_v2xum[qlora]"') from error
    return bits


def quantize_decoder(model, bits: int, device: torch.device) -> None:
    """Exchange the Linear layers of the decoder's blocks for ones of 8 or 4 bits, and move those to the device.

    Layer by layer, so that the device never holds the whole weights.

    Args:
        model: a `LlavaV2XumForCausalLM` on the CPU, its adapter merged, in the dtype that it computes in.

    Raises:
        V2XumError: if this release of bitsandbytes has no such layers for the device.
    """
    make = _linear_8bit if bits == 8 else _linear_4bit
    # it warns at every call of every layer that inputs are cast to float16, which is how 8 bits work
    logging.getLogger("bitsandbytes.autograd").setLevel(logging.ERROR)
    for block in model.get_model().layers:
        for path, linear in [*block.named_modules()]:
            if not isinstance(linear, nn.Linear):
                continue
            parent, _, name = path.rpartition(".")
            try:
                small = make(linear).to(device).requires_grad_(False).eval()
                with torch.no_grad():  # some kernels refuse a layer's size only when they run
                    small(torch.zeros(1, linear.in_features, dtype=linear.weight.dtype, device=device))
            except (RuntimeError, NotImplementedError, AttributeError, AssertionError) as error:
                raise _no_such(bits, device, f"{path}: {(str(error) or repr(error)).splitlines()[0]}") from error
            if small.weight.dtype not in (torch.int8, torch.uint8):  # older releases leave the CPU's alone
                raise _no_such(bits, device, f"its weights stayed {small.weight.dtype}")
            setattr(block.get_submodule(parent), name, small)


def _linear_8bit(linear: nn.Linear) -> nn.Module:
    import bitsandbytes as bnb

    small = bnb.nn.Linear8bitLt(
        linear.in_features, linear.out_features, linear.bias is not None, has_fp16_weights=False, threshold=6.0
    )  # the threshold of LLM.int8 (arXiv 2208.07339), and LLaVA's
    small.weight = bnb.nn.Int8Params(linear.weight.data, requires_grad=False, has_fp16_weights=False)
    small.bias = linear.bias
    return small


def _linear_4bit(linear: nn.Linear) -> nn.Module:
    import bitsandbytes as bnb

    kind = {"quant_type": "nf4", "compress_statistics": True}  # LLaVA's load_pretrained_model
    small = bnb.nn.Linear4bit(
        linear.in_features, linear.out_features, linear.bias is not None, compute_dtype=linear.weight.dtype, **kind
    )
    small.weight = bnb.nn.Params4bit(linear.weight.data, requires_grad=False, **kind)
    small.bias = linear.bias
    return small


def _no_such(bits: int, device: torch.device, reason: str) -> V2XumError:
    import bitsandbytes as bnb

    return V2XumError(
        f"weights in {bits} bits: bitsandbytes {bnb.__version__} cannot make them on {str(device)!r} ({reason}); "
        "give a GPU, or a newer release"
    )
