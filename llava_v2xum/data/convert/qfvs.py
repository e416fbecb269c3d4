"""QFVS: query-focused summaries of UT Egocentric, `Oracle_Summaries/P01/CONCEPT_CONCEPT_oracle.txt`.

A file has the numbers of the selected shots, from 1, one a line; a shot is five seconds. How many a video has tells
`../../Dense_per_shot_tags/P01/P01.txt` beside it, with one line a shot. A query is what is scored: its id is that of
others, `CONCEPT_CONCEPT_P01`. A line of tags has the shot's concepts, parted by commas, by which the published
evaluation matches shots (Sharghi et al. 2017, arXiv 1707.04960; `metrics/concepts.py`). Source: the loaders of the
methods that use it (CHAN, EgoVLPv2).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...core.annotations import Annotation
from ...core.data_sets import DataSet
from ...core.errors import V2XumError
from ...core.readers import Accepted, Reader, Rejected, SourceError, shown

NAME = "qfvs"
SHOT_SECONDS = 5
_ENDING = "_oracle.txt"


def read(path: Path, tolerance_seconds: float) -> Iterator[Accepted | Rejected]:
    """Read the folder `Oracle_Summaries`; see the module's docstring.

    Raises:
        SourceError: if it is no such folder, or a video's shots are not counted beside it.
    """
    files = sorted(path.glob(f"*/*{_ENDING}")) if path.is_dir() else []
    if not files:
        raise SourceError(f"{path}: expected the folder Oracle_Summaries, with P01/CONCEPT_CONCEPT{_ENDING}")
    shots = {video: _shots(path, video) for video in sorted({file.parent.name for file in files})}
    for place, file in enumerate(files):
        video = file.parent.name
        query = f"{file.name.removesuffix(_ENDING)}_{video}"
        try:
            yield Accepted(_annotation(query, file, shots[video]), place)
        except V2XumError as error:
            yield Rejected(query, place, f"{file.name}: {error}")


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise SourceError(f"{file}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{file}: expected text in UTF-8 ({error})") from error


def _shots(path: Path, video: str) -> tuple[tuple[str, ...], ...]:
    """The concepts of each of a video's shots: the lines of its tags, of which blank ones at the end are none."""
    lines = _lines(path.parent.parent / "Dense_per_shot_tags" / video / f"{video}.txt")
    count = max((number for number, line in enumerate(lines, 1) if line), default=1)
    return tuple(
        tuple(dict.fromkeys(filter(None, (name.strip(" '") for name in line.split(","))))) for line in lines[:count]
    ) or ((),)


def _annotation(query: str, file: Path, concepts: tuple[tuple[str, ...], ...]) -> Annotation:
    shots = len(concepts)
    row = [0] * (shots * SHOT_SECONDS)
    for line in filter(None, _lines(file)):
        if not line.isascii() or not line.isdigit() or not 1 <= int(line) <= shots:
            raise V2XumError(f"expected the number of a shot, 1 to {shots}, got {shown(line)}")
        start = (int(line) - 1) * SHOT_SECONDS
        row[start : start + SHOT_SECONDS] = [1] * SHOT_SECONDS
    return Annotation(query, float(len(row)), NAME, selections=(tuple(row),), concepts=concepts)


READER = Reader(
    read,
    "QFVS: the folder Oracle_Summaries",
    "Reads QFVS (Query-Focused_Summaries/Oracle_Summaries, with Dense_per_shot_tags beside its folder): the seconds of "
    "the shots that answer each query.",
    (("Query-Focused_Summaries/Oracle_Summaries --out data", "the annotation form, for the evaluators"),),
    trains=False,
    looks=lambda look: look.has_files(f"*/*{_ENDING}"),
    sign=f"its P01/*{_ENDING} files",
    folder_of=f"P01/*{_ENDING} files",
    data_set=DataSet(
        "QFVS: query-focused summaries, in seconds", "Oracle_Summaries", (NAME,), 
        ("concept_precision", "concept_recall", "concept_f1", "f1", "kendall", "spearman"),

    ),
)
