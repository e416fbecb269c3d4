"""Checkpoint files on disk: find them (here or on the hub), read them whole or say what is wrong, write them whole."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import V2XumError
from .hub import fetch, is_hub_name

CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin")
ADAPTER_NAMES = ("adapter_model.safetensors", "adapter_model.bin")
PROJECTOR, NON_LORA = "mm_projector.bin", "non_lora_trainables.bin"

_SMALL_FILES = ["*.json", "*.model", "*.txt", PROJECTOR, NON_LORA, "adapter_model.bin", f"*/{PROJECTOR}"]
_SMALL_FILES += [f"*/{NON_LORA}", "*/adapter_model.bin", "clip/*.pt", "*.safetensors"]


def find_folder(name: str | os.PathLike, what: str) -> Path:
    """The folder that a path or a hub name stands for; a hub repository is fetched (or taken from the cache).

    Args:
        what: the argument or file that gave the name, for the error.

    Raises:
        FileNotFoundError: if it is neither a folder here nor a repository that can be reached.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise FileNotFoundError(f"{what}: expected a folder, {name} is a file")
    if not is_hub_name(name):
        raise FileNotFoundError(f"{what}: no such folder: {name}")
    try:
        folder = fetch(str(name), _SMALL_FILES)
        if not any(folder.rglob("*.safetensors")):  # repositories with both forms need only one
            fetch(str(name), ["pytorch_model*.bin"])
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{what}: {name} is no folder here, and {error}") from error
    return folder


def read_json_object(file: Path) -> dict:
    """A JSON object.

    Raises:
        FileNotFoundError, V2XumError: naming the file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise V2XumError(f"{file}: expected JSON, got a file that is none ({error})") from error
    if not isinstance(content, dict):
        raise V2XumError(f"{file}: expected a JSON object, got a {type(content).__name__}")
    return content


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a model's weights, in either form, whole or in shards; an empty list if there are none.

    Raises:
        FileNotFoundError: if a shard that the index names is missing.
    """
    for name in WEIGHT_NAMES:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            shards = [folder / shard for shard in sorted(set(read_json_object(index).get("weight_map", {}).values()))]
            for shard in shards:
                if not shard.is_file():
                    raise FileNotFoundError(f"{shard}: no such file, but {index.name} names it")
            return shards
    return []


def read_tensors(file: Path, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a safetensors file or of a pickle (read with `weights_only`), on the CPU.

    Args:
        wanted: whether to give the tensor of a name; of a safetensors file no other is read.

    Raises:
        FileNotFoundError, V2XumError: naming the file, if it is missing, damaged or holds anything but tensors.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    if file.suffix == ".safetensors":
        yield from _read_safetensors(file, wanted)
        return
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TypedStorage is deprecated")  # torch 2.1, of its own reader
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise V2XumError(
            f"{file}: expected a file of tensors that torch can read, got a damaged one ({reason})"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise V2XumError(f"{file}: expected a dictionary of tensors, got {_describe(content)}")
    yield from ((name, tensor) for name, tensor in content.items() if wanted(name))


def _read_safetensors(file: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt", device="cpu") as tensors:
            for name in filter(wanted, tensors.keys()):
                yield name, tensors.get_tensor(name)
    except SafetensorError as error:
        raise V2XumError(f"{file}: expected a whole safetensors file, got a damaged one ({error})") from error


def _describe(content) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    odd = next(key for key, value in content.items() if not isinstance(value, Tensor))
    return f"a dictionary whose {odd!r} is a {type(content[odd]).__name__}"


def plain_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights saved from a wrapped model, under the names of the model itself (as LLaVA's loader strips them)."""
    tensors = {name.removeprefix("base_model."): tensor for name, tensor in tensors.items()}
    if any(name.startswith("model.model.") for name in tensors):
        tensors = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    return tensors


def portable_config(config: dict) -> dict:
    """A config as transformers 4.37 writes it, which later releases read too.

    transformers 5 writes `rope_parameters` and `dtype`; 4.37 would skip both in silence and turn positions with
    another base.
    """
    config = dict(config)
    rope = config.pop("rope_parameters", None)
    if rope:
        kind = rope.get("rope_type", "default")
        config["rope_theta"] = rope.get("rope_theta", config.get("rope_theta", 10000.0))
        rest = {key: value for key, value in rope.items() if key not in ("rope_theta", "rope_type")}
        config["rope_scaling"] = None if kind == "default" else {"type": kind, **rest}
    dtype = config.pop("dtype", None)
    if dtype is not None:
        config["torch_dtype"] = str(dtype).removeprefix("torch.")
    return config


def named_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """A floating dtype, or the one of that name.

    Raises:
        V2XumError: if there is none.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise V2XumError(
            f"dtype must be 'auto', or a floating torch dtype or its name such as 'bfloat16', got {dtype!r}"
        )
    return found


def default_dtype(device: torch.device) -> torch.dtype:
    """What a model or tower runs in on a device unless asked otherwise; see `load_pretrained`."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def some(names: list[str], limit: int = 8) -> str:
    """The first names of a list, for an error."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def check_replaceable(folder: Path) -> None:
    """Refuse to write a checkpoint where something else is.

    Raises:
        FileExistsError: if `folder` is there and holds anything but a checkpoint.
    """
    if folder.exists() and not (folder / CONFIG).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder}: expected a new or empty folder or a checkpoint to replace, got something else"
        )


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` at the end; after an error nothing has changed.

    Raises:
        FileExistsError: if `folder` is there and holds anything but a checkpoint.
    """
    folder = Path(os.path.abspath(folder))
    check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.part")
    replaced = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if folder.exists():
            os.replace(folder, replaced)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if replaced.exists() and not folder.exists():
            os.replace(replaced, folder)
        shutil.rmtree(replaced, ignore_errors=True)
