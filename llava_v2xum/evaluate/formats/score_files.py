"""Importance scores as other systems keep them: one array a video, in JSON, a folder of .npy, or HDF5.

A score belongs to a sample of the annotation (a frame at 1 FPS, or a pick), in order: the predictions have the clock
"samples", and N is the number of scores, whatever the caller says of N. Whether it is that of the samples shows when
they are scored.

Writers leave out videos without importance. The files do not say what their scores count, so that what was written
of N prompts is to be read with the clock "prompts".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...core.arrays import EXTRA, as_numbers, content_of, open_hdf5
from ...core.atomic import replacing, write_whole
from ...core.data_sets import HDF5, FirstLook
from ...core.errors import V2XumError
from ...core.extras import require
from ...core.readers import load_object
from .format import Format, Written, check_any, naming, once
from .predictions import Prediction

_REASON = "no importance"
_SCORE = "score"  # the data set in a video's group; pytorch-vsumm-reinforce's results have it
_NAMES = (_SCORE, "scores")  # those that are read


def _read_json_scores(path: Path, num_frames: int | None = None) -> dict[str, Prediction]:
    """Read JSON `{id: [scores]}`."""
    return _predictions(path, load_object(path, "scores by video id"))


def _read_npy_scores(path: Path, num_frames: int | None = None) -> dict[str, Prediction]:
    """Read a folder of `ID.npy`, in the order of the names; other files are not read."""
    return _predictions(path, arrays_in(path))


def _read_hdf5_scores(path: Path, num_frames: int | None = None) -> dict[str, Prediction]:
    """Read HDF5 with a data set a video, or a group a video with a data set `score` or `scores`."""
    with open_hdf5(path) as file:
        return _predictions(path, ((video_id, _dataset(path, video_id, item)) for video_id, item in file.items()))


def _write_json_scores(path: Path, predictions: Iterable[Prediction]) -> Written:
    """Write JSON `{id: [scores]}`, all or nothing."""
    scores, left_out = _scores(predictions)
    write_whole(path, json.dumps({key: row.tolist() for key, row in scores.items()}) + "\n")
    return Written(len(scores), "videos", left_out, _REASON)


def _write_npy_scores(path: Path, predictions: Iterable[Prediction]) -> Written:
    """Write a folder of `ID.npy`, each whole or not at all; the folder is made if it is not there."""
    scores, left_out = _scores(predictions, "/\\\0")
    path.mkdir(parents=True, exist_ok=True)
    for video_id, row in scores.items():
        with replacing(path / f"{video_id}.npy") as part:
            np.save(part, row)
    return Written(len(scores), "videos", left_out, _REASON)


def _write_hdf5_scores(path: Path, predictions: Iterable[Prediction]) -> Written:
    """Write HDF5 with `ID/score`, all or nothing."""
    h5py = require("h5py", EXTRA)
    scores, left_out = _scores(predictions, "/\0")
    with replacing(path) as part, h5py.File(part, "w") as file:
        for video_id, row in scores.items():
            file[f"{video_id}/{_SCORE}"] = row
    return Written(len(scores), "videos", left_out, _REASON)


def _predictions(path: Path, items: Iterable[tuple[str, Any]]) -> dict[str, Prediction]:
    predictions: dict[str, Prediction] = {}
    for video_id, values in items:
        with naming(path, once(path, video_id, predictions)):
            scores = as_numbers("the scores", values, 1)
            predictions[video_id] = Prediction(video_id, len(scores), importance=scores.astype(float), clock="samples")
    if not predictions:
        raise V2XumError(f"{path}: expected scores by video id, got none")
    return predictions


def arrays_in(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a folder of `ID.npy` by their ids, in the order of the names.

    Raises:
        V2XumError: naming the folder if there are none, or the file that is no array.
    """
    files = sorted(file for file in folder.glob("*.npy") if not file.name.startswith("."))
    if not files:
        raise V2XumError(f"{folder}: expected a folder of .npy files, one a video")
    for file in files:
        try:
            yield file.stem, np.load(file, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise V2XumError(f"{file}: expected an array of numbers in .npy ({error})") from error


def _dataset(path: Path, video_id: str, item: Any) -> Any:
    with naming(path, video_id):
        if not hasattr(item, "items"):
            return content_of(_SCORE, item)
        names = [name for name in _NAMES if name in item]
        if len(names) != 1:
            raise V2XumError(f"the group must have one data set {' or '.join(_NAMES)}, got {', '.join(item) or 'none'}")
        return content_of(names[0], item[names[0]])


def _scores(predictions: Iterable[Prediction], forbidden: str = "") -> tuple[dict[str, np.ndarray], int]:
    """The importance [N] of those that have one, and how many have none."""
    predictions = list(predictions)
    scores = {one.video_id: one.importance for one in predictions if one.importance is not None}
    check_any(scores, len(predictions), _REASON)
    for video_id in scores:
        if set(video_id) & set(forbidden) or video_id in (".", ".."):
            raise V2XumError(f"video {video_id!r}: its id cannot be a name in this format")
    return scores, len(predictions) - len(scores)


def _looks_json(look: FirstLook) -> bool:
    return look.is_json(dict) and all(isinstance(scores, list) for scores in look.content.values())


def _looks_hdf5(look: FirstLook) -> bool:
    """By what the videos have: annotations have picks, and a group without either may be a damaged one of both."""
    scored = look.is_hdf5(lambda names: names is None or not names.isdisjoint(_NAMES))
    return scored and not look.is_hdf5(lambda names: names is not None and "picks" in names)


_WHAT = "importance of every sample: "
JSON_SCORES = Format(
    *("scores-json", _WHAT + "JSON {id: [scores]}", _read_json_scores, _write_json_scores),
    looks=_looks_json,
    sign="a list for every id",
    endings=(".json",),
)
NPY_SCORES = Format(
    *("scores-npy", _WHAT + "a folder of ID.npy", _read_npy_scores, _write_npy_scores),
    writes_folder=True,
    looks=lambda look: look.has_files("*.npy"),
    sign="its .npy files",
    folder_of="ID.npy files",
)
HDF5_SCORES = Format(
    *("scores-h5", _WHAT + "HDF5 with ID or ID/score", _read_hdf5_scores, _write_hdf5_scores),
    looks=_looks_hdf5,
    sign="the scores of its videos",
    endings=HDF5,
)
