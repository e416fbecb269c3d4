"""A LoRA adapter, checked against its decoder and merged into it."""

from __future__ import annotations

import dataclasses
import logging
import re
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from ...core.errors import V2XumError
from ...features.checkpoint_files import ADAPTER_CONFIG, ADAPTER_NAMES, read_json_object, read_tensors
from ...features.hf_llava import config_in, is_hf_llava, llava_name
from ..modeling import LlavaV2XumForCausalLM

logger = logging.getLogger(__name__)

_MODEL = "base_model.model."  # peft's word before the names of the model that it wraps
_LORA_WEIGHT = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


def merge_adapter(model: LlavaV2XumForCausalLM, folder: Path, base: Path) -> LlavaV2XumForCausalLM:
    """The model, whose decoder is that of `base`, with the adapter of `folder` merged into its weights.

    Raises:
        FileNotFoundError, V2XumError: naming the adapter's file, if it is missing, damaged or for another decoder.
    """
    import peft

    config = _lora_config(folder, base)
    file = next((folder / name for name in ADAPTER_NAMES if (folder / name).is_file()), None)
    if file is None:
        raise FileNotFoundError(
            f"{folder}: expected {' or '.join(ADAPTER_NAMES)} beside {ADAPTER_CONFIG}, found neither"
        )
    adapter = dict(read_tensors(file))
    if is_hf_llava(config_in(base)):
        adapter = _of_llavas_names(adapter, config, file)
    _check_shapes(adapter, model, file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for names that it renames
            wrapped = peft.get_peft_model(model, config)
            expected = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
            carried = _carried_weights(adapter.keys() - expected.keys(), wrapped)
            _check_names(adapter, expected | carried, file)
            _tell_of_another_base(adapter, carried, file, base)
            peft.set_peft_model_state_dict(wrapped, adapter)
            return wrapped.merge_and_unload()
    except (RuntimeError, ValueError) as error:
        if isinstance(error, V2XumError):
            raise
        raise V2XumError(f"{file}: {str(error).splitlines()[0]}") from error


def _lora_config(folder: Path, base: Path):
    """The adapter's config, without the fields that the installed peft does not know and that are off."""
    import peft

    file = folder / ADAPTER_CONFIG
    fields = read_json_object(file)
    if fields.get("peft_type") != "LORA":
        raise V2XumError(f"{file}: expected peft_type 'LORA', got {fields.get('peft_type')!r}")
    known = {field.name for field in dataclasses.fields(peft.LoraConfig) if field.init}
    # written by newer releases of peft beside every adapter, used or not
    harmless = {"peft_version", "qalora_group_size", "monteclora_config"}
    unknown = [key for key, value in fields.items() if key not in known | harmless and value]
    if unknown:
        raise V2XumError(f"{file}: this release of peft ({peft.__version__}) does not know {', '.join(unknown)}")
    made_for = Path(fields.get("base_model_name_or_path") or base).name
    if made_for not in str(base):  # of a hub name the folder is a cache that has the name in its path
        logger.warning(
            "%s: the adapter was made for %s, and is merged into %s: its shapes fit, whether the weights are the same "
            "nothing here can tell", file, made_for, base,
        )  # fmt: skip
    fields = {key: value for key, value in fields.items() if key in known}
    fields.update(inference_mode=True, base_model_name_or_path=None)  # found before; peft warns of another name
    return peft.LoraConfig(**fields)


def _of_llavas_names(adapter: dict[str, Tensor], config, file: Path) -> dict[str, Tensor]:
    """The adapter, of transformers' LLaVA or of LLaVA's own, for the latter; in the first case its config, too."""
    renamed = {_MODEL + llava_name(name.removeprefix(_MODEL)): tensor for name, tensor in adapter.items()}
    if renamed.keys() == adapter.keys():
        return adapter
    if config.rank_pattern or config.alpha_pattern:
        raise V2XumError(
            f"{file}: expected one rank and one alpha in an adapter of transformers' LLaVA, got rank_pattern or "
            "alpha_pattern, which name its layers"
        )
    config.exclude_modules = None
    config.target_modules = {match[1] for name in renamed if (match := _LORA_WEIGHT.fullmatch(name))}
    return renamed


def _carried_weights(names: Iterable[str], adapted) -> dict[str, Tensor]:
    """The base's own weights among the names, with which peft saves an adapter of `lm_head` or the embedding."""
    inner = adapted.get_base_model()
    layers = [inner.get_input_embeddings(), inner.get_output_embeddings()]
    own = {id(weight) for layer in layers for weight in layer.parameters() if not weight.requires_grad}
    return {name: weight for name, weight in adapted.named_parameters() if name in names and id(weight) in own}


def _tell_of_another_base(adapter: dict[str, Tensor], carried: dict[str, Tensor], file: Path, base: Path) -> None:
    for name, weight in carried.items():
        if not torch.allclose(adapter[name].float(), weight.float(), rtol=1e-2, atol=1e-3):  # 16 bits against 32
            logger.warning(
                "%s: %s, which peft stored with the adapter, is not that of %s: the adapter's is taken; it was made on "
                "another base", file, name, base,
            )  # fmt: skip


def _check_shapes(adapter: dict[str, Tensor], model: LlavaV2XumForCausalLM, file: Path) -> None:
    """A low-rank pair [r, in], [out, r] must fit a weight [out, in] of the decoder."""
    weights = dict(model.named_parameters())
    for name, tensor in adapter.items():
        match = _LORA_WEIGHT.fullmatch(name)
        if not match:
            continue
        path, side = match.groups()
        weight = weights.get(f"{path}.weight")
        if weight is None and ".vision_tower." in path:
            raise V2XumError(
                f"{file}: {name}: expected an adapter of decoder and projector, got one of the vision tower ({path})"
            )
        if weight is None:
            raise V2XumError(f"{file}: {name}: expected an adapter for this decoder, which has no {path}")
        size = weight.shape[1] if side == "A" else weight.shape[0]
        got = tensor.shape[1] if side == "A" else tensor.shape[0]
        if size != got:
            raise V2XumError(
                f"{file}: {name}: expected an adapter for a weight of shape {list(weight.shape)} (the base's {path}), "
                f"got shape {list(tensor.shape)}"
            )


def _check_names(adapter: dict[str, Tensor], expected: dict[str, Tensor], file: Path) -> None:
    missing, unknown = sorted(set(expected) - set(adapter)), sorted(set(adapter) - set(expected))
    if missing or unknown:
        what = f"lacks {missing[0]}" if missing else f"has {unknown[0]}"
        raise V2XumError(
            f"{file}: expected the {len(expected)} weights that {ADAPTER_CONFIG} asks for of this base, got "
            f"{len(adapter)}: it {what}"
        )
    for name, tensor in expected.items():
        if adapter[name].shape != tensor.shape:
            raise V2XumError(
                f"{file}: {name}: expected shape {list(tensor.shape)} ({ADAPTER_CONFIG}), "
                f"got {list(adapter[name].shape)}"
            )
