"""The folder that keeps frame features.

Shapes: N frames of a video, m visual tokens of a frame, C feature width.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from ..atomic import replacing


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

    def load(self, video_id: str, shape: tuple[int, ...], source: dict | None = None) -> np.ndarray | None:
        """The stored features of a video, or None if there are none.

        Args:
            shape: what they must have: (N, C) or (N, m, C), `FrameFeature.shape`.
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
        if features.shape != tuple(shape):
            raise ValueError(f"{file}: expected features of shape {list(shape)}, got {list(features.shape)}")
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
