"""Shot2Story: a JSON list of `{"video": "NAME.mp4", "whole_caption": text, "captions": [text, ...], ...}`.

Source: Han et al. 2023, arXiv 2312.10300; bytedance/Shot2Story, DATA.md. `whole_caption` is the text summary. Shots are
named by frames of clips (`NAME_0_102.mp4`) whose rate and length the file does not tell: text alone can be scored. The
id is the file's name without its ending.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ...core.annotations import AnnotatedSentence, Annotation
from ...core.checks import check_text
from ...core.data_sets import TEXT_TABLE, DataSet
from ...core.errors import V2XumError
from ...core.readers import Accepted, Reader, Rejected, checked_object, id_of, load_list

NAME = "shot2story"


def read(path: Path, tolerance_seconds: float) -> Iterator[Accepted | Rejected]:
    """Read the file; see the module's docstring.

    Raises:
        SourceError: if it is no such file.
    """
    for place, entry in enumerate(load_list(path, "Shot2Story entries")):
        try:
            entry = checked_object(entry, "video", "whole_caption")
            check_text("video", entry["video"])
            name = PurePosixPath(entry["video"]).stem
            yield Accepted(Annotation(name, None, NAME, (AnnotatedSentence(entry["whole_caption"]),)), place)
        except V2XumError as error:
            yield Rejected(id_of(entry, "video"), place, str(error))


READER = Reader(
    read,
    "Shot2Story: 20k_test.json, 43k_human_train.json, ...",
    "Reads Shot2Story (20k_test.json, 43k_human_train.json, ...): the summary of each video. The file tells neither "
    "the seconds of shots nor the length of a video.",
    (("20k_test.json --out data", "the annotation form, for the evaluators"),),
    trains=False,
    looks=lambda look: look.is_json(list, "whole_caption", "captions"),
    sign="the whole_caption and captions of its first entry",
    endings=(".json",),
    data_set=DataSet("Shot2Story: captions of whole videos", "20k_test.json", (NAME,), TEXT_TABLE),
)
