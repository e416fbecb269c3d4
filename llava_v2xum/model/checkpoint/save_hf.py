"""Write a model in the form of transformers' own LLaVA-1.5, which its `LlavaForConditionalGeneration` reads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from torch import Tensor

from ...core.errors import V2XumError
from ...features.checkpoint_files import CONFIG, find_folder, named_dtype, portable_config, whole_folder
from ...features.clip_tower import quiet_loading, tower_name
from ...features.hf_llava import CARRIED, LLAVA_1_5, NAMES, SELECTED, TOWER, VIDEO
from ..modeling import LlavaV2XumForCausalLM
from .save import save_tensors, save_tokenizer, tower_fields, write_image_processor, write_json

IMAGE, PAD = "<image>", "<pad>"  # transformers' LLaVA has an id for each, behind the decoder's own
ROWS_AT_ONCE = 64  # transformers' own conversion pads the vocabulary so
# LLaVA's name -> transformers'; of several that fit, the first
THEIRS = {ours: theirs for theirs, ours in NAMES.items() if theirs != "language_model."}
THEIRS = dict(sorted(THEIRS.items(), key=lambda pair: -len(pair[0])))


def save_hf_llava(
    model: LlavaV2XumForCausalLM, tokenizer, folder: str | os.PathLike, dtype: str | torch.dtype | None = None
) -> Path:
    """Write decoder, projector, tower, tokenizer and image processor, for transformers 4.37 and later alike.

    Its `LlavaProcessor` reads a folder of this form since 4.46; before, it is made of image processor and tokenizer.

    transformers' class has no temporal prompts: it answers about images. What a video needs stands in config.json
    beside its own fields, where it leaves it alone and `load_pretrained` finds it.

    Args:
        dtype: of the stored weights; as they are if None.

    Raises:
        FileExistsError: if `folder` holds something other than a checkpoint.
        V2XumError: if the model has what that form cannot hold.
    """
    check_fits(model)
    dtype = None if dtype is None else named_dtype(dtype)
    added = dict(tokenizer.get_added_vocab())
    for token in (IMAGE, PAD):
        added.setdefault(token, max(len(tokenizer), *(number + 1 for number in added.values())))
    rows = -(-(max(added.values()) + 1) // ROWS_AT_ONCE) * ROWS_AT_ONCE
    rows = max(rows, model.config.vocab_size)
    with whole_folder(Path(folder)) as partial:
        save_tensors(_weights(model, rows), partial / "model.safetensors", dtype)
        config = _config(model, rows, added, dtype)
        write_json(config, partial / CONFIG)
        ids = {key: config["text_config"][key] for key in ("bos_token_id", "eos_token_id")}
        write_json({**ids, "pad_token_id": added[PAD]}, partial / "generation_config.json")
        origin = find_folder(model.get_vision_tower().vision_tower_name, "the vision tower")
        write_image_processor(origin, partial, processor_class="LlavaProcessor")
        patch = {"patch_size": config["vision_config"]["patch_size"], "num_additional_image_tokens": 1}
        strategy = {"vision_feature_select_strategy": config["vision_feature_select_strategy"]}
        processor = {"processor_class": "LlavaProcessor", "image_token": IMAGE, **patch, **strategy}
        write_json(processor, partial / "processor_config.json")
        save_tokenizer(tokenizer, partial, {token: added[token] for token in (IMAGE, PAD)}, pad_token=PAD)
        _write_tokenizer_json(partial)
    return Path(folder)


def _write_tokenizer_json(folder: Path) -> None:
    """`tokenizer.json`, made of `tokenizer.model` beside it, as tokenizers 0.15 and later alike read it.

    Without it `AutoTokenizer` of transformers 5.20 reads such a folder's `tokenizer.model` itself, and leaves out the
    blank that LLaMA's puts before a text.
    """
    from ...features.upstream import LlamaTokenizerFast

    with quiet_loading():
        fast = LlamaTokenizerFast.from_pretrained(folder)
    content = json.loads(fast.backend_tokenizer.to_str())
    merges = content["model"]["merges"]
    content["model"]["merges"] = [pair if isinstance(pair, str) else " ".join(pair) for pair in merges]
    if (content["pre_tokenizer"] or {}).get("type") == "Metaspace":  # before 0.19 it was named so
        content["pre_tokenizer"]["add_prefix_space"] = True
    (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def check_fits(model: LlavaV2XumForCausalLM) -> None:
    """Refuse a model that is more than a LLaVA-1.5 with video settings.

    Raises:
        V2XumError: naming the setting.
    """
    config = model.config
    feature, selected = config.feature, getattr(config, "mm_vision_select_feature", "patch")
    if feature.has_own_tower or feature.has_own_projector or selected not in SELECTED.values():
        kind = config.frame_feature if selected in SELECTED.values() else selected
        raise V2XumError(f"--form hf: transformers' LLaVA has no place for the tower or projector of {kind!r}")
    for key, expected in LLAVA_1_5.items():
        got = getattr(config, key, expected)
        if key.startswith("mm_") and key != "mm_use_im_patch_token" and got != expected:
            raise V2XumError(f"--form hf: transformers' LLaVA has {key} {expected!r} alone, got {got!r}")


def _weights(model: LlavaV2XumForCausalLM, rows: int) -> dict[str, Tensor]:
    """All weights under transformers' names, the tower's with it; new rows of the vocabulary are the others' mean."""
    found = {}
    for name, weight in model.state_dict().items():
        if name.startswith(TOWER):
            name = f"{TOWER}vision_model.{tower_name(name.removeprefix(TOWER))}"  # as every release reads it
        if name.endswith("position_ids") or (name == "lm_head.weight" and model.config.tie_word_embeddings):
            continue
        if name in ("model.embed_tokens.weight", "lm_head.weight") and len(weight) < rows:
            mean = weight.float().mean(0, keepdim=True).to(weight.dtype)
            weight = torch.cat([weight, mean.expand(rows - len(weight), -1)])
        ours, theirs = next(pair for pair in THEIRS.items() if name.startswith(pair[0]))
        found[theirs + name[len(ours) :]] = weight
    return found


def _config(model: LlavaV2XumForCausalLM, rows: int, added: dict[str, int], dtype: torch.dtype | None) -> dict:
    from ...features.upstream import AutoConfig

    config, stored = model.config, str(dtype or model.dtype).removeprefix("torch.")
    ours = portable_config(json.loads(config.to_json_string(use_diff=False)))
    llama = portable_config(json.loads(AutoConfig.for_model("llama").to_json_string(use_diff=False)))
    about = ("architectures", "_name_or_path", "transformers_version", "use_cache")
    text = {key: ours[key] for key in llama if key in ours and key not in about}
    text.update(model_type="llama", vocab_size=rows, torch_dtype=stored)
    vision = tower_fields(model.get_vision_tower().config)
    strategies = {ours: theirs for theirs, ours in SELECTED.items()}
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "text_config": text,
        "vision_config": vision,
        "image_token_index": added[IMAGE],
        "pad_token_id": added[PAD],
        "projector_hidden_act": "gelu",
        "vision_feature_layer": config.mm_vision_select_layer,
        "vision_feature_select_strategy": strategies[getattr(config, "mm_vision_select_feature", "patch")],
        "image_seq_length": (vision["image_size"] // vision["patch_size"]) ** 2,
        "tie_word_embeddings": config.tie_word_embeddings,
        "torch_dtype": stored,
        **{key: getattr(config, key, default) for key, default in CARRIED.items()},
        **{key: getattr(config, key) for key in VIDEO},
    }
