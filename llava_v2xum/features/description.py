"""What stored features are, and whether they are what a model takes.

Shapes: m visual tokens of a frame, C feature width.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core.errors import V2XumError
from ..core.sampling import LINSPACE, SAMPLING_KEY, FrameSampling
from .kinds import CLIP_EMBEDDING, FrameFeature

SAMPLE = "tower_sample"
_PER_WEIGHT = 4  # numbers taken from each of four weights
_NEWER = ("frame_tokens", "feature_size", SAMPLE)  # the first release's notes lack them
_BY_STORE = ("dtype",)  # how the folder keeps them, which every reader takes
_LAST_LINEAR = re.compile(r"(?:layers|resblocks)\.(\d+)\.mlp\.(?:fc2|c_proj)\.weight$")
# bfloat16 keeps 8 bits, so copies differ by up to 2**-9 of a number; float16 has steps of 6e-8 around zero
_RELATIVE, _ABSOLUTE = 2**-8, 1e-6


def describe(
    feature: FrameFeature,
    tower_name: str | None,
    select_layer: int | None,
    aspect_ratio: str | None,
    sampling: FrameSampling,
    feature_size: int | None = None,
    tower=None,
) -> dict:
    """What stored features must have in common with the model that takes them.

    Args:
        tower_name: the tower's folder, file or hub name; its last part is kept.
        select_layer: the tower's layer, `mm_vision_select_layer`; of no matter to a tower of the feature's own.
        aspect_ratio: "pad", or anything else for the processor's centre crop.
        sampling: which frames stand for a video.
        feature_size: C.
        tower: where it is loaded, a sample of its weights is taken (`sample_tower`), which then counts instead of
            its name.
    """
    layer = feature.layer(select_layer)
    description = {
        "frame_feature": feature.kind,
        "frame_tokens": feature.tokens,
        "tower": Path(tower_name).name if tower_name else None,
        "select_layer": layer,
        "aspect_ratio": "pad" if aspect_ratio == "pad" else "square",
        "num_frames": sampling.num_frames,
        SAMPLING_KEY: sampling.rule,
    }
    if feature_size is not None:
        description["feature_size"] = feature_size
    if tower is not None and tower.is_loaded:
        description[SAMPLE] = sample_tower(tower, layer)
    return description


def sample_tower(tower, select_layer: int | None = None) -> list[float]:
    """A few of a tower's weights, by which to know it whatever its folder is called.

    They come from the class embedding, the patch embedding, the last layer that the features pass through, and for
    an image embedding its projection. OpenAI's own form of a CLIP and transformers' give the same numbers.

    Args:
        tower: LLaVA's `CLIPVisionTower` or one of `towers.py`; loaded.
        select_layer: as `describe` has it; None is the last one.

    Raises:
        V2XumError: if the tower is no CLIP ViT.
    """
    clip = getattr(tower, "vision_tower", None) or tower.clip
    weights = dict(clip.named_parameters())
    layers = {int(match[1]): name for name in weights if (match := _LAST_LINEAR.search(name))}
    used = len(layers) if select_layer is None else select_layer % (len(layers) + 1)
    chosen = [
        _ending_in(weights, "class_embedding"),
        _ending_in(weights, "patch_embedding.weight", "conv1.weight"),
        layers.get(used - 1),  # layer i gives hidden state i + 1; hidden state 0 has passed through none
    ]
    if chosen[0] is None or chosen[1] is None:
        raise V2XumError(f"expected a CLIP ViT with a class and a patch embedding, got {type(clip).__name__}")
    numbers = [number for name in chosen if name is not None for number in _spread(weights[name])]
    projection = _ending_in(weights, "visual_projection.weight")
    if projection is not None:
        numbers += _spread(weights[projection])
    elif isinstance(weights.get("proj"), Tensor):  # OpenAI's, [width, C]
        numbers += _spread(weights["proj"], transposed=True)
    return numbers


def _ending_in(weights: dict[str, nn.Parameter], *endings: str) -> str | None:
    return next((name for name in weights if name.endswith(endings)), None)


def _spread(weight: nn.Parameter, transposed: bool = False) -> list[float]:
    """Numbers at even distances through a weight."""
    with torch.no_grad():
        whole = _gathered(weight)
        flat = (whole.t() if transposed else whole).flatten()
        places = torch.linspace(0, flat.numel() - 1, _PER_WEIGHT, dtype=torch.float64).long()
        return [float(f"{number:.6g}") for number in flat[places.to(flat.device)].float().tolist()]


def _gathered(weight: nn.Parameter) -> Tensor:
    """The whole of a weight; ZeRO-3 leaves a process only its part. Every process must call it then."""
    if not hasattr(weight, "ds_id"):
        return weight
    import deepspeed

    with deepspeed.zero.GatheredParameters([weight]):
        return weight.detach().clone()


def differences(found: dict, wanted: dict) -> list[str]:
    """Where stored features are not what a model takes, each as `field: expected ..., got ...`.

    Args:
        found: the note of the stored features. What older notes lack is not compared.
        wanted: the model's description.
    """
    found, wanted = _normalised(found), _normalised(wanted)
    by_sample = SAMPLE in found and SAMPLE in wanted
    told = []
    for field in {**wanted, **found}:
        absent = field not in found or field not in wanted
        if field in _BY_STORE or (field == "tower" and by_sample) or (field in _NEWER and absent):
            continue
        if field == SAMPLE:
            if not _agree(found[SAMPLE], wanted[SAMPLE]):
                told.append(
                    f"the tower's weights: expected those of {wanted.get('tower')!r} {wanted[SAMPLE]}, "
                    f"got those of {found.get('tower')!r} {found[SAMPLE]}"
                )
        elif found.get(field) != wanted.get(field):
            told.append(f"{field}: expected {wanted.get(field)!r}, got {found.get(field)!r}")
    return told


def _normalised(description: dict) -> dict:
    """A description as `describe` gives it; older ones name no rule of sampling, or have the config's own values."""
    description = {SAMPLING_KEY: LINSPACE, **description}
    if "aspect_ratio" in description:
        description["aspect_ratio"] = "pad" if description["aspect_ratio"] == "pad" else "square"
    if description.get("frame_feature") == CLIP_EMBEDDING:
        description["select_layer"] = None
    return description


def _agree(found: list[float], wanted: list[float]) -> bool:
    """Whether both are samples of one tower, in whatever floating dtype each copy is.

    Two trainings of a tower that lie closer together than bfloat16 can tell count as one.
    """
    return len(found) == len(wanted) and all(
        math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE) for a, b in zip(found, wanted)
    )
