"""What a checkpoint's folder is, read from its files and configs, and where its parts lie."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import V2XumError
from .checkpoint_files import (
    ADAPTER_CONFIG,
    CONFIG,
    NON_LORA,
    PROJECTOR,
    find_folder,
    plain_names,
    read_json_object,
    read_tensors,
    weight_files,
)
from .hf_llava import config_in, is_hf_llava, llava_fields
from .kinds import CLIP_EMBEDDING, has_own_tower

logger = logging.getLogger(__name__)

OURS, LLAVA, LLAMA = "llava_v2xum", ("llava_llama", "llava"), "llama"
RELEASED_BASE = "lmsys/vicuna-7b-v1.5"  # released code's default
RELEASED_CLIP = Path("clip", "ViT-L-14.pt")  # released code's default
_LINEAR_OF_MLP = re.compile(r"(\d+)\.weight")


@dataclass(frozen=True)
class Layout:
    """Where the parts of a checkpoint lie.

    Attributes:
        folder: the checkpoint's own folder.
        config: the fields of its config.json; for a released stage 2 those of the decoder and the projector.
        config_file: the file they came from.
        base: the folder of the decoder's weights and tokenizer; `folder` itself for a full checkpoint.
        adapter: the folder of a LoRA adapter, or None.
        extras: files of further weights, of which a later one wins.
        tower: the tower that the caller named or that lies beside a released model; None to follow the config.
    """

    folder: Path
    config: dict
    config_file: Path
    base: Path
    adapter: Path | None
    extras: tuple[Path, ...]
    tower: str | None

    @property
    def shapes_from(self) -> str:
        """What an error about a shape says of where the expected one comes from."""
        return f"from {self.config_file}" + (f"; is {self.base} its base?" if self.base != self.folder else "")


def find_layout(
    model_path: str | os.PathLike,
    model_base: str | os.PathLike | None,
    projector: str | os.PathLike | None,
    tower: str | os.PathLike | None,
) -> Layout:
    """The parts of the checkpoint at `model_path`; arguments as `load_pretrained`'s.

    Raises:
        FileNotFoundError, V2XumError: naming the folder or file and what was expected there.
    """
    folder = find_folder(model_path, "model_path")
    if not (folder / CONFIG).is_file() and not (folder / ADAPTER_CONFIG).is_file():
        folder = _stage2_in(folder)
    projector = Path(projector) if projector is not None else None
    if projector is not None and not projector.is_file():
        raise FileNotFoundError(f"pretrain_mm_mlp_adapter: no such file: {projector}")
    tower = str(tower) if tower is not None else None
    if not (folder / ADAPTER_CONFIG).is_file():
        return _full_or_projector(folder, model_base, projector, tower)
    base = _base_of(folder, model_base)
    config_file = folder / CONFIG
    config = config_in(folder)
    if config.get("model_type") not in (OURS, *LLAVA):
        of_base = config_in(base)
        if config or of_base.get("model_type") not in (OURS, *LLAVA):
            return _released(folder, base, projector, tower)
        # an adapter as peft saves it, over a checkpoint with a projector
        config, config_file = _fields(_check_is_base(base, (OURS, *LLAVA)), base), base / CONFIG
        extras = tuple(file for file in (projector, folder / NON_LORA) if file is not None and file.is_file())
        return Layout(folder, config, config_file, base, folder, extras, tower)
    config = _with_rows_of(base, config, config_file)
    if projector is None and not (folder / NON_LORA).is_file():
        raise FileNotFoundError(
            f"{folder}: expected {NON_LORA} (the trained projector) beside the adapter, found none; "
            "if the projector is a file of its own, give pretrain_mm_mlp_adapter"
        )
    extras = tuple(file for file in (projector, folder / NON_LORA) if file is not None and file.is_file())
    return Layout(folder, config, config_file, base, folder, extras, tower)


def _full_or_projector(folder: Path, model_base, projector: Path | None, tower: str | None) -> Layout:
    """A checkpoint without an adapter: all weights, or LLaVA's projector alone."""
    config_file = folder / CONFIG
    config = _fields(read_json_object(config_file), folder)
    _check_model_type(config, config_file)
    if weight_files(folder):
        if model_base is not None:
            logger.warning("%s holds all weights of the decoder: model_base %s is not used", folder, model_base)
        return Layout(folder, config, config_file, folder, None, (projector,) if projector else (), tower)
    own = folder / PROJECTOR
    if not own.is_file():
        raise FileNotFoundError(
            f"{folder}: expected model.safetensors, pytorch_model.bin (or their indexes), {ADAPTER_CONFIG} or "
            f"{PROJECTOR} beside {CONFIG}, found none of them"
        )
    if model_base is None:
        raise V2XumError(f"{folder}: holds a projector alone ({PROJECTOR}): give model_base, the decoder it belongs to")
    base = find_folder(model_base, "model_base")
    config = _with_rows_of(base, config, config_file)
    return Layout(folder, config, config_file, base, None, (projector or own,), tower)


