"""A model that a stage loads at its first use and that its threads share; and what tells one model from another."""

from __future__ import annotations

import hashlib
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...core.errors import V2XumError

_HUB_NAME = re.compile(r"([\w-][\w.-]*/)?[\w-][\w.-]*")  # NAME or OWNER/NAME
_BESIDE_WEIGHTS = (".json", ".txt", ".model", ".tsv")  # configuration and tokenizer


class LoadedOnce(ABC):
    """Holds a model from its first use on; one thread uses it at a time. A pickle holds none."""

    def __init__(self) -> None:
        self._lock, self._model = threading.Lock(), None

    @abstractmethod
    def load(self) -> Any:
        """Load the model; is called once, unless it raises."""

    @contextmanager
    def model(self) -> Iterator[Any]:
        """The model, for this thread alone while the context lasts."""
        with self._lock:
            if self._model is None:
                self._model = self.load()
            yield self._model

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_model")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock, self._model = threading.Lock(), None


def name_of(model: str) -> str:
    """What people call a model: of a folder or a file the name alone, as cards go to others."""
    path = Path(model).expanduser()
    return path.resolve().name if path.exists() else model


def model_identity(model: str) -> str:
    """What a model is told apart by in settings: its name at a hub, or a hash of what is in its folder.

    Neither a folder's name nor its place counts. A model at a hub may change under its name; a folder tells.

    Raises:
        V2XumError: naming it, if it is a path without a folder there, or the folder has no weights.
        OSError: if a file cannot be read.
    """
    folder = Path(model)
    if not folder.is_dir():
        if _HUB_NAME.fullmatch(model) is None:
            raise V2XumError(f"there is no folder {model}")
        return model
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not weights:
        raise V2XumError(f"{folder}: expected weights, *.safetensors or *.bin, found none")
    digest = hashlib.sha256()
    beside = sorted(file for file in folder.iterdir() if file.suffix in _BESIDE_WEIGHTS and file.is_file())
    for file in [*beside, *weights]:
        digest.update(f"{file.name} {file.stat().st_size} ".encode())
        with open(file, "rb") as opened:
            while chunk := opened.read(2**20):
                digest.update(chunk)
    return f"sha256:{digest.hexdigest()[:32]}"
