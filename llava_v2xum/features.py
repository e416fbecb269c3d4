"""Frames -> frame features, and the folder that keeps them.

Shapes: T frames, C feature width, P patches, H and W pixels.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from torch import Tensor, nn

from .atomic import replacing

PATCH_MEAN = "patch_mean"  # LLaVA-1.5's own tower: mean over the patch features of its layer -2
CLIP_EMBEDDING = "clip_embedding"  # released V2Xum-LLM: the image embedding of OpenAI's CLIP ViT-L/14
FRAME_FEATURES = (PATCH_MEAN, CLIP_EMBEDDING)

OPEN_CLIP_NAME = "ViT-L-14"  # released V2Xum-LLM


def pool_frames(features: Tensor) -> Tensor:
    """[T, P, C] -> [T, C]: the mean over the patches, taken in float32."""
    return features.float().mean(dim=1).to(features.dtype)


class OpenClipTower(nn.Module):
    """OpenAI's CLIP behind the interface of LLaVA's `CLIPVisionTower`: one "patch", the image embedding.

    Args:
        source: a file such as `clip/ViT-L-14.pt` (OpenAI's archive or a state dict), or None for the weights named
            `openai` of open_clip's ViT-L-14, which needs the network.
    """

    def __init__(self, source: str | None) -> None:
        super().__init__()
        self.source = source
        self.is_loaded = False

    def load_model(self, device_map=None) -> None:
        """Load the weights.

        Raises:
            ValueError: if the file is there but holds no CLIP image tower.
            FileNotFoundError: if the named file is missing, or none is named and the download fails.
        """
        if self.is_loaded:
            return
        import open_clip

        if self.source is None:
            clip = _fetch_openai_weights(open_clip)
        elif not os.path.isfile(self.source):
            raise FileNotFoundError(f"{self.source}: no such file; expected the CLIP weights, ViT-L-14.pt")
        else:
            clip = _load_openai_archive(Path(self.source))
        self.clip = clip.visual.requires_grad_(False).eval()
        self.image_processor = _clip_image_processor(self.clip.image_size)
        self.is_loaded = True

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """[T, 3, H, W] -> [T, 1, C], in the dtype of the pixels."""
        weight = next(self.clip.parameters())
        return self.clip(pixels.to(weight.device, weight.dtype))[:, None].to(pixels.dtype)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.clip.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.clip.parameters()).device

    @property
    def hidden_size(self) -> int:
        """C, the width of the image embedding."""
        return self.clip.output_dim


def _fetch_openai_weights(open_clip):
    """OpenAI's weights of the released model's CLIP by open_clip, from its cache or the network, in float32."""
    try:
        return open_clip.create_model(OPEN_CLIP_NAME, pretrained="openai", precision="fp32")
    except Exception as error:  # of its own, the hub client's and the HTTP library's types
        raise FileNotFoundError(
            "no CLIP file was named (vision_tower, expected ViT-L-14.pt), and open_clip could not get its "
            f"{OPEN_CLIP_NAME} 'openai' either ({error})"
        ) from error


def _load_openai_archive(path: Path):
    """OpenAI's CLIP from its TorchScript archive, or from a plain state dict of the same names, in float32."""
    from open_clip.model import build_model_from_openai_state_dict

    try:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # torch 2.15 deprecates the form that OpenAI chose
                state = torch.jit.load(str(path), map_location="cpu").state_dict()
        except RuntimeError:  # no TorchScript archive: then it must be a state dict
            state = torch.load(path, map_location="cpu", weights_only=True)
        model = build_model_from_openai_state_dict(dict(state), cast_dtype=torch.float32)
    except (AttributeError, EOFError, KeyError, RuntimeError, TypeError, ValueError, UnpicklingError) as error:
        raise ValueError(
            f"{path}: expected the weights of OpenAI's CLIP ViT (visual.proj, visual.conv1.weight, ...), "
            f"got a file they cannot be read from ({error})"
        ) from error
    return model.float()


def _clip_image_processor(image_size: int | tuple[int, int]):
    from transformers import CLIPImageProcessor

    side = image_size[0] if isinstance(image_size, tuple) else image_size
    return CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


class FrameEncoder:
    """Frames of a video -> their features, with the tower that the model was trained on.

    Args:
        tower: LLaVA's `CLIPVisionTower` or an `OpenClipTower`; loaded at first use.
        aspect_ratio: "pad" pads frames to a square with the mean colour, as LLaVA-1.5 does with images; anything
            else leaves the processor's centre crop.
        description: what the features are, recorded beside stored features.
        batch_size: frames in one pass of the tower.
    """

    def __init__(self, tower, aspect_ratio: str | None, description: dict, batch_size: int = 32) -> None:
        self.tower = tower
        self.aspect_ratio = aspect_ratio
        self.description = description
        self.batch_size = batch_size
        self._device: torch.device | None = None
        self._dtype: torch.dtype | None = None

    def to(self, device: torch.device | str, dtype: torch.dtype) -> FrameEncoder:
        """Where and in which dtype the tower is to run."""
        self._device, self._dtype = torch.device(device), dtype
        if self.tower.is_loaded:
            self.tower.to(device=self._device, dtype=self._dtype)
        return self

    def load(self) -> None:
        """Load the tower now rather than at first use."""
        if not self.tower.is_loaded:
            self.tower.load_model()
            if self._device is not None:
                self.tower.to(device=self._device, dtype=self._dtype)

    def preprocess(self, frames: np.ndarray) -> Tensor:
        """uint8 [T, H, W, 3] -> the tower's pixels, float32 [T, 3, h, w]."""
        self.load()
        processor = self.tower.image_processor
        if self.aspect_ratio == "pad":
            frames = pad_to_square(frames, tuple(int(mean * 255) for mean in processor.image_mean))
        return processor(images=list(frames), return_tensors="pt")["pixel_values"]

    @torch.no_grad()
    def __call__(self, frames: np.ndarray) -> Tensor:
        """uint8 [T, H, W, 3] RGB -> frame features [T, C] in the tower's dtype and on its device."""
        features = []
        for start in range(0, len(frames), self.batch_size):
            pixels = self.preprocess(frames[start : start + self.batch_size])
            features.append(pool_frames(self.tower(pixels.to(self.tower.device, self.tower.dtype))))
        return torch.cat(features)


def pad_to_square(frames: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """[T, H, W, 3] -> [T, S, S, 3] with S the longer side, the frames in the middle (LLaVA's `expand2square`)."""
    count, height, width, _ = frames.shape
    if height == width:
        return frames
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    squares = np.empty((count, side, side, 3), dtype=np.uint8)
    squares[:] = color
    squares[:, top : top + height, left : left + width] = frames
    return squares


class FeatureFolder:
    """A folder of `ID.npy`, float16 [N, C] each (the released code's layout), beside a note of what they are.

    Args:
        path: the folder; made at the first save.
        description: what the features must be: tower, layer, kind, N.

    Raises:
        ValueError: if the folder's note says that its features are others.
    """

    NOTE = "features.json"

    def __init__(self, path: str | os.PathLike, description: dict) -> None:
        self.path = Path(path)
        self.description = description
        note = self.path / self.NOTE
        if note.exists():
            try:
                found = json.loads(note.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{note}: expected JSON that says what the features are ({error})") from error
            if found != description:
                raise ValueError(f"{note}: the stored features are {found}, this model needs {description}")

    def load(self, video_id: str, num_frames: int, width: int, source: dict | None = None) -> np.ndarray | None:
        """The stored features of a video, [N, C], or None if there are none.

        Args:
            source: what is known of the video's file; compared with what `save` was given, if both are there.

        Raises:
            ValueError: if the file is not an array of that shape, or was made of another video of the same name.
        """
        file = self.path / f"{video_id}.npy"
        if not file.exists():
            return None
        made_of = file.with_suffix(".json")
        if source is not None and made_of.exists():
            found = json.loads(made_of.read_text(encoding="utf-8"))
            if found != source:
                raise ValueError(f"{file}: made of another video named {video_id!r}: expected {source}, got {found}")
        try:
            features = np.load(file, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"{file}: not a readable NumPy array ({error})") from error
        if features.shape != (num_frames, width):
            raise ValueError(f"{file}: expected features of shape [{num_frames}, {width}], got {list(features.shape)}")
        return features

    def save(self, video_id: str, features: np.ndarray, source: dict | None = None) -> None:
        """Store one video's features, and what is known of its file; a kill leaves either whole files or none."""
        self.path.mkdir(parents=True, exist_ok=True)
        note = self.path / self.NOTE
        if not note.exists():
            with replacing(note) as part:
                part.write_text(json.dumps(self.description, indent=1) + "\n", encoding="utf-8")
        if source is not None:
            with replacing(self.path / f"{video_id}.json") as part:
                part.write_text(json.dumps(source) + "\n", encoding="utf-8")
        with replacing(self.path / f"{video_id}.npy") as part:
            np.save(part, features.astype(np.float16))