def _fields(config: dict, folder: Path) -> dict:
    """The config of a folder in LLaVA's own terms."""
    return llava_fields(config, folder) if is_hf_llava(config) else config


def _with_rows_of(base: Path, config: dict, config_file: Path) -> dict:
    """The checkpoint's config, with the vocabulary of its base where that is transformers' own LLaVA.

    Its rows behind the tokenizer's are padding, which a checkpoint that was made on LLaVA's own form does not know.
    """
    of_base = _check_is_base(base, (LLAMA, OURS, *LLAVA))
    if not is_hf_llava(of_base):
        return config
    rows, known = llava_fields(of_base, base).get("vocab_size"), config.get("vocab_size")
    if rows != known:
        logger.info("%s: the decoder has the %s rows of vocabulary of %s, not %s", config_file, rows, base, known)
    return {**config, "vocab_size": rows}


def trained_its_tower(config: dict) -> bool:
    """Whether a checkpoint's own weights hold its vision tower: LLaVA says so by a flag, LLaVA-NeXT by a list too."""
    return bool(config.get("unfreeze_mm_vision_tower")) or "mm_vision_tower" in (config.get("mm_tunable_parts") or "")


def _check_model_type(config: dict, config_file: Path) -> None:
    model_type = config.get("model_type")
    if model_type not in (OURS, *LLAVA):
        hint = ", a plain decoder: give it as model_base, with an adapter or projector" if model_type == LLAMA else ""
        raise V2XumError(f"{config_file}: expected model_type {OURS}, {' or '.join(LLAVA)}, got {model_type!r}{hint}")


def _base_of(folder: Path, model_base) -> Path:
    """The decoder that the adapter in `folder` belongs to."""
    if model_base is not None:
        return find_folder(model_base, "model_base")
    named = read_json_object(folder / ADAPTER_CONFIG).get("base_model_name_or_path") or RELEASED_BASE
    what = f"{folder / ADAPTER_CONFIG}: base_model_name_or_path (give model_base to name another)"
    return find_folder(named, what)


def _check_is_base(base: Path, model_types: tuple[str, ...]) -> dict:
    config = read_json_object(base / CONFIG)
    if config.get("model_type") not in model_types:
        raise V2XumError(
            f"{base / CONFIG}: expected a decoder of model_type {' or '.join(model_types)}, "
            f"got {config.get('model_type')!r}"
        )
    if not weight_files(base):
        raise FileNotFoundError(
            f"{base}: expected the decoder's weights (model.safetensors, pytorch_model.bin), found none"
        )
    return config


def _stage2_in(folder: Path) -> Path:
    """The one folder with an adapter in a folder that holds a released model's parts."""
    adapters = sorted(path.parent for path in folder.glob(f"*/{ADAPTER_CONFIG}"))
    if len(adapters) > 1:
        names = ", ".join(path.name for path in adapters)
        raise V2XumError(f"{folder}: holds several adapters ({names}): give one of these folders as model_path")
    if not adapters:
        raise FileNotFoundError(
            f"{folder}: expected a checkpoint ({CONFIG} or {ADAPTER_CONFIG}), or the parts of a released V2Xum-LLM (a "
            f"folder with {ADAPTER_CONFIG}, one with {PROJECTOR}, {RELEASED_CLIP}), found neither"
        )
    return adapters[0]


