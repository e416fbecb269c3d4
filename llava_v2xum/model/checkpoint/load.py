"""Load a checkpoint of any layout.

Weights are read here, file by file, onto a model without any: `from_pretrained` fills what a file lacks with random
values and goes on.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch
from accelerate import init_empty_weights
from torch import Tensor

from ...core.errors import V2XumError
from ...features import EmbeddingTower, FrameEncoder
from ...features.checkpoint_files import (
    default_dtype,
    named_dtype,
    plain_names,
    portable_config,
    read_tensors,
    some,
)
from ...features.checkpoint_layouts import Layout, find_layout, find_tower, trained_its_tower
from ...features.clip_tower import load_clip_tower, quiet_loading
from ...features.hf_llava import config_in, is_hf_llava, weights_in
from ...features.kinds import has_own_tower, tower_key
from ..config import OF_ANOTHER_CLASS, not_of_llava_15
from ..modeling import LlavaV2XumConfig, LlavaV2XumForCausalLM
from ..plugin import register
from .lora import merge_adapter
from .quantize import bits_of, quantize_decoder

logger = logging.getLogger(__name__)


def load_pretrained(
    model_path: str | os.PathLike,
    model_base: str | os.PathLike | None = None,
    pretrain_mm_mlp_adapter: str | os.PathLike | None = None,
    vision_tower: str | os.PathLike | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    load_8bit: bool = False,
    load_4bit: bool = False,
) -> tuple[object, LlavaV2XumForCausalLM, FrameEncoder]:
    """A checkpoint, ready to answer: tokenizer, model, and the encoder that turns frames into its features.

    Args:
        model_path: a folder or hub name: a full or LoRA checkpoint of this plugin or of LLaVA-1.5, a folder with
            LLaVA's `mm_projector.bin`, a released V2Xum-LLM stage-2 folder, or the folder that holds its parts
            (`clip/`, a stage 1 with `mm_projector.bin`, a stage 2 with an adapter).
        model_base: the decoder that a LoRA adapter or a projector belongs to; for an adapter None takes the base
            that its adapter_config.json names.
        pretrain_mm_mlp_adapter: a projector file; it wins over the projector among the decoder's own weights, and
            `non_lora_trainables.bin` wins over it. For a released stage 2 None looks beside the folder.
        vision_tower: in place of the tower that the config names: a folder or hub name, or, for the released
            model, the file `ViT-L-14.pt`. For a released stage 2 None looks beside the folder, and without one the
            tower is left to open_clip's download at its first use.
        device: "auto" is the GPU where there is one, else the CPU.
        dtype: a torch dtype or its name; "auto" is bfloat16 on a GPU that has it, float16 on another, float32 on
            the CPU (our choice, because float16 is slow or missing there).
        load_8bit, load_4bit: the decoder's weights in so many bits (`quantize_decoder`), an adapter merged before; for
            answering, not for training.

    Returns:
        The tokenizer pads on the left; the model is in eval mode with LoRA merged and its tower loaded; the encoder
        shares that tower.

    Raises:
        FileNotFoundError: for a missing file, or a name that is neither a folder nor a reachable repository.
        V2XumError: for a damaged file, a weight missing, unknown or of another shape than the decoder's, an adapter
            for another base, or a tokenizer that gives other temporal prompts than the checkpoint was made with.
        ImportError: if weights in 8 or 4 bits are wanted and bitsandbytes is missing.
    """
    register()
    bits = bits_of(load_8bit, load_4bit)
    device, dtype = _choose_device(device), None if dtype == "auto" else named_dtype(dtype)
    dtype = dtype or default_dtype(device)
    layout = find_layout(model_path, model_base, pretrain_mm_mlp_adapter, vision_tower)
    config = _config_of(layout)
    tokenizer = _load_tokenizer(layout.base)
    model, tuned_tower = _load_decoder(config, layout, dtype)
    if bits is None:
        model.to(device)
    if layout.adapter is not None:
        model = merge_adapter(model, layout.adapter, layout.base)
    if bits is not None:
        quantize_decoder(model, bits, device)
        model.to(device)
    _bind_tokenizer(model, tokenizer, layout)
    _load_tower(model, tuned_tower)
    config.tokenizer_padding_side = "left"  # in a batch, a row's next token must follow its last one
    config.use_cache = True
    setattr(config, "dtype" if hasattr(config, "dtype") else "torch_dtype", dtype)  # renamed in transformers 4.56
    return tokenizer, model.eval(), frame_encoder_of(model).to(device, dtype)


def frame_encoder_of(model: LlavaV2XumForCausalLM) -> FrameEncoder:
    """The encoder that turns frames into the features the model reads; it shares the model's tower, which is loaded."""
    config, tower = model.config, model.get_vision_tower()
    aspect_ratio = getattr(config, "image_aspect_ratio", None)
    return FrameEncoder(tower, aspect_ratio, config.describe_features(tower), config.feature)


