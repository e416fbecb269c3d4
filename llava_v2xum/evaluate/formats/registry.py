"""Other systems' prediction files: which formats there are, and reading and writing them.

`PREDICTION_FORMATS` names them; another format is a module with a read and a write function, and one line there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.errors import V2XumError
from ...core.readers import SourceError
from . import caption_files, score_files
from .detect import PREDICTIONS, format_of
from .predictions import CLOCKS, SUMMARIES, Prediction, read_predictions, write_predictions
from .written import Written

AUTO = "auto"


@dataclass(frozen=True)
class Format:
    """How one format is read and written.

    Args:
        read: (path, num_frames or None) -> predictions by video id, in the order of the file; raises V2XumError naming
            file and video.
        write: (path, predictions) -> what was written; what a format cannot hold is left out and counted.
        help: one line for people.
    """

    read: Callable[[Path, int | None], dict[str, Prediction]]
    write: Callable[[Path, Iterable[Prediction]], Written]
    help: str


def _read_form(path: Path, num_frames: int | None) -> dict[str, Prediction]:
    return read_predictions(path / SUMMARIES if path.is_dir() else path, num_frames)


def _write_form(path: Path, predictions: Iterable[Prediction]) -> Written:
    return Written(write_predictions(path, predictions), "videos")


PREDICTION_FORMATS: dict[str, Format] = {
    PREDICTIONS: Format(
        _read_form, _write_form, "this project's form, JSON lines; summaries.jsonl of infer, or its folder; raw answers"
    ),
    "scores-json": Format(
        score_files.read_json, score_files.write_json, "importance of every sample: JSON {id: [scores]}"
    ),
    "scores-npy": Format(
        score_files.read_folder, score_files.write_folder, "importance of every sample: a folder of ID.npy"
    ),
    "scores-h5": Format(
        score_files.read_h5, score_files.write_h5, "importance of every sample: HDF5 with ID or ID/score"
    ),
    "coco-captions": Format(
        caption_files.read_coco, caption_files.write_coco, "text: COCO's [{image_id, caption}, ...]"
    ),
    "dense-captions": Format(
        caption_files.read_dense,
        caption_files.write_dense,
        "sentences with their seconds: {results: {id: [{sentence, timestamp: [start, end]}, ...]}}",
    ),
}


def load_predictions(
    path: str | os.PathLike[str], name: str = AUTO, num_frames: int | None = None, clock: str | None = None
) -> dict[str, Prediction]:
    """Read a prediction file of any format.

    Args:
        name: of `PREDICTION_FORMATS`, or "auto" for `detect.format_of`.
        num_frames: N of predictions that do not say it.
        clock: what the indexes count ("prompts" or "samples"), in place of what the file says or its format means;
            score files are taken to count samples.

    Returns:
        the predictions by video id, in the order of the file.

    Raises:
        V2XumError: naming the file, and the video where it is one's; if the name or the clock is unknown.
        OSError: if the file cannot be read.
        MissingExtra: if the format needs a package that is not installed.
    """
    path = Path(path)
    if clock is not None and clock not in CLOCKS:
        raise V2XumError(f"clock must be one of {', '.join(CLOCKS)}, got {clock!r}")
    if name == AUTO:
        name = format_of(path, PREDICTIONS, PREDICTION_FORMATS, "--prediction-format")
    if name not in PREDICTION_FORMATS:
        raise V2XumError(f"format must be one of {', '.join(PREDICTION_FORMATS)}, got {name!r}")
    try:
        predictions = PREDICTION_FORMATS[name].read(path, num_frames)
    except SourceError as error:
        raise V2XumError(str(error)) from error
    return predictions if clock is None else {key: replace(one, clock=clock) for key, one in predictions.items()}
