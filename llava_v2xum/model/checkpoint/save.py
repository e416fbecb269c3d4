"""Write a checkpoint that needs nothing outside its folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from torch import Tensor

from ...features import EmbeddingTower, HubClipTower
from ...features.checkpoint_files import CONFIG, find_folder, named_dtype, portable_config, whole_folder
from ...features.clip_tower import tower_name, tower_weights
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
    for key in (
        "temporal_prompt_template",
        "num_frames",
        "frame_sampling",
        "temporal_prompt_ids",
        "temporal_prompts",
        "frame_feature",
        "frame_tokens",
        "frame_tower",
        "tie_word_embeddings",
    ):
        config[key] = getattr(model.config, key)
    config.update(
        model_type=model.config.model_type, architectures=[type(model).__name__], use_cache=True,
        torch_dtype=str(dtype or model.dtype).removeprefix("torch."),
    )  # fmt: skip
    for key in ("_name_or_path", "unfreeze_mm_vision_tower", "_attn_implementation_internal"):
        config.pop(key, None)
    with whole_folder(Path(folder)) as partial:
        config.update(_save_tower(model, partial / TOWER_FOLDER, vision_tower_folder, dtype))
        weights = {name: weight for name, weight in model.state_dict().items() if ".vision_tower." not in name}
        if model.config.tie_word_embeddings:
            weights.pop("lm_head.weight", None)
        _save_tensors(weights, partial / "model.safetensors", dtype)
        _write_json(config, partial / CONFIG)
        _save_tokenizer(tokenizer, partial)
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
    from ...features.upstream import CLIPImageProcessor, CLIPVisionConfig

    origin = find_folder(source or tower.vision_tower_name, "the vision tower")
    if source is None and tower.is_loaded:
        weights = {tower_name(name): weight for name, weight in tower.vision_tower.state_dict().items()}
    else:
        weights = dict(tower_weights(origin))
    weights.pop("embeddings.position_ids", None)  # a buffer, which old releases stored
    config = portable_config(json.loads(CLIPVisionConfig.from_pretrained(origin).to_json_string(use_diff=True)))
    config.update(architectures=["CLIPVisionModel"], torch_dtype=str(dtype or model.dtype).removeprefix("torch."))
    config.pop("_name_or_path", None)
    processor = CLIPImageProcessor.from_pretrained(origin).to_dict()
    kept = ("crop_size", "image_mean", "image_std", "rescale_factor", "resample", "size")
    processor = {key: processor[key] for key in processor if key in kept or key.startswith("do_")}
    folder.mkdir()
    _save_tensors(
        {f"vision_model.{name}": weight for name, weight in weights.items()},
        folder / "model.safetensors",
        dtype,
    )
    _write_json(config, folder / CONFIG)
    _write_json({**processor, "image_processor_type": "CLIPImageProcessor"}, folder / "preprocessor_config.json")
    return {"mm_vision_tower": TOWER_FOLDER}


def _save_tensors(tensors: dict[str, Tensor], file: Path, dtype: torch.dtype | None) -> None:
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().to("cpu", dtype or tensor.dtype).contiguous() for name, tensor in tensors.items()}
    save_file(tensors, str(file), metadata={"format": "pt"})  # without the note 4.37 refuses the file


def _write_json(content: dict, file: Path) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _save_tokenizer(tokenizer, folder: Path) -> None:
    """`tokenizer.model` and a config that both releases read alike; without such a file, what transformers saves."""
    candidates = [getattr(tokenizer, "vocab_file", None), Path(tokenizer.name_or_path) / "tokenizer.model"]
    source = next((Path(file) for file in candidates if file and Path(file).name == "tokenizer.model"), None)
    if source is None or not source.is_file():
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
    _write_json(config, folder / "tokenizer_config.json")