def _choose_device(device: str | torch.device) -> torch.device:
    if str(device) != "auto":
        try:
            chosen = torch.device(device)
            torch.empty(1, device=chosen)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise V2XumError(f"device must be 'auto' or one that torch has here, got {device!r} ({reason})") from error
        return chosen
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _config_of(layout: Layout) -> LlavaV2XumConfig:
    """This plugin's config for any of the layouts, under the model type of this plugin."""
    fields = {key: value for key, value in portable_config(layout.config).items() if key not in OF_ANOTHER_CLASS}
    if fields.get("mm_patch_merge_type", "flat") != "flat":
        raise V2XumError(f"{layout.config_file}: {not_of_llava_15(fields['mm_patch_merge_type'])}")
    tower = layout.tower or fields.get(tower_key(fields))
    if tower is not None:
        tower = find_tower(tower, layout)
    if has_own_tower(fields):
        fields.pop("mm_vision_tower", None)  # LLaVA would build a tower of its own from it
        fields["frame_tower"] = tower
    elif tower is None:
        raise V2XumError(
            f"{layout.config_file}: expected mm_vision_tower, the CLIP tower's folder or hub name, got none"
        )
    else:
        # loaded by `_load_tower`, and only there; LLaVA-NeXT would do so at once
        fields.update(mm_vision_tower=tower, unfreeze_mm_vision_tower=False, delay_load=True)
        fields.pop("mm_tunable_parts", None)
    try:
        config = LlavaV2XumConfig.from_dict(fields)
        config.timeline, config.feature  # noqa: B018  (checked here, where the file can be named)
    except (ValueError, TypeError) as error:
        raise V2XumError(f"{layout.config_file}: {error}") from error
    config.name_or_path = str(layout.folder)
    return config


def _load_decoder(
    config: LlavaV2XumConfig, layout: Layout, dtype: torch.dtype
) -> tuple[LlavaV2XumForCausalLM, dict[str, Tensor]]:
    """The model with every weight read from a file, and the tower's weights if the checkpoint tuned its tower."""
    try:
        with init_empty_weights(include_buffers=False):  # no memory, no random values; buffers are computed
            model = LlavaV2XumForCausalLM(config)
    except (ValueError, AttributeError, OSError) as error:
        raise V2XumError(f"{layout.config_file}: {error}") from error
    expected = {name: weight.shape for name, weight in model.state_dict().items()}
    found: dict[str, Tensor] = {}
    tower: dict[str, Tensor] = {}
    for file, tensors in weights_in(layout.base):
        _take(found, file, tensors, expected, dtype, layout, tower)
    for file in layout.extras:
        _take(found, file, plain_names(dict(read_tensors(file))).items(), expected, dtype, layout, tower)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    missing = sorted(set(expected) - set(found) - tied)
    if missing:
        where = ", ".join(str(path) for path in (layout.base, *layout.extras))
        raise V2XumError(f"{where}: expected all of the model's weights, got none for {some(missing)}")
    model.load_state_dict(found, strict=False, assign=True)
    model.tie_weights()
    return model, tower if trained_its_tower(layout.config) else {}


