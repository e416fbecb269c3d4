"""TVSum's own files: `ydata-tvsum50-anno.tsv` and `ydata-tvsum50.mat`.

The .tsv has 20 lines a video, one an annotator: the id, the category, and the importance (1 to 5) of every frame,
parted by commas. The .mat is MATLAB 7.3 (HDF5): a struct `tvsum50` whose fields `video`, `category`, `title`,
`length` (s), `nframes`, `user_anno` and `gt_score` are arrays of references, one a video; `user_anno` is [A, F] as
HDF5 sees it, text is an array of uint16 characters. Source: Song et al. 2015, github.com/yalesong/tvsum.

Importance is kept at every 15th frame, as the eccv16 files sample the videos. Neither file has shots: TVSum's user
summaries are made from scores and change points, and the eccv16 files have both. The .tsv knows no seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...core.annotations import Annotation
from ...core.arrays import as_duration, as_integer, as_integers, as_numbers, content_of, open_hdf5, picks_of
from ...core.data_sets import DataSet, Identity
from ...core.errors import V2XumError
from ...core.keyshots import Keyshots
from ...core.readers import Accepted, Reader, Rejected, SourceError, shown

NAME = "tvsum"
_FIELDS = ("video", "length", "nframes", "user_anno")


def read(path: Path, tolerance_seconds: float) -> Iterator[Accepted | Rejected]:
    """Read either file; see the module's docstring. It has no time stamps, so the tolerance has no part in it.

    Raises:
        SourceError: if it is no such file.
    """
    readers = {".tsv": _read_tsv, ".mat": _read_mat}
    if path.suffix.lower() not in readers:
        raise SourceError(f"{path}: expected ydata-tvsum50-anno.tsv or ydata-tvsum50.mat, by the file's ending")
    return readers[path.suffix.lower()](path)


def _read_tsv(path: Path) -> Iterator[Accepted | Rejected]:
    videos: dict[str, list[tuple[int, str]]] = {}  # id -> line number and scores of each annotator
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                columns = line.rstrip("\r\n").split("\t")
                if len(columns) != 3 or not columns[0].strip():
                    raise SourceError(f"{path}:{number}: expected id, category and scores, parted by tabs, "
                        f"got {shown(line)}")  # fmt: skip
                videos.setdefault(columns[0], []).append((number, columns[2]))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: expected text in UTF-8 ({error})") from error
    if not videos:
        raise SourceError(f"{path}: expected one line an annotator, got an empty file")
    for place, (video_id, lines) in enumerate(videos.items()):
        try:
            yield Accepted(_annotation(video_id, None, _scores_of(lines)), place)
        except V2XumError as error:
            yield Rejected(video_id, place, str(error))


def _scores_of(lines: list[tuple[int, str]]) -> np.ndarray:
    """float [A, F]."""
    rows = []
    for number, text in lines:
        try:
            rows.append(np.array(text.split(","), dtype=float))
        except ValueError as error:
            raise V2XumError(f"line {number}: the scores must be numbers parted by commas ({error})") from error
        if len(rows[-1]) != len(rows[0]):
            raise V2XumError(f"line {number} has {len(rows[-1])} scores, line {lines[0][0]} has {len(rows[0])}")
    return np.stack(rows)


def _read_mat(path: Path) -> Iterator[Accepted | Rejected]:
    with open_hdf5(path) as file:
        struct = file.get("tvsum50", {})
        missing = [name for name in _FIELDS if name not in struct]
        if missing:
            raise SourceError(f"{path}: expected a struct tvsum50 with {', '.join(_FIELDS)}; "
                f"missing: {', '.join(missing)}")  # fmt: skip
        columns = {name: struct[name] for name in (*_FIELDS, "gt_score") if name in struct}
        counts = {name: getattr(column, "size", 0) for name, column in columns.items()}
        kinds = {getattr(getattr(column, "dtype", None), "kind", None) for column in columns.values()}
        if kinds != {"O"} or len(set(counts.values())) > 1:
            raise SourceError(f"{path}: expected fields of as many references as there are videos, got {counts}")
        references = {name: column[()].ravel() for name, column in columns.items()}
        for place in range(counts["video"]):
            video_id = None
            try:
                entry = {name: _referred(name, file, column[place]) for name, column in references.items()}
                video_id = _text_of(entry["video"])
                yield Accepted(_entry_of(video_id, entry), place)
            except (V2XumError, OSError) as error:
                yield Rejected(video_id, place, str(error))


def _referred(name: str, file: Any, reference: Any) -> Any:
    try:
        item = file[reference]
    except (KeyError, ValueError) as error:
        raise V2XumError(f"{name} refers to nothing ({error})") from error
    return content_of(name, item)


def _text_of(characters: Any) -> str:
    """MATLAB's text: uint16 characters, column by column."""
    codes = as_integers("video", characters, 1)
    if codes and not 0 <= min(codes) <= max(codes) < 2**16:
        raise V2XumError(f"video must be text, characters of 16 bits each, got {codes[:8]}")
    return "".join(map(chr, codes))


