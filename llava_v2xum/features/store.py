"""The folder that keeps frame features.

Shapes: N frames of a video, m visual tokens of a frame, C feature width.
"""

from __future__ import annotations

import io
import json
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..core.atomic import replacing
from ..core.errors import V2XumError
from ..core.sampling import LINSPACE, SAMPLING_KEY
from .description import SAMPLE, differences
from .sources import NOTE, SourceLog, same_source

logger = logging.getLogger(__name__)

DTYPE = "float16"
_DEAD_SECONDS = 3600  # our choice: a file is written in milliseconds, so one this old is a dead process's


class DamagedFeatures(V2XumError):
    """A stored file is no whole array; it can be made again."""


class FeatureFolder:
    """A folder of `ID.npy`, float16 [N, C] or [N, m, C] each (the released code's layout).

    Beside them `features.json` notes what they are, and `sources.jsonl` which file each was made of and when its N
    frames are shown (which folders of older releases do not tell). A folder without the note, as the released code
    writes it, is read with the shapes as the only check, by a model that samples as that code does.

    Args:
        path: the folder; made at the first save.
        description: what the features must be (`describe`).
        rank: of this process among those that write to the folder at the same time.

    Raises:
        V2XumError: if the folder's note says that its features are others; it names the fields.
        NotADirectoryError: if the path is a file.
    """

    NOTE = NOTE

    def __init__(self, path: str | os.PathLike, description: dict, rank: int = 0) -> None:
        self.path = Path(path)
        self.description = description
        self.sources = SourceLog(self.path, rank)
        self._is_noted = False
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"{self.path}: expected a folder of features, got a file")
        if not self._check_note() and self._holds_features():
            if (rule := description.get(SAMPLING_KEY, LINSPACE)) != LINSPACE:  # the released code knows no other
                what = f"{self.path}: holds features without {self.NOTE}"
                raise V2XumError(f"{what}: {SAMPLING_KEY}: expected {rule!r}, got {LINSPACE!r}")
            logger.warning("%s: has no %s: only the shapes of its features can be checked", self.path, self.NOTE)

    def _check_note(self) -> bool:
        """Compare the folder's note with the description; False if there is none."""
        note = self.path / self.NOTE
        try:
            found = json.loads(note.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return False
        except ValueError as error:
            raise V2XumError(f"{note}: expected JSON that says what the features are ({error})") from error
        if not isinstance(found, dict):
            raise V2XumError(f"{note}: expected a JSON object, got a {type(found).__name__}")
        told = differences(found, self.description)
        if told:
            raise V2XumError(f"{note}: the stored features are not those that this model needs: {'; '.join(told)}")
        if SAMPLE in self.description and SAMPLE not in found:
            logger.info("%s: does not sample the tower's weights: the tower is compared by name", note)
        self._is_noted = True
        return True

    def _write_note(self) -> None:
        """Note what the features are, where no process has yet.

        Raises:
            V2XumError: if the folder holds features that nothing is known of: a note would vouch for them.
        """
        if self._is_noted or self._check_note():
            return
        if self._holds_features() and not self._check_note():  # looked at twice: another rank may just have begun
            raise V2XumError(
                f"{self.path}: holds features without {self.NOTE}, so more cannot be added; give a new folder"
            )
        if not self._is_noted:
            part = self.path / f".{self.NOTE}.{os.getpid()}.part"
            note = {**self.description, "dtype": DTYPE}
            if note.get(SAMPLING_KEY) == LINSPACE:  # what older releases mean, which refuse a key that is new to them
                del note[SAMPLING_KEY]
            part.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
            try:
                os.link(part, self.path / self.NOTE)  # unlike a replacement it leaves another run's note alone
            except FileExistsError:
                pass  # another rank was faster; compared below
            except OSError:  # a file system without hard links, such as exFAT
                os.replace(part, self.path / self.NOTE)
            finally:
                part.unlink(missing_ok=True)
            self._check_note()

    def _holds_features(self) -> bool:
        if not self.path.is_dir():
            return False
        with os.scandir(self.path) as entries:
            return any(_is_features(entry.name) for entry in entries)

    def ids(self) -> set[str]:
        """The videos whose features are here, by one look at the folder."""
        if not self.path.is_dir():
            return set()
        with os.scandir(self.path) as entries:
            return {entry.name.removesuffix(".npy") for entry in entries if _is_features(entry.name)}

    def __contains__(self, video_id: str) -> bool:
        return self._file(video_id).exists()

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of the videos whose features are not here, each once, in their order."""
        here = self.ids()
        return [video_id for video_id in dict.fromkeys(ids) if video_id not in here]

    def holds(self, video_id: str, shape: tuple[int, ...], source: dict | None = None) -> bool:
        """Whether `load` would give the features, from the file's head and size alone.

        Raises:
            V2XumError: as `load`.
        """
        return self._open(video_id, shape, source, mmap_mode="r") is not None

    def check(self, video_id: str, shape: tuple[int, ...], full: bool = False) -> None:
        """Whether stored features can be trained on: head, shape and size of the file, and a look at the numbers.

        Args:
            full: look at all of them, not at every eighth frame's and the last one's.

        Raises:
            V2XumError: as `load`, and if numbers are not finite.
        """
        features = self._open(video_id, shape, None, mmap_mode="r")
        if features is None:
            return
        looked_at = features if full else features[sorted({*range(0, len(features), 8), len(features) - 1})]
        bad = ~np.isfinite(looked_at)
        if bad.any():
            some = "" if full else f" of {len(looked_at)} frames"
            raise V2XumError(
                f"{self._file(video_id)}: expected finite features, got {bad.sum()} of {bad.size}{some} NaN or infinite"
            )

    def load(self, video_id: str, shape: tuple[int, ...], source: dict | None = None) -> np.ndarray | None:
        """The stored features of a video, or None if there are none.

        Args:
            shape: what they must have: (N, C) or (N, m, C), `FrameFeature.shape`.
            source: what is known of the video's file (`file_source`); compared with what `save` was given.

        Raises:
            DamagedFeatures: if the file is not a whole array; it is a V2XumError.
            V2XumError: if the array has another shape or no floating dtype, or was made of another video of the
                same name, or of another track of it.
        """
        return self._open(video_id, shape, source)

    def _open(self, video_id, shape, source, mmap_mode=None) -> np.ndarray | None:
        file = self._file(video_id)
        if not file.exists():
            return None
        if source is not None and not same_source(found := self.sources.get(video_id) or {}, source):
            what = f"{file}: made of another video named {video_id!r}, or of another track of it"
            raise V2XumError(f"{what}: expected {source}, got {found}")
        try:
            features = np.load(file, mmap_mode=mmap_mode, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise DamagedFeatures(f"{file}: not a readable NumPy array ({error})") from error
        if not isinstance(features, np.ndarray):
            raise DamagedFeatures(f"{file}: expected one NumPy array, got a {type(features).__name__}")
        if features.shape != tuple(shape):
            raise V2XumError(f"{file}: expected features of shape {list(shape)}, got {list(features.shape)}")
        if not np.issubdtype(features.dtype, np.floating):
            raise V2XumError(f"{file}: expected features of a floating dtype ({DTYPE}), got {features.dtype}")
        return features

    def save(self, video_id: str, features: np.ndarray, source: dict | None = None) -> None:
        """Store one video's features, and what is known of its file; a kill leaves either whole files or none.

        Raises:
            V2XumError: if a feature is not finite in float16, or the folder holds features without a note.
        """
        file = self._file(video_id)
        with np.errstate(over="ignore"):  # looked for below
            stored = features.astype(DTYPE)
        if not np.isfinite(stored).all():
            raise V2XumError(f"{file}: expected features that {DTYPE} can hold, got {(~np.isfinite(stored)).sum()} "
                             f"of {stored.size} that are not finite or too large")  # fmt: skip
        self.path.mkdir(parents=True, exist_ok=True)
        self._write_note()
        if source is not None:
            file.unlink(missing_ok=True)  # else, after a kill, the features of an older file would pass for the new
            self.sources.append(video_id, source)
        with replacing(file) as part, open(part, "wb") as writer:
            data = io.BytesIO()  # straight to a file NumPy hides why it could not write
            np.save(data, stored)
            writer.write(data.getbuffer())
            writer.flush()
            os.fsync(writer.fileno())

    def clean(self, ids: Iterable[str]) -> None:
        """Delete what killed processes left half written: of these videos, and of any that is old enough.

        Args:
            ids: the videos that this process alone writes.
        """
        if not self.path.is_dir():
            return
        own = {f".{video_id}.part.npy" for video_id in ids}
        with os.scandir(self.path) as entries:
            for entry in entries:
                if _is_unfinished(entry.name) and (entry.name in own or _is_old(entry)):
                    Path(entry.path).unlink(missing_ok=True)

    def _file(self, video_id: str) -> Path:
        if not video_id or os.path.basename(video_id) != video_id:
            raise V2XumError(f"expected a video id that can be a file's name, got {video_id!r}")
        return self.path / f"{video_id}.npy"


def _is_features(name: str) -> bool:
    return name.endswith(".npy") and not _is_unfinished(name)


def _is_unfinished(name: str) -> bool:
    """Whether it is a name that `replacing`, or the note's first writing, gives to what it has not finished."""
    return name.startswith(".") and (name.endswith(".part.npy") or name.endswith(".part"))


def _is_old(entry: os.DirEntry) -> bool:
    try:
        return time.time() - entry.stat().st_mtime > _DEAD_SECONDS
    except FileNotFoundError:  # its writer has just finished
        return False
