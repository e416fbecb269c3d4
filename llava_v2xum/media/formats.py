"""The forms of a summary's files, by the names that `--format` has for them, and writing them.

A further form is a file of its own, with a `FileFormat` in it, and a line here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..core.errors import V2XumError
from .cut import CLIP
from .figures import SHEET
from .file_format import FileFormat
from .plot import PLOT
from .render import JSON

FORMATS: dict[str, FileFormat] = {
    "json": JSON,
    "sheet": SHEET,
    "plot": PLOT,
    "clip": CLIP,
}
DEFAULT_FORMATS = tuple(name for name, form in FORMATS.items() if form.by_default)


def write_files(
    record: dict, frames: np.ndarray, directory: str | os.PathLike[str], formats: Sequence[str] = DEFAULT_FORMATS
) -> list[Path]:
    """Write the files of one summary, each put in place only when complete, summary.json last.

    Where the answer cites nothing there is no clip, and one of an earlier run is removed.

    Args:
        record: from `make_record`; the clip is cut from its video.
        frames: uint8 [N, H, W, 3], RGB, upright.
        directory: made if it is missing.
        formats: names in `FORMATS`.

    Returns:
        The files written, in the order of `FORMATS`.

    Raises:
        V2XumError: if a format is none of these, or the frames do not fit the record.
        ClipError, VideoError: if the clip cannot be cut; the pictures are written by then.
        ImportError: if the plot is asked for and matplotlib is missing.
    """
    check_formats(formats, "formats must be of")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths = {name: directory / form.file_name for name, form in FORMATS.items() if name in formats}
    for name in sorted(paths, key="json".__eq__):  # which says that the others are there
        if FORMATS[name].is_of(record):
            FORMATS[name].write(record, frames, paths[name])
        else:
            paths[name].unlink(missing_ok=True)
    return [path for path in paths.values() if path.exists()]


def check_formats(formats: Sequence[str], expected: str) -> None:
    """Refuse names that are in `FORMATS` not.

    Raises:
        V2XumError: beginning with `expected`.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise V2XumError(f"{expected} {', '.join(FORMATS)}, got {', '.join(unknown)}")