def _released(folder: Path, base: Path, projector: Path | None, tower: str | None) -> Layout:
    """A released stage 2. Its own config.json is of a model type that only the released code knows: not used."""
    config = dict(_check_is_base(base, (LLAMA,)))
    non_lora = folder / NON_LORA
    shapes, source = _projector_weights(non_lora) if non_lora.is_file() else {}, non_lora
    if not shapes:
        source = projector = _stage1_beside(folder) if projector is None else projector
        shapes = _projector_weights(source)
    if not shapes:
        raise V2XumError(f"{source}: expected the projector's weights (model.mm_projector.weight, ...), got none")
    config.update(_projector_fields(shapes, source), frame_feature=CLIP_EMBEDDING, use_mm_proj=True)
    beside = folder.parent / RELEASED_CLIP
    if tower is None and beside.is_file():
        tower = str(beside)
    extras = tuple(file for file in (projector, non_lora) if file is not None and file.is_file())
    return Layout(folder, config, base / CONFIG, base, folder, extras, tower)


def _stage1_beside(folder: Path) -> Path:
    """The projector of stage 1, in a folder beside that of stage 2."""
    found = sorted(
        path for path in folder.parent.glob(f"*/{PROJECTOR}") if not (path.parent / ADAPTER_CONFIG).is_file()
    )
    if len(found) != 1:
        names = ", ".join(path.parent.name for path in found) or "no folder with one"
        raise FileNotFoundError(
            f"{folder}: expected the projector in its {NON_LORA}, or one {PROJECTOR} in a folder beside it, found "
            f"{names}: give pretrain_mm_mlp_adapter"
        )
    logger.info("the projector is %s", found[0])
    return found[0]


def _projector_weights(file: Path) -> dict[str, list[int]]:
    """The shapes of the projector's weights in a file, under the projector's own names."""
    tensors = plain_names(dict(read_tensors(file)))
    prefix = "model.mm_projector."
    return {name[len(prefix) :]: list(tensor.shape) for name, tensor in tensors.items() if name.startswith(prefix)}


def _projector_fields(shapes: dict[str, list[int]], file: Path) -> dict:
    """LLaVA's config fields for a projector of these shapes: one Linear, or Linears with GELU between."""
    if set(shapes) == {"weight", "bias"} and len(shapes["weight"]) == 2:
        return {"mm_projector_type": "linear", "mm_hidden_size": shapes["weight"][1]}
    linears = sorted(int(match[1]) for match in map(_LINEAR_OF_MLP.fullmatch, shapes) if match)
    if linears and linears == list(range(0, 2 * len(linears), 2)) and len(shapes["0.weight"]) == 2:
        return {"mm_projector_type": f"mlp{len(linears)}x_gelu", "mm_hidden_size": shapes["0.weight"][1]}
    raise V2XumError(f"{file}: expected a projector of one Linear or an mlpNx_gelu, got {shapes}")


def find_tower(value: str, layout: Layout) -> str:
    """The tower that a config or the caller names, as a path where it is one here, else as the hub name it is.

    A relative path counts from the checkpoint's folder first, so that a checkpoint can hold its tower.

    Raises:
        FileNotFoundError: if it is neither here nor reachable.
    """
    for candidate in (layout.folder / value, layout.base / value, Path(value)):
        if layout.tower is not None:
            candidate = Path(value)
        if candidate.exists():
            return str(candidate)
    what = (
        "vision_tower" if layout.tower is not None else f"{layout.config_file}: the tower (vision_tower names another)"
    )
    if has_own_tower(layout.config) and Path(value).suffix:  # a file, not a folder or hub name
        raise FileNotFoundError(f"{what}: no such file: {value}; expected the CLIP weights, {RELEASED_CLIP.name}")
    find_folder(value, what)
    return value
