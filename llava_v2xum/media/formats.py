"""The forms of a summary's files, by the names that `--format` has for them, and writing them.

A further form is a file of its own, with a `FileFormat` in it, and a line here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..core.errors import V2XumError
from ..core.extras import require
from ..core.summary import Summary
from .cut import CLIP
from .exports.chapters import FFMETADATA, YOUTUBE
from .exports.cuts import EDL, OTIO
from .exports.frame_table import CSV
from .exports.subtitles import JSON3, SRT, VTT
from .figures import SHEET
from .file_format import PAGE_NAME, FileFormat
from .plot import PLOT
from .render import JSON

FORMATS: dict[str, FileFormat] = {
    "json": JSON,
    "sheet": SHEET,
    "plot": PLOT,
    "clip": CLIP,
    "vtt": VTT,
    "srt": SRT,
    "chapters": YOUTUBE,
    "ffmetadata": FFMETADATA,
    "edl": EDL,
    "otio": OTIO,
    "csv": CSV,
    "json3": JSON3,
}
DEFAULT_FORMATS = tuple(name for name, form in FORMATS.items() if form.by_default)
EXPORTS = tuple(name for name, form in FORMATS.items() if form.help)  # for other tools


def write_files(
    record: dict, frames: np.ndarray, directory: str | os.PathLike[str], formats: Sequence[str] = DEFAULT_FORMATS
) -> list[Path]:
    """Write the files of one summary, each put in place only when complete, summary.json last.

    Where the answer cites nothing there is no clip, and one of an earlier run is removed; so is the page of what was
    there before.

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
    (directory / PAGE_NAME).unlink(missing_ok=True)
    paths = {name: directory / form.file_name for name, form in FORMATS.items() if name in formats}
    for name in sorted(paths, key="json".__eq__):  # which says that the others are there
        if FORMATS[name].is_of(record):
            FORMATS[name].write(record, frames, paths[name])
        else:
            paths[name].unlink(missing_ok=True)
    return [path for path in paths.values() if path.exists()]


def check_formats(formats: Sequence[str], expected: str) -> None:
    """Refuse names that are in `FORMATS` not, and those of forms that cannot be written here.

    Raises:
        V2XumError: beginning with `expected`.
        MissingExtra: if a package is not installed.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise V2XumError(f"{expected} {', '.join(FORMATS)}, got {', '.join(unknown)}")
    for needs in (FORMATS[name].needs for name in formats):
        if needs is not None:
            require(*needs)


def read_summary(path: str | os.PathLike[str], frame_seconds: Sequence[float] | None = None) -> Summary:
    """What a file of a summary holds of it: summary.json, or a form of `EXPORTS` that holds sentences with frames.

    Subtitles in SubRip and json3 tell times and no frames: these come with `frame_seconds`, and cues of one text are
    then one sentence. Times are rounded to milliseconds there.

    Args:
        frame_seconds: float [N], ascending, as in summary.json.

    Raises:
        V2XumError: naming the file, if it is of no form that can be read back, or damaged.
        MissingExtra: if a package is not installed.
        OSError: if it cannot be read.
    """
    path = Path(path)
    readable = {Path(form.file_name).suffix: form.read for form in FORMATS.values() if form.read}
    read = readable.get(path.suffix)
    if read is None:
        raise V2XumError(f"{path}: expected a file that ends in one of {', '.join(readable)}")
    try:
        return read(path, frame_seconds)
    except UnicodeDecodeError as error:
        raise V2XumError(f"{path}: expected text in UTF-8 ({error})") from error