def _entry_of(video_id: str, entry: dict[str, Any]) -> Annotation:
    n_frames = as_integer("nframes", entry["nframes"])
    scores = as_numbers("user_anno", entry["user_anno"], 2)
    scores = scores if scores.shape[1] == n_frames else scores.T
    if scores.shape[1] != n_frames:
        raise V2XumError(f"user_anno must have nframes = {n_frames} scores, got shape {np.shape(entry['user_anno'])}")
    mean = None
    if "gt_score" in entry:
        mean = as_numbers("gt_score", entry["gt_score"], 1)
        if len(mean) != n_frames:
            raise V2XumError(f"gt_score must have nframes = {n_frames} scores, got {len(mean)}")
    return _annotation(video_id, as_duration("length", entry["length"]), scores, mean)


def _annotation(
    video_id: str, duration_seconds: float | None, scores: np.ndarray, mean: np.ndarray | None = None
) -> Annotation:
    """Of scores [A, F] and their published mean [F]."""
    n_frames = scores.shape[1]
    picks = picks_of(n_frames)
    mean_scores = None if mean is None else mean[list(picks)].tolist()
    keyshots = Keyshots(n_frames, picks, scores=scores[:, list(picks)].tolist(), mean_scores=mean_scores)
    return Annotation(video_id, duration_seconds, NAME, keyshots=keyshots)


READER = Reader(
    read,
    "TVSum: ydata-tvsum50-anno.tsv or ydata-tvsum50.mat",
    "Reads TVSum's own annotations, ydata-tvsum50-anno.tsv or ydata-tvsum50.mat: 20 annotators' importance, at every "
    "15th frame, for rank correlation. The keyshot F-score needs shots, which the eccv16 files have.",
    (
        ("ydata-tvsum50.mat --out data", "the annotation form, for the evaluators; with durations"),
        ("ydata-tvsum50-anno.tsv --out data", "the same of the text file, without durations"),
    ),
    trains=False,
    looks=lambda look: look.ending in (".tsv", ".mat"),
    sign="its ending",
    endings=(".tsv", ".mat"),
    data_set=DataSet(
        "TVSum: correlations and keyshot F",
        "eccv16_dataset_tvsum_*.h5, or ydata-tvsum50's .mat or .tsv",
        ("eccv16", NAME),
        ("keyshot_f1_avg", "kendall_per_annotator", "spearman_per_annotator", "f_clip"),  # its published protocols
        keyshots=True,
        identity=Identity((20, 20), 50),
        examples="""examples:
  ... tvsum --predictions scores.json --annotations eccv16_dataset_tvsum_google_pool5.h5 \\
      --importance ydata-tvsum50-anno.tsv
      {"video_1": [one score a pick, ...], ...}; the first file has the keyshots, the second what correlations are with
""",
    ),
)
