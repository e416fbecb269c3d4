"""transformers' own LLaVA-1.5 layout (`llava-hf/llava-1.5-7b-hf`), read under LLaVA's names.

Its config has the decoder's in `text_config` and the tower's in `vision_config`, its files hold decoder, projector and
tower together, and its vocabulary has rows behind the tokenizer's (32,064 of Vicuna's 32,000).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from ..core.errors import V2XumError
from .checkpoint_files import CONFIG, find_folder, portable_config, read_json_object, read_tensors, weight_files
from .hub import is_hub_name

TOWER = "model.vision_tower.vision_tower."  # LLaVA's name of the tower among a model's weights
PROJECTOR = "model.mm_projector."
SELECTED = {"default": "patch", "full": "cls_patch"}  # vision_feature_select_strategy -> mm_vision_select_feature
# Longest first. A release before 4.52 nests the decoder's head; later ones have `model.` before all else in memory, and
# some write it
NAMES = {
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
    "language_model.": "model.",
    "vision_tower.": TOWER,
    "multi_modal_projector.linear_1.": f"{PROJECTOR}0.",
    "multi_modal_projector.linear_2.": f"{PROJECTOR}2.",
}
LLAVA_1_5: dict[str, Any] = {  # what every LLaVA-1.5 has, and this layout does not say
    "model_type": "llava_llama",
    "mm_projector_type": "mlp2x_gelu",
    "mm_patch_merge_type": "flat",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False,
    "use_mm_proj": True,
}
# the same, which a model of this package may have otherwise: `merge --form hf` writes them beside transformers' own
CARRIED: dict[str, Any] = {"image_aspect_ratio": "pad", "tokenizer_model_max_length": 2048}
VIDEO = (  # what a video needs besides
    "temporal_prompt_template",
    "num_frames",
    "frame_sampling",
    "temporal_prompt_ids",
    "temporal_prompts",
    "frame_feature",
    "frame_tokens",
)


def is_hf_llava(config: dict) -> bool:
    """Whether a config.json is of transformers' own LLaVA."""
    return config.get("model_type") == "llava" and "text_config" in config


def hf_llava_folder(name: str, what: str = "the vision tower") -> Path | None:
    """The folder of a checkpoint in this layout, by path or hub name; None for anything else.

    Args:
        what: gave the name, for the error.

    Raises:
        V2XumError: for a hub name that cannot be reached, of an owner from whom LLaVA takes no towers.
    """
    path = Path(name).expanduser()
    if not path.is_dir():
        of_llava = name.startswith(("openai", "laion")) or "ShareGPT4V" in name  # what it loads itself
        if of_llava or path.exists() or not is_hub_name(name, of_an_owner=True):
            return None
        try:
            path = find_folder(name, what)
        except FileNotFoundError as error:
            raise V2XumError(str(error)) from error
    return path if is_hf_llava(config_in(path)) else None


def config_in(folder: Path) -> dict:
    """The config of a folder; {} if it has none."""
    return read_json_object(folder / CONFIG) if (folder / CONFIG).is_file() else {}


def llava_fields(config: dict, folder: Path) -> dict:
    """The config in LLaVA's own terms; its tower is named by the folder that holds it.

    Raises:
        V2XumError: naming the file and the field, if it is of something that LLaVA-1.5 is not.
    """
    text, vision = dict(config["text_config"]), config.get("vision_config") or {}
    layer, strategy = config.get("vision_feature_layer", -2), config.get("vision_feature_select_strategy", "default")
    for field, got, expected in (
        ("text_config.model_type", text.get("model_type", "llama"), ("llama",)),
        ("vision_config.model_type", vision.get("model_type"), ("clip_vision_model",)),
        ("projector_hidden_act", config.get("projector_hidden_act", "gelu"), ("gelu",)),
        ("multimodal_projector_bias", config.get("multimodal_projector_bias", True), (True,)),
        ("vision_feature_select_strategy", strategy, tuple(SELECTED)),
        ("vision_feature_layer", layer, (layer if isinstance(layer, int) else "one layer's number",)),
    ):
        if got not in expected:
            wanted = " or ".join(map(repr, expected))
            raise V2XumError(f"{folder / CONFIG}: expected a LLaVA-1.5, whose {field} is {wanted}, got {got!r}")
    if text.get("pad_token_id") is None:
        text["pad_token_id"] = config.get("pad_token_id")
    return {
        **portable_config(text),
        **LLAVA_1_5,
        **CARRIED,
        **{name: config[name] for name in (*CARRIED, *VIDEO) if name in config},
        "mm_vision_tower": str(folder),
        "mm_hidden_size": clip_config(folder).hidden_size,
        "mm_vision_select_layer": layer,
        "mm_vision_select_feature": SELECTED[strategy],
    }


def clip_config(folder: Path):
    """transformers' `CLIPVisionConfig` of a tower's folder, or of the tower inside this layout."""
    from .upstream import CLIPVisionConfig

    config = config_in(folder)
    if is_hf_llava(config):  # 4.37 would take the defaults for it
        return CLIPVisionConfig(**config["vision_config"])
    return CLIPVisionConfig.from_pretrained(folder)


def llava_name(name: str) -> str:
    """A weight's name in LLaVA, of that in this layout; others stay as they are."""
    plain = name.removeprefix("model.")
    return next((ours + plain[len(theirs) :] for theirs, ours in NAMES.items() if plain.startswith(theirs)), name)


def weights_in(
    folder: Path, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[tuple[Path, Iterator[tuple[str, Tensor]]]]:
    """For each weight file of a model its tensors under LLaVA's names, whichever layout the folder has.

    Args:
        wanted: whether to read the tensor of a name; what is not wanted costs nothing.

    Raises:
        FileNotFoundError, V2XumError: naming the file that is missing or damaged.
    """
    name_of = llava_name if is_hf_llava(config_in(folder)) else str
    for file in weight_files(folder):
        tensors = read_tensors(file, lambda name: wanted(name_of(name)))
        yield file, ((name_of(name), tensor) for name, tensor in tensors)


def projector_in(folder: Path) -> dict[str, Tensor]:
    """The projector's weights under LLaVA's names, of a folder that holds a whole checkpoint."""
    files = weights_in(folder, lambda name: name.startswith(PROJECTOR))
    return {name: tensor for _, tensors in files for name, tensor in tensors}
