"""What the readers of array files share: HDF5 and MATLAB.

Shapes: F original frames, T samples, A annotators.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .errors import V2XumError
from .extras import require
from .readers import SourceError

EXTRA = "metrics"  # of setup.py: it brings h5py and scipy
PICK_EVERY = 15  # frames; Zhang et al. 2016 (eccv16) sample TVSum and SumMe at 2 FPS, every 15th frame


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading.

    Raises:
        SourceError: naming the file, if it cannot be read or is no HDF5.
        MissingExtra: if h5py is not installed.
    """
    h5py = require("h5py", EXTRA)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if error.errno is not None:  # the system's word: no such file, no permission
            raise SourceError(f"{path}: cannot be read: {os.strerror(error.errno)}") from error
        raise SourceError(f"{path}: expected HDF5 ({error})") from error
    with file:
        yield file


def content_of(name: str, item: Any) -> Any:
    """What an HDF5 data set holds.

    Raises:
        V2XumError: if the item is a group.
        OSError: if it is damaged.
    """
    if not hasattr(item, "shape"):
        raise V2XumError(f"{name} must be a data set, got a group")
    return item[()]


def picks_of(n_frames: int) -> tuple[int, ...]:
    """[T]: every 15th frame, where a file does not say which ones it samples."""
    return tuple(range(0, n_frames, PICK_EVERY))


def as_numbers(name: str, value: Any, dimensions: int) -> np.ndarray:
    """The value as an array of finite numbers with so many dimensions; fewer than two may have axes of length 1 more.

    Raises:
        V2XumError: if it is none.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise V2XumError(f"{name} must hold rows of one length ({error})") from error
    if array.dtype.kind not in "biuf":
        raise V2XumError(f"{name} must hold numbers, got {array.dtype}")
    if not np.isfinite(array).all():
        raise V2XumError(f"{name} must hold finite numbers, and {np.sum(~np.isfinite(array))} are not")
    if dimensions < 2:
        array = array.squeeze()
        array = array.reshape(1) if dimensions and not array.ndim else array
    if array.ndim != dimensions:
        raise V2XumError(f"{name} must have {dimensions} dimensions, got shape {np.shape(value)}")
    return array


def as_integer(name: str, value: Any) -> int:
    """The value, one whole number.

    Raises:
        V2XumError: if it is none.
    """
    number = as_numbers(name, value, 0).item()
    if number != int(number):
        raise V2XumError(f"{name} must be a whole number, got {number}")
    return int(number)


def as_integers(name: str, value: Any, dimensions: int) -> list:
    """The value, whole numbers in (nested) lists.

    Raises:
        V2XumError: if it holds others.
    """
    array = as_numbers(name, value, dimensions)
    whole = array.astype(np.int64)
    if not np.array_equal(whole, array):
        raise V2XumError(f"{name} must hold whole numbers alone")
    return whole.tolist()


def as_duration(name: str, value: Any) -> float:
    """The value, one number of seconds above 0.

    Raises:
        V2XumError: if it is none.
    """
    seconds = float(as_numbers(name, value, 0))
    if seconds <= 0:
        raise V2XumError(f"{name} must be a positive number of seconds, got {seconds}")
    return seconds
