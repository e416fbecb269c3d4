"""CLIP models that embed frames and sentences: open_clip's, OpenAI's own files, transformers' folders.

Shapes: K frames, M texts or parts of texts, D width of the embedding, H and W pixels.

Embeddings are unit vectors in float32. A text longer than the model's context (77 tokens for OpenAI's) is never cut: it
is split into parts of about equal length, at sentence ends where that suffices, else between words, and each part gives
a vector of its own.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import V2XumError
from .clip_base import BATCH_SIZE, ClipModel

if TYPE_CHECKING:
    from torch import Tensor

_RECIPE = "1"  # raised when the same weights come to give other vectors here, so that none is taken from a cache
_WEIGHT_FILES = (".bin", ".pt", ".pth", ".safetensors")


def load_clip(
    source: str | Path, weights: str | Path | None = None, device: str | None = None, batch_size: int = BATCH_SIZE
) -> ClipModel:
    """A CLIP by name or path; its weights are read when the first frame or sentence is embedded.

    | source | weights | what |
    | --- | --- | --- |
    | a folder with `config.json` | | transformers: CLIPModel, tokenizer and image processor |
    | a folder with `open_clip_config.json` | | open_clip |
    | a file such as `ViT-L-14.pt` | | OpenAI's archive, or a state dict of its names (VideoXum's `vt_clip.pth`) |
    | an open_clip model, `ViT-L-14` | a tag (`openai`) or a file | open_clip; a tag may need the network |
    | `hf-hub:ORG/NAME` | | open_clip, from the hub |
    | `ORG/NAME` | | transformers, from the hub |

    Args:
        source: see the table.
        weights: see the table.
        device: such as "cuda:1"; None is the first GPU, or the CPU where there is none.
        batch_size: frames or texts in one pass.

    Raises:
        FileNotFoundError: for a path that is not there.
        V2XumError: for a folder that holds no CLIP, an open_clip name without weights, or weights that go with
            nothing; on the first use, for weights that lack a tower or projection.
    """
    if batch_size < 1:
        raise V2XumError(f"batch_size must be at least 1, got {batch_size}")
    name, path = str(source), Path(source)
    is_path = path.exists() or path.is_absolute() or name.startswith(".") or path.suffix in _WEIGHT_FILES
    if weights is not None and (is_path or name.startswith("hf-hub:")):
        raise V2XumError(f"{name}: it brings its own weights; got further ones: {weights}")
    if path.is_dir():
        if (path / "config.json").is_file():
            return TransformersClip(name, _folder_digest(path), device, batch_size)
        if (path / "open_clip_config.json").is_file():
            return OpenClip(f"local-dir:{name}", None, _folder_digest(path), device, batch_size)
        raise V2XumError(f"{name}: expected a CLIP's folder with config.json or open_clip_config.json, found neither")
    if is_path:
        if not path.is_file():
            raise FileNotFoundError(f"{name}: no such file or folder; expected a CLIP")
        return OpenaiClip(name, _digest("openai", path), device, batch_size)
    if weights is not None:
        file = Path(weights)
        if not file.is_file() and (file.is_absolute() or file.suffix in _WEIGHT_FILES):
            raise FileNotFoundError(f"{weights}: no such file; expected the weights of {name}")
        digest = _digest("open_clip", name, file if file.is_file() else str(weights))
        return OpenClip(name, str(weights), digest, device, batch_size)
    if name.startswith("hf-hub:"):
        return OpenClip(name, None, _digest("open_clip", name), device, batch_size)
    if "/" in name:
        return TransformersClip(name, _digest("transformers", name), device, batch_size)
    raise V2XumError(
        f"{name}: no such file or folder; as an open_clip model it needs weights (a tag such as 'openai', or a file)"
    )


class OpenClip(ClipModel):
    """A model of open_clip with the weights of a tag, a file, a folder or the hub.

    Args:
        name: open_clip's, with `hf-hub:` or `local-dir:` where it has its own weights.
        weights: a tag or file, or None.
        digest, device, batch_size: as `ClipModel`.
    """

    def __init__(self, name: str, weights: str | None, digest: str, device: str | None, batch_size: int) -> None:
        super().__init__(f"{name} {weights}" if weights else name, digest, device, batch_size)
        self._architecture, self._weights = name, weights

    def _load(self) -> Any:
        import open_clip

        if self._weights is not None and Path(self._weights).is_file() and _is_torchscript(Path(self._weights)):
            raise V2XumError(
                f"{self._weights}: is OpenAI's own archive, whose activation open_clip's {self._architecture} may not "
                "have; give the file in place of the name"
            )
        # open_clip only warns where a tag's weights were trained with QuickGELU and the model of this name has GELU
        known = self._weights and open_clip.get_pretrained_cfg(self._architecture.replace("/", "-"), self._weights)
        try:
            model = open_clip.create_model(
                self._architecture, pretrained=self._weights, precision="fp32", require_pretrained=True,
                force_quick_gelu=bool(known and known.get("quick_gelu")),
            )  # fmt: skip
        except Exception as error:  # of its own, the hub client's, the HTTP library's and torch's types
            raise V2XumError(f"{self.name}: expected a CLIP of open_clip, and it cannot be loaded ({error})") from error
        return model

    @cached_property
    def _transform(self) -> Callable:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        return image_transform_v2(PreprocessCfg(**self.model.visual.preprocess_cfg), is_train=False)

    @cached_property
    def _tokenizer(self) -> Any:
        import open_clip

        return open_clip.get_tokenizer(self._architecture, context_length=self.model.context_length)

    def _width(self) -> int:
        return self.model.visual.output_dim

    def _fits(self, text: str) -> bool:
        # a wrapped tokenizer of transformers, or open_clip's own; both put a token before the text's and one behind it
        encode = getattr(self._tokenizer, "tokenizer", self._tokenizer).encode
        options = {"add_special_tokens": False} if hasattr(self._tokenizer, "tokenizer") else {}
        return len(encode(text, **options)) + 2 <= self.model.context_length

    def _frame_features(self, frames: np.ndarray) -> Tensor:
        import torch
        from PIL import Image

        pixels = torch.stack([self._transform(Image.fromarray(frame)) for frame in frames])
        return self.model.encode_image(pixels.to(self.device))

    def _text_features(self, texts: Sequence[str]) -> Tensor:
        return self.model.encode_text(self._tokenizer(list(texts)).to(self.device))


class OpenaiClip(OpenClip):
    """OpenAI's CLIP from its own file, run by open_clip."""

    def __init__(self, name: str, digest: str, device: str | None, batch_size: int) -> None:
        super().__init__(name, None, digest, device, batch_size)

    def _load(self) -> Any:
        from open_clip.transform import PreprocessCfg

        from ...features.towers import load_openai_archive

        model = load_openai_archive(Path(self._architecture))
        model.visual.preprocess_cfg = vars(PreprocessCfg(size=model.visual.image_size))  # OpenAI's mean and deviation
        return model

    @cached_property
    def _tokenizer(self) -> Any:
        import open_clip

        return open_clip.SimpleTokenizer(context_length=self.model.context_length)


