"""Every format of prediction files, in the order of `--help`.

Another is a file with a `Format`, and its name in FORMATS: `export` writes it, the other commands read it, and
`detect` tells its files from others.
"""

from __future__ import annotations

from ...core.data_sets import FileKind, FirstLook
from ...data.convert import READERS
from .caption_files import COCO_CAPTIONS, COCO_REFERENCES, DENSE_CAPTIONS
from .csv_scores import CSV_SCORES
from .format import ANNOTATIONS, PREDICTIONS, Format, Written
from .highlight_files import QVHIGHLIGHTS
from .lvsum_files import LVSUM
from .prediction_records import OF_FRAMES
from .predictions import SUMMARIES, read_predictions, write_predictions
from .score_files import HDF5_SCORES, JSON_SCORES, NPY_SCORES
from .timechat_files import TIMECHAT
from .vtimellm_logs import VTIMELLM


def _looks_own(look: FirstLook) -> bool:
    says = not look.record.keys().isdisjoint({"num_frames", "answer", *OF_FRAMES})
    return look.has_files(SUMMARIES) or (says and not _looks_annotated(look) and not VTIMELLM.looks(look))


def _looks_annotated(look: FirstLook) -> bool:
    return look.record.keys() >= {"duration_seconds", "source"}


OWN = Format(
    PREDICTIONS,
    "this project's form, JSON lines; summaries.jsonl of infer, or its folder; raw answers",
    lambda path, num_frames: read_predictions(path / SUMMARIES if path.is_dir() else path, num_frames),
    lambda path, predictions: Written(write_predictions(path, predictions), "videos"),
    looks=_looks_own,
    sign=f"{SUMMARIES} in it, or the num_frames, answer, frames or importance of its first line",
    endings=(".jsonl",),
    folder_of=SUMMARIES,
)
FORMATS = (  # told apart in this order
    *(OWN, TIMECHAT, VTIMELLM, QVHIGHLIGHTS, LVSUM, JSON_SCORES, NPY_SCORES, HDF5_SCORES, CSV_SCORES),
    *(COCO_CAPTIONS, DENSE_CAPTIONS, COCO_REFERENCES),
)
PREDICTION_FORMATS: dict[str, Format] = {one.name: one for one in FORMATS if one.read}
EXPORTS: dict[str, Format] = {one.name: one for one in FORMATS if one.write}
ANNOTATION_FORMATS: dict[str, FileKind] = {
    ANNOTATIONS: FileKind(
        looks=_looks_annotated, sign="the duration_seconds and source of its first line", endings=(".jsonl",)
    ),
    **READERS,
}
