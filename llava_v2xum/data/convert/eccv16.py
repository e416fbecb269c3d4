"""The files that video summarization is compared on: `eccv16_dataset_{tvsum,summe}_google_pool5.h5`, and their like.

One HDF5 group a video, `video_1`, `video_2`, ..., with (T samples, A annotators, F frames, S segments)

| data set | shape | what |
| --- | --- | --- |
| `n_frames` | scalar | F |
| `picks` | [T] | the frame number of each sample |
| `user_summary` | [A, F] | the frames that each annotator's summary has |
| `gtscore` | [T] | the mean importance at the samples |
| `change_points` | [S, 2] | first and last frame of each segment; may be missing |
| `n_frame_per_seg` | [S] | how many frames each segment has; held against the change points |
| `features` | [T, C] | GoogLeNet's pool5; not part of an annotation, `read_features` gives them |
| `video_name` | text | SumMe alone; TVSum's follow the order of `ydata-tvsum50.mat` |

`n_steps` and `gtsummary` follow from these and are not read. Source: Zhang et al. 2016 (arXiv 1605.08110), in the
form of KaiyangZhou/pytorch-vsumm-reinforce. As there, a user summary that is shorter or longer than F is padded with
zeros or cut; so are change points that run past the last frame. Both are counted as clipped. One that differs by more
than a tenth is of something else (transposed, or of the samples), and its video is rejected.

A video's id is the name of its group, because that is what predictions are keyed by; `video_name` is kept too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...core.annotations import Annotation
from ...core.arrays import as_integer, as_integers, as_numbers, content_of, open_hdf5
from ...core.data_sets import HDF5
from ...core.errors import V2XumError
from ...core.keyshots import Keyshots, Runs, runs_of
from ...core.readers import Accepted, Reader, Rejected, SourceError, shown

NAME = "eccv16"
_FIELDS_OF_A_VIDEO = frozenset({"n_frames", "picks", "features"})  # one of them tells such a file from others
_MUCH = 0.1  # our choice: summaries of published files differ by a frame or two from their video where they do
_FIELDS = ("n_frames", "picks", "user_summary", "gtscore", "change_points", "n_frame_per_seg", "video_name")


def read(path: Path, tolerance_seconds: float) -> Iterator[Accepted | Rejected]:
    """Read the file; see the module's docstring. It knows no seconds, so the tolerance has no part in it.

    Raises:
        SourceError: if it is no such file.
    """
    with open_hdf5(path) as file:
        for place, (video_id, group) in enumerate(_groups(path, file)):
            try:
                keyshots, clipped = _keyshots(group)
                yield Accepted(Annotation(video_id, None, NAME, keyshots=keyshots), place, clipped)
            except (V2XumError, OSError) as error:  # OSError: a data set that is damaged
                yield Rejected(video_id, place, str(error))


def read_features(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The features of each video, for change points where the file has none.

    Returns:
        (video_id, float [T, C]), in the order of `read`; videos without features are left out.

    Raises:
        SourceError: if it is no such file.
        V2XumError: naming file and video, if a video's features are no [T, C].
    """
    with open_hdf5(path) as file:
        for video_id, group in _groups(path, file):
            if "features" in group:
                try:
                    yield video_id, as_numbers("features", content_of("features", group["features"]), 2)
                except (V2XumError, OSError) as error:
                    raise V2XumError(f"{path}: video {video_id!r}: {error}") from error


def _groups(path: Path, file: Any) -> list[tuple[str, Any]]:
    """The videos in the order of their numbers: HDF5 has video_10 before video_2."""
    groups = [(name, item) for name, item in file.items() if hasattr(item, "items")]
    if not any(not _FIELDS_OF_A_VIDEO.isdisjoint(group) for _, group in groups):
        raise SourceError(f"{path}: expected HDF5 with a group for each video, that has n_frames and picks")
    return sorted(groups, key=lambda one: [int(part) if part.isdigit() else part for part in _parts(one[0])])


def _parts(name: str) -> list[str]:
    return re.split(r"(\d+)", name)


def _keyshots(group: Any) -> tuple[Keyshots, int]:
    """What the group says, and how many of its lists were cut or padded."""
    content = {name: content_of(name, group[name]) for name in _FIELDS if name in group}
    missing = [name for name in ("n_frames", "picks") if name not in content]
    if missing:
        raise V2XumError(f"missing: {', '.join(missing)}")
    n_frames = as_integer("n_frames", content["n_frames"])
    picks = tuple(as_integers("picks", content["picks"], 1))
    if "features" in group and len(group["features"]) != len(picks):
        raise V2XumError(f"features must have {len(picks)} rows, one a pick, got {len(group['features'])}")
    segments, cut = _segments(content, n_frames)
    summaries, fitted = _user_summaries(content, n_frames)
    scores = as_numbers("gtscore", content["gtscore"], 1).tolist() if "gtscore" in content else None
    name = content.get("video_name")
    name = name.decode(errors="replace") if isinstance(name, bytes) else name
    return Keyshots(n_frames, picks, segments, summaries, None, scores, name), cut + fitted


def _segments(content: dict[str, Any], n_frames: int) -> tuple[Runs | None, int]:
    if "change_points" not in content:
        return None, 0
    points = as_integers("change_points", content["change_points"], 2)
    if any(len(pair) != 2 for pair in points):
        raise V2XumError(f"change_points must be [S, 2], got {len(points[0])} columns")
    if "n_frame_per_seg" in content:
        lengths = as_integers("n_frame_per_seg", content["n_frame_per_seg"], 1)
        expected = [end - start + 1 for start, end in points]
        if lengths != expected:
            raise V2XumError(f"n_frame_per_seg and change_points do not agree: {shown(lengths)} and {shown(expected)}")
    inside = tuple((start, min(end, n_frames - 1)) for start, end in points)
    return inside, int(any(end >= n_frames for _, end in points))


def _user_summaries(content: dict[str, Any], n_frames: int) -> tuple[tuple[Runs, ...], int]:
    if "user_summary" not in content:
        return (), 0
    rows = as_numbers("user_summary", content["user_summary"], 2)
    if abs(rows.shape[1] - n_frames) > _MUCH * n_frames > 0:
        raise V2XumError(f"user_summary must be [annotators, {n_frames} frames], got shape {rows.shape}")
    wrong = rows[~np.isin(rows, (0, 1))]
    if wrong.size:
        raise V2XumError(f"user_summary must hold 0 and 1 alone, got {wrong[0]:g} in {wrong.size} places")
    runs = tuple(runs_of(row[:n_frames]) for row in rows)  # what is not there is not selected: padding adds no run
    return runs, int(rows.shape[1] != n_frames)


READER = Reader(
    read,
    "TVSum and SumMe as eccv16_dataset_{tvsum,summe}_google_pool5.h5",
    "Reads eccv16_dataset_tvsum_google_pool5.h5 and eccv16_dataset_summe_google_pool5.h5, and files of that layout: "
    "frame numbers, annotators' summaries and change points, for the keyshot F-score and rank correlation.",
    (("eccv16_dataset_tvsum_google_pool5.h5 --out data", "the annotation form, for the evaluators"),),
    trains=False,
    looks=lambda look: look.is_hdf5(lambda names: names is not None and "picks" in names),
    sign="the picks of its videos",
    endings=HDF5,
)