class TransformersClip(ClipModel):
    """A transformers `CLIPModel` with its tokenizer and image processor, from a folder or the hub."""

    def _load(self) -> Any:
        from ...features.upstream import AutoConfig, AutoTokenizer, CLIPImageProcessor, CLIPModel

        try:
            kind = AutoConfig.from_pretrained(self.name).model_type
            if kind != "clip":
                raise V2XumError(f"its model_type is {kind!r}, not 'clip'")
            model, report = CLIPModel.from_pretrained(self.name, output_loading_info=True)
            self._tokenizer = AutoTokenizer.from_pretrained(self.name)
            self._processor = CLIPImageProcessor.from_pretrained(self.name)
        except Exception as error:  # of transformers, the hub client, safetensors and torch
            raise V2XumError(
                f"{self.name}: expected a CLIP with tokenizer and image processor, and it cannot be loaded ({error})"
            ) from error
        missing = sorted(name for name in report["missing_keys"] if not name.endswith("position_ids"))
        if missing:  # transformers would go on with random values
            raise V2XumError(f"{self.name}: expected a CLIP with its towers and projections, got none of {missing[:4]}")
        if len(self._tokenizer) < model.config.text_config.vocab_size:  # without its files there is an empty one
            raise V2XumError(
                f"{self.name}: expected a tokenizer of {model.config.text_config.vocab_size} tokens, got one of "
                f"{len(self._tokenizer)}"
            )
        return model

    def _width(self) -> int:
        return self.model.config.projection_dim

    def _fits(self, text: str) -> bool:
        context = self.model.config.text_config.max_position_embeddings  # loads the tokenizer too
        return len(self._tokenizer(text, verbose=False).input_ids) <= context

    def _frame_features(self, frames: np.ndarray) -> Tensor:
        from ...features.encoder import normalize, resize

        model = self.model
        pixels = normalize(resize(frames, self._processor, None).to(self.device), self._processor)
        return model.visual_projection(model.vision_model(pixels).pooler_output)

    def _text_features(self, texts: Sequence[str]) -> Tensor:
        model = self.model
        tokens = self._tokenizer(list(texts), padding=True, return_tensors="pt").to(self.device)
        found = model.text_model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        return model.text_projection(found.pooler_output)


def _is_torchscript(file: Path) -> bool:
    """Whether a file is an archive of torch.jit.save, as OpenAI's are."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _folder_digest(folder: Path) -> str:
    """Of a folder's configuration, tokenizer and weights: all that decides its vectors."""
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not weights:
        raise V2XumError(f"{folder}: expected weights, *.safetensors or *.bin, found none")
    others = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".txt", ".model") and file.is_file())
    return _digest("folder", *(part for file in [*others, *weights] for part in (file.name, file)))


def _digest(*parts: str | Path) -> str:
    """A hash of names, and of files' contents."""
    digest = hashlib.blake2b(json.dumps([_RECIPE, *(part for part in parts if isinstance(part, str))]).encode())
    for part in parts:
        if isinstance(part, Path):
            with open(part, "rb") as file:
                while chunk := file.read(2**20):
                    digest.update(chunk)
    return digest.hexdigest()[:32]
