"""Frames -> frame features, and the folder that keeps them."""

from .description import describe, differences, sample_tower
from .encoder import FrameEncoder, normalize, pad_to_square, resize
from .kinds import CLASS_TOKEN, CLIP_EMBEDDING, FRAME_FEATURES, PATCH_MEAN, FrameFeature, pool_patches
from .sources import file_source
from .store import DamagedFeatures, FeatureFolder
from .towers import EmbeddingTower, HubClipTower, OpenClipTower, embedding_tower

__all__ = [
    "CLASS_TOKEN",
    "CLIP_EMBEDDING",
    "FRAME_FEATURES",
    "PATCH_MEAN",
    "DamagedFeatures",
    "EmbeddingTower",
    "FeatureFolder",
    "FrameEncoder",
    "FrameFeature",
    "HubClipTower",
    "OpenClipTower",
    "describe",
    "differences",
    "embedding_tower",
    "file_source",
    "normalize",
    "pad_to_square",
    "pool_patches",
    "resize",
    "sample_tower",
]
