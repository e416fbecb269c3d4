"""CLIP towers of which the image embedding is wanted, behind the interface of LLaVA's `CLIPVisionTower`.

Shapes: T frames, C width of the embedding, H and W pixels.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from ..core.errors import V2XumError

OPEN_CLIP_NAME = "ViT-L-14"  # released V2Xum-LLM


def embedding_tower(source: str | None) -> EmbeddingTower:
    """The tower for the "clip_embedding" of a source: a folder in transformers' form, or OpenAI's file (or None)."""
    return HubClipTower(source) if source is not None and _is_folder_or_name(source) else OpenClipTower(source)


def _is_folder_or_name(source: str) -> bool:
    return os.path.isdir(source) or not (os.path.exists(source) or source.endswith((".pt", ".bin", ".pth")))


class EmbeddingTower(nn.Module):
    """One "patch" a frame, the image embedding. Subclasses load `clip`, a module with parameters.

    Args:
        source: where the weights are.
    """

    def __init__(self, source: str | None) -> None:
        super().__init__()
        self.source = source
        self.is_loaded = False

    def load_model(self, device_map=None) -> None:
        """Load the weights, once; see the subclasses for what they raise."""
        if not self.is_loaded:
            self.clip, self.image_processor = self._load()
            self.clip.requires_grad_(False).eval()
            self.is_loaded = True

    def _load(self):
        raise NotImplementedError

    def _embed(self, pixels: Tensor) -> Tensor:
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """[T, 3, H, W] -> [T, 1, C], in the dtype of the pixels."""
        weight = next(self.clip.parameters())
        return self._embed(pixels.to(weight.device, weight.dtype))[:, None].to(pixels.dtype)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.clip.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.clip.parameters()).device


class OpenClipTower(EmbeddingTower):
    """OpenAI's CLIP from its own file, by open_clip, as the released V2Xum-LLM uses it.

    Args:
        source: a file such as `clip/ViT-L-14.pt` (OpenAI's archive or a state dict), or None for the weights named
            `openai` of open_clip's ViT-L-14, which needs the network.

    Raises:
        V2XumError: on loading, if the file is there but holds no CLIP image tower.
        FileNotFoundError: on loading, if the named file is missing, or none is named and the download fails.
    """

    def _load(self):
        import open_clip

        if self.source is None:
            clip = _fetch_openai_weights(open_clip)
        elif not os.path.isfile(self.source):
            raise FileNotFoundError(f"{self.source}: no such file; expected the CLIP weights, ViT-L-14.pt")
        else:
            clip = load_openai_archive(Path(self.source))
        return clip.visual, _clip_image_processor(clip.visual.image_size)

    def _embed(self, pixels: Tensor) -> Tensor:
        return self.clip(pixels)

    @property
    def hidden_size(self) -> int:
        """C, the width of the image embedding."""
        return self.clip.output_dim


class HubClipTower(EmbeddingTower):
    """A CLIP in transformers' form, such as `openai/clip-vit-large-patch14-336`: its projected image embedding.

    Args:
        source: a folder or hub name.

    Raises:
        V2XumError: on loading, if the weights lack the tower or its projection.
    """

    def _load(self):
        from .upstream import CLIPImageProcessor, CLIPVisionModelWithProjection

        try:
            clip, report = CLIPVisionModelWithProjection.from_pretrained(self.source, output_loading_info=True)
            processor = CLIPImageProcessor.from_pretrained(self.source)
        except (OSError, RuntimeError, ValueError) as error:
            raise V2XumError(f"{self.source}: expected a CLIP with its image projection ({error})") from error
        missing = sorted(name for name in report["missing_keys"] if not name.endswith("position_ids"))
        if missing:  # transformers would go on with random values
            raise V2XumError(f"{self.source}: expected a CLIP with its image projection, got none of {missing[:4]}")
        return clip, processor

    def _embed(self, pixels: Tensor) -> Tensor:
        return self.clip(pixels).image_embeds

    @property
    def hidden_size(self) -> int:
        """C, the width of the image embedding."""
        return self.clip.config.projection_dim


def _fetch_openai_weights(open_clip):
    """OpenAI's weights of the released model's CLIP by open_clip, from its cache or the network, in float32."""
    try:
        # open_clip 3 builds ViT-L-14 with GELU and only warns that OpenAI trained these weights with QuickGELU
        return open_clip.create_model(OPEN_CLIP_NAME, pretrained="openai", precision="fp32", force_quick_gelu=True)
    except Exception as error:  # of its own, the hub client's and the HTTP library's types
        raise FileNotFoundError(
            "no CLIP file was named (vision_tower, expected ViT-L-14.pt), and open_clip could not get its "
            f"{OPEN_CLIP_NAME} 'openai' either ({error})"
        ) from error


def load_openai_archive(path: Path) -> nn.Module:
    """OpenAI's CLIP from its TorchScript archive, or from a state dict of the same names, in float32.

    Args:
        path: the file; a state dict may lie under "model", as in VideoXum's `vt_clip.pth`.

    Returns:
        open_clip's `CLIP`, on the CPU.

    Raises:
        V2XumError: if the file holds no such weights.
    """
    from open_clip.model import build_model_from_openai_state_dict

    try:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # torch 2.15 deprecates the form that OpenAI chose
                state = torch.jit.load(str(path), map_location="cpu").state_dict()
        except RuntimeError:  # no TorchScript archive: then it must be a state dict
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("model", state)
        model = build_model_from_openai_state_dict(dict(state), cast_dtype=torch.float32)
    except (AttributeError, EOFError, KeyError, RuntimeError, TypeError, ValueError, UnpicklingError) as error:
        raise V2XumError(
            f"{path}: expected the weights of OpenAI's CLIP ViT (visual.proj, visual.conv1.weight, ...), "
            f"got a file they cannot be read from ({error})"
        ) from error
    return model.float()


def _clip_image_processor(image_size: int | tuple[int, int]):
    from .upstream import CLIPImageProcessor

    side = image_size[0] if isinstance(image_size, tuple) else image_size
    return CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
