"""SumMe's own files: a folder `GT` with one MATLAB file a video, `GT/Air_Force_One.mat`.

Of each file are read `user_score` [F, A] (what an annotator selected is above 0), `nFrames`, `video_duration` (s) and
`gt_score` [F], the mean over the annotators. Its `segments` say the same as `user_score`, in seconds. Source: Gygli
et al. 2014, the data set's demo code.

The id is the file's name. The mean is kept at every 15th frame, as the eccv16 files sample the videos.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...core.annotations import Annotation
from ...core.arrays import EXTRA, as_duration, as_integer, as_numbers, picks_of
from ...core.data_sets import DataSet, Identity
from ...core.errors import V2XumError
from ...core.extras import require
from ...core.keyshots import Keyshots, runs_of
from ...core.readers import Accepted, Reader, Rejected, SourceError

NAME = "summe"
_FIELDS = ("user_score", "nFrames", "video_duration")
_VIDEOS = frozenset(
    "Air_Force_One Base_jumping Bearpark_climbing Bike_Polo Bus_in_Rock_Tunnel Car_railcrossing Cockpit_Landing "
    "Cooking Eiffel_Tower Excavators_river_crossing Fire_Domino Jumps Kids_playing_in_leaves Notre_Dame Paintball "
    "Playing_on_water_slide Saving_dolphines Scuba St_Maarten_Landing Statue_of_Liberty Uncut_Evening_Flight "
    "Valparaiso_Downhill car_over_camera paluma_jump playing_ball".split()
)


def read(path: Path, tolerance_seconds: float) -> Iterator[Accepted | Rejected]:
    """Read the folder; see the module's docstring. It has no time stamps, so the tolerance has no part in it.

    Raises:
        SourceError: if it is no such folder.
    """
    hidden = "."  # what an archive made on macOS leaves beside each file
    files = sorted(file for file in path.glob("*.mat") if not file.name.startswith(hidden)) if path.is_dir() else []
    if not files:
        raise SourceError(f"{path}: expected a folder of MATLAB files, one a video (SumMe's GT)")
    scipy_io = require("scipy.io", EXTRA)
    for place, file in enumerate(files):
        try:
            yield Accepted(_annotation(file.stem, _load(scipy_io, file)), place)
        except V2XumError as error:
            yield Rejected(file.stem, place, f"{file.name}: {error}")


def _load(scipy_io: Any, file: Path) -> dict[str, Any]:
    try:
        content = scipy_io.loadmat(file, variable_names=[*_FIELDS, "gt_score"])
    except Exception as error:  # scipy tells of a file that is no MATLAB file by errors of many kinds
        raise V2XumError(f"expected a MATLAB file ({type(error).__name__}: {error})") from error
    missing = [name for name in _FIELDS if name not in content]
    if missing:
        raise V2XumError(f"missing: {', '.join(missing)}")
    return content


def _annotation(video_id: str, content: dict[str, Any]) -> Annotation:
    n_frames = as_integer("nFrames", content["nFrames"])
    selected = as_numbers("user_score", content["user_score"], 2) > 0
    if len(selected) != n_frames:
        raise V2XumError(f"user_score must have nFrames = {n_frames} rows, got {len(selected)}")
    picks = picks_of(n_frames)
    mean = None
    if "gt_score" in content:
        mean = as_numbers("gt_score", content["gt_score"], 1)
        if len(mean) != n_frames:
            raise V2XumError(f"gt_score must have nFrames = {n_frames} scores, got {len(mean)}")
        mean = mean[list(picks)].tolist()
    keyshots = Keyshots(n_frames, picks, user_summaries=tuple(map(runs_of, selected.T)), mean_scores=mean)
    return Annotation(video_id, as_duration("video_duration", content["video_duration"]), NAME, keyshots=keyshots)


READER = Reader(
    read,
    "SumMe: its folder GT of MATLAB files",
    "Reads SumMe's own annotations, the folder GT with one MATLAB file a video: the frames that 15 to 18 people "
    "selected. Change points, which the keyshot F-score needs, are in the eccv16 files.",
    (("SumMe/GT --out data", "the annotation form, for the evaluators"),),
    trains=False,
    looks=lambda look: look.has_files("*.mat"),
    sign="its .mat files",
    folder_of=".mat files",
    data_set=DataSet(
        "SumMe: correlations and keyshot F",
        "eccv16_dataset_summe_*.h5, or its GT folder",
        ("eccv16", NAME),
        # its published F is the best annotator's, and both protocols of correlation are in use
        (*("keyshot_f1_max", "kendall_per_annotator", "spearman_per_annotator", "kendall_summary", "spearman_summary"),
         "f_clip"),
        keyshots=True,
        identity=Identity((15, 18), 25, _VIDEOS),
    ),
)
