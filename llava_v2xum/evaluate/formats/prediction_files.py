"""Prediction files of any format, read."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ...core.errors import V2XumError
from ...core.readers import SourceError
from .detect import format_of
from .format import AUTO, PREDICTIONS
from .format_registry import PREDICTION_FORMATS
from .predictions import Prediction, checked_clock


def load_predictions(
    path: str | os.PathLike[str], name: str = AUTO, num_frames: int | None = None, clock: str | None = None
) -> dict[str, Prediction]:
    """Read a prediction file of any format.

    Args:
        name: of `PREDICTION_FORMATS`, or "auto" for `detect.format_of`.
        num_frames: N of predictions that do not say it.
        clock: of `CLOCKS`, in place of what the file says or its format means; score files are taken to count samples.

    Returns:
        the predictions by video id, in the order of the file.

    Raises:
        V2XumError: naming the file, and the video where it is one's; if the name or the clock is unknown.
        OSError: if the file cannot be read.
        MissingExtra: if the format needs a package that is not installed.
    """
    path = Path(path)
    clock = None if clock is None else checked_clock(clock)
    if name == AUTO:
        name = format_of(path, PREDICTIONS)
    read = PREDICTION_FORMATS[name].read if name in PREDICTION_FORMATS else None
    if read is None:
        raise V2XumError(f"format must be one of {', '.join(PREDICTION_FORMATS)}, got {name!r}")
    try:
        predictions = read(path, num_frames)
    except SourceError as error:
        raise V2XumError(str(error)) from error
    return predictions if clock is None else {key: replace(one, clock=clock) for key, one in predictions.items()}
