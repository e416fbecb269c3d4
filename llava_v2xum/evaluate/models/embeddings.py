"""Embeddings of frames and sentences, kept on disk by content: a second run computes nothing and decodes nothing.

Shapes: K frames, m parts of a text, D width of the embedding.

A vector's key is a hash of the model's digest and of what was embedded: the text; or the video file's content and the
moment in it. A file's content hash is remembered by its path, size and time of change, so that it is read once.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ...core.errors import V2XumError
from .clip_base import ClipModel
from .frames import Moment, read_moments

_APPLICATION = 0x56325843  # "V2XC", marks the file as ours
_VERSION = 1
_TABLES = """
create table if not exists vectors (key blob primary key, rows integer not null, data blob not null);
create table if not exists files
    (path text primary key, bytes integer not null, changed integer not null, digest text not null);
"""
_KEYS_AT_ONCE = 500  # SQLite takes 999 parameters in its oldest builds
_UNIT_TOLERANCE = 1e-3


class EmbeddingCache:
    """Unit vectors by key, in one SQLite file; what was put in survives a kill.

    Args:
        path: the file; made where it is not there. None keeps everything in memory.

    Raises:
        V2XumError: if the file is no such cache, or a damaged one; then (and from every method) the message names it.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path) if path is not None else None
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._readable():
            self._base = sqlite3.connect(str(self.path) if self.path else ":memory:", timeout=60)
            self._open()

    def __enter__(self) -> EmbeddingCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; everything is on disk already."""
        self._base.close()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """The vectors that are there, float32 [m, D] by key; other keys are left out."""
        keys, found = list(dict.fromkeys(keys)), {}
        with self._readable():
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                part = keys[start : start + _KEYS_AT_ONCE]
                marks = ",".join("?" * len(part))
                for key, rows, data in self._base.execute(
                    f"select key, rows, data from vectors where key in ({marks})", part
                ):
                    found[key] = self._vectors(rows, data)
        return found

    def put(self, vectors: Mapping[bytes, np.ndarray]) -> None:
        """Keep unit vectors, float32 [m, D] by key; all of them are on disk when this returns, or none."""
        rows = [(key, len(one), np.ascontiguousarray(one, dtype="<f4").tobytes()) for key, one in vectors.items()]
        with self._readable(), self._base:
            self._base.executemany("insert or replace into vectors values (?, ?, ?)", rows)

    def file_digest(self, path: str | Path) -> str:
        """The hash of a file's content; the file is read only if its size or time of change is new.

        Raises:
            OSError: if it cannot be read.
        """
        path = Path(path).resolve()
        state = path.stat()
        known = (state.st_size, state.st_mtime_ns)
        with self._readable():
            row = self._base.execute("select bytes, changed, digest from files where path = ?", (str(path),)).fetchone()
        if row is not None and row[:2] == known:
            return row[2]
        digest = hashlib.blake2b(digest_size=16)
        with open(path, "rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
        with self._readable(), self._base:
            self._base.execute(
                "insert or replace into files values (?, ?, ?, ?)", (str(path), *known, digest.hexdigest())
            )
        return digest.hexdigest()

    def _open(self) -> None:
        marks = [self._base.execute(f"pragma {name}").fetchone()[0] for name in ("application_id", "user_version")]
        if marks == [_APPLICATION, _VERSION]:
            return
        if marks != [0, 0] or self._base.execute("select count(*) from sqlite_master").fetchone()[0]:
            raise V2XumError(f"{self.path}: expected a cache of embeddings (version {_VERSION}), got other tables")
        with self._base:  # in one transaction, and once more where another process was as quick
            marked = f"pragma application_id = {_APPLICATION}; pragma user_version = {_VERSION};"
            self._base.executescript(f"begin immediate; {_TABLES} {marked} commit;")

    def _vectors(self, rows: int, data: bytes) -> np.ndarray:
        if rows < 1 or not data or len(data) % (4 * rows):
            raise self._damaged(f"{len(data)} bytes for {rows} vectors")
        vectors = np.frombuffer(data, dtype="<f4").reshape(rows, -1)
        lengths = np.linalg.norm(vectors, axis=1)
        if not (np.abs(lengths - 1) < _UNIT_TOLERANCE).all():
            raise self._damaged(f"vectors of length {lengths.tolist()} where unit vectors were written")
        return vectors

    def _damaged(self, found: object) -> V2XumError:
        return V2XumError(
            f"{self.path}: is no whole cache of embeddings ({found}); delete it, and the next run makes it again"
        )

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # locked, no room, no permission: the file itself is sound
            raise OSError(f"{self.path}: the cache of embeddings cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error


class Embedder:
    """Embeddings by a model, taken from the cache where they are there.

    Args:
        model: only asked, and its weights only read, for what the cache lacks.
        cache: None keeps what was embedded in memory alone.
    """

    def __init__(self, model: ClipModel, cache: EmbeddingCache | None = None) -> None:
        self.model = model
        self.cache = cache if cache is not None else EmbeddingCache()

    def frames(self, path: str | Path, moments: Sequence[Moment], track: int | None = None) -> np.ndarray:
        """Unit vectors of a video's frames, float32 [K, D], in the order of the moments; [0, 0] for none.

        Args:
            track: which of several video tracks, as `read_moments`.

        Raises:
            VideoError: if the file cannot be read as a video.
            V2XumError: if a moment lies outside it.
        """
        if not moments:
            return np.zeros((0, 0), dtype=np.float32)
        file = self.cache.file_digest(path)
        of_track = [] if track is None else [f"track {track}"]
        keys = [self._key("frame", file, _name(moment), *of_track) for moment in moments]
        known = self.cache.get(keys)
        lacking = {key: moment for key, moment in zip(keys, moments) if key not in known}
        names, places = list(lacking), list(lacking.values())
        for which, frames in read_moments(path, places, track=track):
            made = {names[place]: row[None] for place, row in zip(which, self.model.embed_frames(frames))}
            self.cache.put(made)
            known.update(made)
        return np.concatenate([known[key] for key in keys])

    def texts(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Unit vectors of each text, float32 [m, D]: one, or one for each part where it is longer than the context.

        Raises:
            V2XumError: if a text is blank.
        """
        keys = [self._key("text", text) for text in texts]
        known = self.cache.get(keys)
        lacking = {key: text for key, text in zip(keys, texts) if key not in known}
        if lacking:
            made = dict(zip(lacking, self.model.embed_each_text(list(lacking.values()))))
            self.cache.put(made)
            known.update(made)
        return [known[key] for key in keys]

    def _key(self, *parts: str) -> bytes:
        return hashlib.blake2b("\0".join([self.model.digest, *parts]).encode(), digest_size=16).digest()


def _name(moment: Moment) -> str:
    return " ".join([type(moment).__name__, *(repr(float(number)) for number in moment)])
