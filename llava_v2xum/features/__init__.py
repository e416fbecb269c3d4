"""Frames -> frame features, and the folder that keeps them.

Importing the package does not load torch: a public name is loaded when it is first used.
"""

from ..core.lazy import names_of

_HOMES = {
    "CLASS_TOKEN": "kinds",
    "CLIP_EMBEDDING": "kinds",
    "FRAME_FEATURES": "kinds",
    "PATCH_MEAN": "kinds",
    "DamagedFeatures": "store",
    "EmbeddingTower": "towers",
    "FeatureFolder": "store",
    "FrameEncoder": "encoder",
    "FrameFeature": "kinds",
    "HubClipTower": "towers",
    "OpenClipTower": "towers",
    "describe": "description",
    "differences": "description",
    "embedding_tower": "towers",
    "file_source": "sources",
    "normalize": "encoder",
    "pad_to_square": "encoder",
    "pool_patches": "tower_kinds",
    "resize": "encoder",
    "sample_tower": "description",
}

__all__ = [*_HOMES]

__getattr__ = names_of(__name__, _HOMES)