def _take(found, file: Path, tensors, expected: dict, dtype: torch.dtype, layout: Layout, tower: dict) -> None:
    """Put one file's weights into `found`, in the model's dtype; those of a tower into `tower`."""
    unknown = []
    for name, tensor in tensors:
        if ".vision_tower." in name:
            tower[name] = tensor
        elif name not in expected:
            # old Llama checkpoints carry a buffer; tied ones may carry the shared weight twice
            if not name.endswith("rotary_emb.inv_freq"):
                unknown.append(name)
        elif tensor.shape != expected[name]:
            raise V2XumError(
                f"{file}: {name}: expected shape {list(expected[name])} ({layout.shapes_from}), "
                f"got {list(tensor.shape)}"
            )
        else:
            found[name] = tensor.to(dtype)
    if unknown:
        raise V2XumError(
            f"{file}: expected weights of the model that {layout.config_file} describes, got {some(unknown)}"
        )


def _load_tokenizer(folder: Path):
    """The decoder's tokenizer, padding on the left."""
    from ...features.upstream import AutoTokenizer, LlamaTokenizer

    if (folder / "tokenizer.model").is_file():
        kind = LlamaTokenizer  # not what tokenizer_config.json names: releases differ in the names
    elif (folder / "tokenizer.json").is_file():
        kind = AutoTokenizer
    else:
        raise FileNotFoundError(f"{folder}: expected tokenizer.model or tokenizer.json, found neither")
    try:
        with quiet_loading():  # 4.37 explains its legacy mode, which is LLaMA's
            tokenizer = kind.from_pretrained(folder, padding_side="left")
    except Exception as error:  # sentencepiece and tokenizers raise types of their own, some bare
        raise V2XumError(f"{folder}: its tokenizer cannot be read ({error})") from error
    if tokenizer.pad_token is None or is_hf_llava(config_in(folder)):  # as LLaVA's own; there it is an added token
        tokenizer.pad_token = tokenizer.unk_token
    return tokenizer


def _bind_tokenizer(model: LlavaV2XumForCausalLM, tokenizer, layout: Layout) -> None:
    """Give the model its temporal prompts, or check that the tokenizer still gives those it was trained with."""
    config = model.config
    try:
        ids = config.prompt_ids(tokenizer)
    except V2XumError as error:
        raise V2XumError(f"{layout.base}: {error}") from error
    if config.temporal_prompt_ids is None:
        highest = max((number for row in ids for number in row), default=0)
        if highest >= config.vocab_size:
            raise V2XumError(
                f"{layout.base}: expected a tokenizer of the decoder's {config.vocab_size} ids, "
                f"got id {highest} in a temporal prompt"
            )
        model.bind_timeline(tokenizer)
    elif [list(row) for row in config.temporal_prompt_ids] != ids:
        raise V2XumError(
            f"{layout.base}: expected a tokenizer that gives the temporal prompts of {layout.config_file}, "
            f"{config.temporal_prompt_ids[0]} for {config.timeline.prompt(0)!r} and so on; got {ids[0]}"
        )


def _load_tower(model: LlavaV2XumForCausalLM, tuned: dict[str, Tensor]) -> None:
    """Load the tower where the config says it is; a released model without a CLIP file is left to its first use."""
    tower, config = model.get_vision_tower(), model.config
    if isinstance(tower, EmbeddingTower):
        if tower.source is None:
            logger.info("no CLIP file was found: open_clip fetches the weights when the first frame is encoded")
            return
        tower.load_model()
        name = tower.source
    else:
        name = config.mm_vision_tower
        load_clip_tower(tower, tuned)
    if tower.hidden_size != config.mm_hidden_size:
        raise V2XumError(
            f"{name}: expected a tower whose features are {config.mm_hidden_size} wide, as the projector takes them, "
            f"got {tower.hidden_size}"
        )
