"""The published splits of TVSum and SumMe: a figure is the mean over them, each video scored in those that test it.

A split file is a JSON list of `{"train_keys": [...], "test_keys": [...]}` (pytorch-vsumm-reinforce, PGL-SUM, CSTA). A
key is a video's id, with or without a path in front of it (VASNet). A video may be tested by several splits or by none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...core.annotations import Annotation
from ...core.checks import first_few
from ...core.errors import V2XumError
from ...core.readers import SourceError, checked_list, checked_object, load_list


def read_splits(path: Path) -> list[list[str]]:
    """The test videos of each split.

    Raises:
        V2XumError: naming the file, if it is no split file or a split tests a video twice.
    """
    try:
        entries = load_list(path, "splits with test_keys")
    except SourceError as error:
        raise V2XumError(str(error)) from error
    splits = []
    for number, entry in enumerate(entries, 1):
        try:
            keys = checked_list("test_keys", checked_object(entry, "test_keys")["test_keys"])
            if not all(isinstance(key, str) for key in keys):
                raise V2XumError("test_keys must be text")
            names = [key.rpartition("/")[2] for key in keys]
            if len(set(names)) < len(names):
                raise V2XumError("test_keys has a video twice")
        except V2XumError as error:
            raise V2XumError(f"{path}: split {number}: {error}") from error
        splits.append(names)
    return splits


def tested(path: Path, number: int, keys: Sequence[str], annotations: Sequence[Annotation]) -> list[Annotation]:
    """The annotations of a split's test videos, in the order of the annotations.

    Raises:
        V2XumError: naming the file and the split, if a key is no annotated video's.
    """
    found = [one for one in annotations if one.video_id in keys]
    unknown = set(keys) - {one.video_id for one in found}
    if unknown:
        raise V2XumError(f"{path}: split {number}: no annotation has the id of {first_few(sorted(unknown))}")
    return found
