"""What a form of a summary's files is; `formats.py` has all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.summary import Summary

PAGE_NAME = "index.html"  # the page of a folder's files (`page/`), written when these are there


@dataclass(frozen=True)
class FileFormat:
    """One file of a summary.

    Attributes:
        file_name: in the video's folder.
        write: given a record (`render.make_record`), the frames uint8 [N, H, W, 3] and the path, writes the file whole
            or not at all (`core.atomic.replacing`).
        is_of: whether a record gives such a file; where it gives none, one of an earlier run is removed.
        needs_frames: whether `write` looks at the frames; without, there may be none.
        is_drawn: whether writing costs more than sending all to another process, which then does it.
        by_default: whether it is written where nothing is said.
        help: of a form for other tools, which `--export` lists: what it is.
        read: given a file of the form and the seconds of the N frames, ascending, where they are known, what it holds
            of the summary; raises V2XumError naming the file. None where the form holds too little.
        needs: a module without which it cannot be written, and the extra that brings it.
    """

    file_name: str
    write: Callable[[dict, np.ndarray, Path], None]
    is_of: Callable[[dict], bool] = lambda record: True
    needs_frames: bool = False
    is_drawn: bool = False
    by_default: bool = False
    help: str = ""
    read: Callable[[Path, Sequence[float] | None], Summary] | None = None
    needs: tuple[str, str] | None = None
