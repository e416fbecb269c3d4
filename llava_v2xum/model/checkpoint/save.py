"""Write a checkpoint that needs nothing outside its folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...core.errors import V2XumError
from ...features import EmbeddingTower, HubClipTower
from ...features.checkpoint_files import CONFIG, find_folder, named_dtype, portable_config, whole_folder
from ...features.clip_tower import tower_name, tower_weights
from ...features.hf_llava import VIDEO, clip_config
from ..modeling import LlavaV2XumForCausalLM

TOWER_FOLDER = "vision_tower"


def save_checkpoint(
    model: LlavaV2XumForCausalLM,
    tokenizer,
    folder: str | os.PathLike,
    vision_tower_folder: str | os.PathLike | None = None,
    dtype: str | torch.dtype | None = None,
) -> Path:
    """Write a checkpoint that needs nothing outside its folder, for transformers 4.37 and later alike.

    It holds config.json, model.safetensors (without the tower), the tokenizer and the tower in `vision_tower/`. An
    older checkpoint at that place is replaced once the new one is whole; after an error it is still there.

    Args:
        vision_tower_folder: the tower to put in; the model's own if None.
        dtype: of the stored weights; as they are if None.

    Raises:
        FileExistsError: if `folder` holds something other than a checkpoint.
        V2XumError, FileNotFoundError: if the tower or the tokenizer cannot be written.
    """
    dtype = None if dtype is None else named_dtype(dtype)
    config = portable_config(json.loads(model.config.to_json_string(use_diff=True)))
    for key in (*VIDEO, "frame_tower", "tie_word_embeddings"):
        config[key] = getattr(model.config, key)
    config.update(
        model_type=model.config.model_type, architectures=[type(model).__name__], use_cache=True,
        torch_dtype=str(dtype or model.dtype).removeprefix("torch."),
    )  # fmt: skip
    for key in ("_name_or_path", "unfreeze_mm_vision_tower", "delay_load", "_attn_implementation_internal"):
        config.pop(key, None)
    with whole_folder(Path(folder)) as partial:
        config.update(_save_tower(model, partial / TOWER_FOLDER, vision_tower_folder, dtype))
        weights = {name: weight for name, weight in model.state_dict().items() if ".vision_tower." not in name}
        if model.config.tie_word_embeddings:
            weights.pop("lm_head.weight", None)
        save_tensors(weights, partial / "model.safetensors", dtype)
        write_json(config, partial / CONFIG)
        save_tokenizer(tokenizer, partial)
    return Path(folder)


def _save_tower(model, folder: Path, source: str | os.PathLike | None, dtype: torch.dtype | None) -> dict:
    """Write the tower, and return what the config must say of it."""
    tower = model.get_vision_tower()
    if isinstance(tower, HubClipTower):
        tower.load_model()
        tower.clip.save_pretrained(folder)
        tower.image_processor.save_pretrained(folder)
        return {"frame_tower": TOWER_FOLDER}
    if isinstance(tower, EmbeddingTower):
        file = source or tower.source
        if file is None:
            return {"frame_tower": None}
        folder.mkdir()
        shutil.copyfile(file, folder / Path(file).name)
        return {"frame_tower": f"{TOWER_FOLDER}/{Path(file).name}"}
    origin = find_folder(source or tower.vision_tower_name, "the vision tower")
    if source is None and tower.is_loaded:
        weights = {tower_name(name): weight for name, weight in tower.vision_tower.state_dict().items()}
    else:
        weights = dict(tower_weights(origin))
    weights.pop("embeddings.position_ids", None)  # a buffer, which old releases stored
    config = tower_fields(clip_config(origin))
    config.update(architectures=["CLIPVisionModel"], torch_dtype=str(dtype or model.dtype).removeprefix("torch."))
    folder.mkdir()
    save_tensors(
        {f"vision_model.{name}": weight for name, weight in weights.items()},
        folder / "model.safetensors",
        dtype,
    )
    write_json(config, folder / CONFIG)
    write_image_processor(origin, folder)
    return {"mm_vision_tower": TOWER_FOLDER}


def tower_fields(config) -> dict:
    """A CLIP tower's config as every release reads it."""
    fields = portable_config(json.loads(config.to_json_string(use_diff=True)))
    fields.pop("_name_or_path", None)
    return {**fields, "model_type": "clip_vision_model"}


def write_image_processor(origin: Path, folder: Path, **more: str) -> None:
    """The image processor of a tower's folder, as every release reads it."""
    from ...features.upstream import CLIPImageProcessor

    processor = CLIPImageProcessor.from_pretrained(origin).to_dict()
    kept = ("crop_size", "image_mean", "image_std", "rescale_factor", "resample", "size")
    processor = {key: processor[key] for key in processor if key in kept or key.startswith("do_")}
    processor["image_processor_type"] = "CLIPImageProcessor"
    write_json({**processor, **more}, folder / "preprocessor_config.json")


def save_tensors(tensors: dict[str, Tensor], file: Path, dtype: torch.dtype | None) -> None:
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().to("cpu", dtype or tensor.dtype).contiguous() for name, tensor in tensors.items()}
    save_file(tensors, str(file), metadata={"format": "pt"})  # without the note 4.37 refuses the file


def write_json(content: dict, file: Path) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def save_tokenizer(
    tokenizer, folder: Path, added: Mapping[str, int] | None = None, pad_token: str | None = None
) -> None:
    """`tokenizer.model` and a config that both releases read alike; without such a file, what transformers saves.

    Args:
        added: special tokens that the stored one has besides -> their ids.
        pad_token: of the stored one; the tokenizer's own if None.
    """
    candidates = [getattr(tokenizer, "vocab_file", None), Path(tokenizer.name_or_path) / "tokenizer.model"]
    source = next((Path(file) for file in candidates if file and Path(file).name == "tokenizer.model"), None)
    if source is None or not source.is_file():
        if added:
            names = ", ".join(added)
            raise V2XumError(f"{tokenizer.name_or_path}: expected tokenizer.model, to which {names} are added")
        tokenizer.save_pretrained(folder)
        return
    shutil.copyfile(source, folder / "tokenizer.model")
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        **{key: str(getattr(tokenizer, key)) for key in ("bos_token", "eos_token", "unk_token", "pad_token")},
        "legacy": bool(getattr(tokenizer, "legacy", True)),
        "clean_up_tokenization_spaces": False,
        "model_max_length": min(int(tokenizer.model_max_length), 1 << 20),
    }
    if added:
        flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
        own = {token: getattr(tokenizer, f"{token}_token") for token in ("unk", "bos", "eos")}
        everything = {token: tokenizer.convert_tokens_to_ids(token) for token in own.values()} | dict(added)
        decoder = {str(number): {"content": text, **flags} for text, number in everything.items()}
        config["added_tokens_decoder"] = decoder
        config["pad_token"] = pad_token or config["pad_token"]
    write_json(config, folder / "tokenizer_config.json")
