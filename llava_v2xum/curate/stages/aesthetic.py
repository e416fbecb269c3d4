"""How good people find the look of frames, as a small head on a CLIP has learned it from their ratings.

Shapes: K frames, D width of the CLIP's embedding.

Two public heads, both on OpenAI's CLIP ViT-L/14 (D = 768) at 224 x 224 with CLIP's own preprocessing, on unit vectors;
their scores lie about 1 to 10:

| name | file | layers | source |
| --- | --- | --- | --- |
| laion-v1 | `sa_0_4_vit_l_14_linear.pth` | D -> 1 | github.com/LAION-AI/aesthetic-predictor |
| laion-v2 | `sac+logos+ava1-l14-linearMSE.pth` | D -> 1024 -> 128 -> 64 -> 16 -> 1, nothing between but dropout | \
github.com/christophschuhmann/improved-aesthetic-predictor |

Another CLIP of the same width gives numbers too, and they mean nothing: the head knows only the vectors it was
trained on.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import V2XumError

if TYPE_CHECKING:
    from ...evaluate.models.clip_base import ClipModel

logger = logging.getLogger(__name__)

# Where each is, by its repository, and the SHA-256 of the file there.
PUBLIC = {
    "laion-v1": (
        "https://github.com/LAION-AI/aesthetic-predictor/raw/main/sa_0_4_vit_l_14_linear.pth",
        "2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
    ),
    "laion-v2": (
        "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/"
        "sac%2Blogos%2Bava1-l14-linearMSE.pth",
        "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
    ),
}
MLP_LAYERS = (0, 2, 4, 6, 7)  # places in a Sequential with dropout between; the variant with ReLU has others
_USING = threading.Lock()  # of the module, because a scorer is sent to other processes


@dataclass(frozen=True)
class AestheticOptions:
    """What judges the look of a video.

    Args:
        predictor: "laion-v1" or "laion-v2", fetched once into torch's cache, or a file of either layout.
        clip: as in `evaluate.models.clip_models.load_clip`, with open_clip's weights behind a slash: "ViT-L-14/openai"
            is the one that LAION's heads stand on.
        threshold: the least score that a video may have: the mean over its frames.
        frames: K, at fixed fractions of the duration; all are held at full size.
        device: of the CLIP; None is the first GPU, or the CPU where there is none.
    """

    predictor: str
    clip: str
    threshold: float
    frames: int = 8
    device: str | None = None


class AestheticScorer:
    """Frames -> one score. It holds the head, so that only the CLIP must be at hand where it is used.

    Args:
        options: see there. The head is read here, the CLIP at the first score.

    Raises:
        FileNotFoundError, V2XumError: if there is no such predictor or CLIP, or the file is neither layout.
        ConnectionError: if a public predictor is not in the cache and cannot be fetched.
    """

    def __init__(self, options: AestheticOptions) -> None:
        self.options = options
        file = _predictor_file(options.predictor)
        self._layers, self._digest = read_head(file), _sha256(file)
        self._clip = _load_clip(options.clip, options.device)

    def settings(self) -> dict[str, Any]:
        """What the scores depend on; no path, so that files may move."""
        known = next((name for name, (_, digest) in PUBLIC.items() if digest == self._digest), None)
        clip = Path(self.options.clip)
        return {
            "predictor": known or f"head of {len(self._layers)} layers",
            "predictor_sha256": self._digest,
            "clip": clip.name if clip.exists() else self.options.clip,
            "clip_digest": self._clip.digest,
            "threshold": self.options.threshold,
            "frames": self.options.frames,
        }

    def score(self, frames: np.ndarray) -> float:
        """The mean score of frames, to four decimals: what lies behind them differs between machines.

        Args:
            frames: uint8 [K, H, W, 3].

        Raises:
            V2XumError: if the CLIP cannot be loaded, or is not as wide as the head.
        """
        with _USING:  # a model is loaded once, and threads do not share it
            rows = self._clip.embed_frames(frames).astype(np.float64)
        wide = self._layers[0][0].shape[1]
        if rows.shape[1] != wide:
            raise V2XumError(
                f"{self.options.predictor}: a head on CLIP embeddings of width {wide}, and those of "
                f"{self.options.clip} are {rows.shape[1]} wide; LAION's heads need OpenAI's ViT-L/14 (768)"
            )
        for weight, bias in self._layers:
            rows = rows @ weight.T + bias
        return round(float(rows.mean()), 4)


def read_head(file: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The layers of a head, told by what the file holds, in order: weights [out, in] and biases [out].

    Raises:
        FileNotFoundError, V2XumError: naming the file, if it is missing, damaged or neither layout.
    """
    from ...features.checkpoint_files import read_tensors

    tensors = {name: tensor.double().numpy() for name, tensor in read_tensors(file)}
    layouts = ([""], [f"layers.{number}." for number in MLP_LAYERS])
    for layout in layouts:
        if set(tensors) == {layer + part for layer in layout for part in ("weight", "bias")}:
            layers = [(tensors[layer + "weight"], tensors[layer + "bias"]) for layer in layout]
            break
    else:
        raise V2XumError(
            f"{file}: expected LAION's linear head (weight, bias) or the improved one without activations "
            f"({', '.join(layouts[1])} weight and bias each), got {sorted(tensors)[:6]}"
        )
    width = layers[0][0].shape[-1] if layers[0][0].ndim == 2 else 0
    for weight, bias in layers:
        if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
            raise V2XumError(
                f"{file}: its layers do not fit: {weight.shape} and {bias.shape} behind a width of {width}"
            )
        width = len(weight)
    if width != 1:
        raise V2XumError(f"{file}: expected a head that gives one score, got {width}")
    if not all(np.isfinite(part).all() for layer in layers for part in layer):
        raise V2XumError(f"{file}: its weights are not finite")
    return layers


def _predictor_file(predictor: str) -> Path:
    """The file of a predictor, fetched if it is a public one that is not here."""
    if predictor not in PUBLIC:
        file = Path(predictor).expanduser()
        if not file.is_file():
            raise FileNotFoundError(
                f"{predictor}: no such file; expected weights of an aesthetic predictor, or one of {', '.join(PUBLIC)}"
            )
        return file
    import torch

    address, digest = PUBLIC[predictor]
    file = Path(torch.hub.get_dir()) / "checkpoints" / f"{predictor}.pth"
    if file.is_file() and _sha256(file) == digest:
        return file
    logger.info("fetching %s from %s to %s", predictor, address, file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(address, str(file), hash_prefix=digest, progress=False)
    except (OSError, RuntimeError) as error:  # no network; other bytes than those known
        raise ConnectionError(
            f"{predictor}: cannot be fetched from {address} ({error}); fetch it by other means and name the file"
        ) from error
    return file


def _load_clip(name: str, device: str | None) -> ClipModel:
    """A CLIP; `MODEL/TAG` is open_clip's model with its weights, where it has such."""
    from ...evaluate.models.clip_models import load_clip

    model, _, tag = name.partition("/")
    if tag and not Path(name).exists():
        import open_clip

        if open_clip.get_pretrained_cfg(model, tag):
            return load_clip(model, tag, device)
    return load_clip(name, device=device)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
