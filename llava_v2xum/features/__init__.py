"""Frames -> frame features, and the folder that keeps them."""

from .encoder import FrameEncoder, pad_to_square
from .kinds import CLASS_TOKEN, CLIP_EMBEDDING, FRAME_FEATURES, PATCH_MEAN, FrameFeature, pool_patches
from .store import FeatureFolder
from .towers import EmbeddingTower, HubClipTower, OpenClipTower, embedding_tower

__all__ = [
    "CLASS_TOKEN",
    "CLIP_EMBEDDING",
    "FRAME_FEATURES",
    "PATCH_MEAN",
    "EmbeddingTower",
    "FeatureFolder",
    "FrameEncoder",
    "FrameFeature",
    "HubClipTower",
    "OpenClipTower",
    "embedding_tower",
    "pad_to_square",
    "pool_patches",
]
