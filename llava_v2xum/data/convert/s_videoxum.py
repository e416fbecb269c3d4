"""S-VideoXum and S-NewsVSum: HDF5 with a group a video, whose `gtscores` [A, T] select its samples, 0 or 1.

Each of the A summaries (S-NewsVSum: [T], one) answers a script of its own, whose sentences `text_embeddings` [A, L, D]
(or [L, D]) has; a script of zeros alone is none, and its summary is left out. A summary is what is scored: the ids are
`NAME/0` to `NAME/9`. T samples are taken as T seconds. Source: IDT-ITI/SD-VSum, model/data_loader.py, solver.py and
utils/evaluation_metrics.py. Its F-score is f1_videoxum, but 0 where equal scores select over a quarter of a video, and
the mean over videos of means over their scripts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...core.annotations import Annotation
from ...core.arrays import as_integers, as_numbers, content_of, open_hdf5
from ...core.data_sets import HDF5, DataSet
from ...core.errors import V2XumError
from ...core.readers import Accepted, Reader, Rejected

NAME = "s-videoxum"
_SCORES, _TEXTS = "gtscores", "text_embeddings"


def read(path: Path, tolerance_seconds: float) -> Iterator[Accepted | Rejected]:
    """Read the file; see the module's docstring. It has no time stamps, so the tolerance has no part in it.

    Raises:
        SourceError: if it is no HDF5.
    """
    with open_hdf5(path) as file:
        for place, (video_id, group) in enumerate(file.items()):
            try:
                yield from [Accepted(one, place) for one in _annotations(video_id, group)]
            except (V2XumError, OSError) as error:
                yield Rejected(video_id, place, str(error))


def _annotations(video_id: str, group: Any) -> Iterator[Annotation]:
    if not hasattr(group, "items") or _SCORES not in group:
        raise V2XumError(f"the group must have {_SCORES}")
    scores = np.atleast_2d(content_of(_SCORES, group[_SCORES]))
    rows = as_integers(_SCORES, scores, 2)
    has_text = np.ones(len(rows), dtype=bool)
    if _TEXTS in group:
        texts = np.asarray(content_of(_TEXTS, group[_TEXTS]))
        texts = as_numbers(_TEXTS, (texts[None] if texts.ndim == 2 else texts).reshape(len(rows), -1), 2)
        has_text = texts.any(axis=1)
    for number, row in enumerate(rows):
        if has_text[number]:
            yield Annotation(f"{video_id}/{number}", float(len(row)), NAME, selections=(tuple(row),))


READER = Reader(
    read,
    "S-VideoXum, S-NewsVSum: script_videoxum.h5, S_NewsVSum.h5",
    "Reads S-VideoXum and S-NewsVSum (script_videoxum.h5, S_NewsVSum.h5): the samples of each summary that answers a "
    "script, under the video's name and the script's number, such as NAME/0.",
    (("script_videoxum.h5 --out data", "the annotation form, for the evaluators"),),
    trains=False,
    looks=lambda look: look.is_hdf5(lambda names: names is not None and _SCORES in names),
    sign=f"the {_SCORES} of its videos",
    endings=HDF5,
    data_set=DataSet(
        "S-VideoXum: script-driven summaries",
        "script_videoxum.h5",
        (NAME,),
        ("f1", "f1_videoxum", "kendall", "spearman"),
    ),
)
