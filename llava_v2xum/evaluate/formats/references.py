"""Annotations to score against: this project's annotation form, or any published format that `convert` reads."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...core.annotations import AnnotatedSentence, Annotation, read_annotations
from ...core.arrays import as_numbers
from ...core.errors import V2XumError
from ...data.convert import READERS, Rejected, Settings, SourceError
from ...data.convert.eccv16 import read_features
from .detect import format_of
from .format import ANNOTATIONS, AUTO, naming
from .format_registry import ANNOTATION_FORMATS
from .score_files import arrays_in

_LEAST_AGREEMENT = 0.2  # our choice: the video's own importance has nearly 1


@dataclass(frozen=True)
class References:
    """What an annotation file holds.

    Args:
        annotations: in the order of the file, no id twice.
        form: of `ANNOTATION_FORMATS`.
        rejected: the items that give no annotation, and why.
        moved: video id -> how many of its time stamps (or frame lists) were moved to the video's ends.
        dropped: video id -> what is wrong with the spans that it is scored without.
    """

    annotations: list[Annotation]
    form: str
    rejected: list[Rejected] = field(default_factory=list)
    moved: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, tuple[str, ...]] = field(default_factory=dict)


def load_references(
    path: str | os.PathLike[str], name: str = AUTO, tolerance_seconds: float = Settings().tolerance_seconds
) -> References:
    """Read an annotation file of any format.

    Args:
        path: a file; for SumMe its folder of MATLAB files.
        name: of `ANNOTATION_FORMATS`, or "auto" for `detect.format_of`.
        tolerance_seconds: how far beyond a video's ends a time stamp may lie, as in convert's settings.

    Raises:
        V2XumError: naming the file, if it is not of the format or no item is left; if the name is unknown.
        OSError: if it cannot be read.
        MissingExtra: if the format needs a package that is not installed.
    """
    path = Path(path)
    name = format_of(path, ANNOTATIONS) if name == AUTO else name
    if name not in ANNOTATION_FORMATS:
        raise V2XumError(f"format must be one of {', '.join(ANNOTATION_FORMATS)}, got {name!r}")
    if name == ANNOTATIONS:
        found = References(list(read_annotations(path)), name)
    else:
        try:
            found = _converted(path, name, tolerance_seconds)
        except SourceError as error:
            raise V2XumError(str(error)) from error
    if not found.annotations:
        first = f", the first of {len(found.rejected)} rejected: {found.rejected[0]}" if found.rejected else ""
        raise V2XumError(f"{path}: expected annotations, got none{first}")
    return found


def _converted(path: Path, name: str, tolerance_seconds: float) -> References:
    found = References([], name)
    known: set[str] = set()
    further: list[Annotation] = []
    for item in READERS[name].read(path, tolerance_seconds):
        if isinstance(item, Rejected):
            found.rejected.append(item)
            continue
        video_id = item.annotation.video_id
        if video_id in known and READERS[name].several:
            further.append(item.annotation)
            continue
        if video_id in known:
            found.rejected.append(Rejected(video_id, item.place, "duplicate id: an earlier item has it too"))
            continue
        known.add(video_id)
        found.annotations.append(item.annotation)
        if item.clipped:
            found.moved[video_id] = item.clipped
        if item.dropped:
            found.dropped[video_id] = item.dropped
    return replace(found, annotations=together(found.annotations, further)) if further else found


def together(annotations: Iterable[Annotation], further: Iterable[Annotation]) -> list[Annotation]:
    """The annotations with what further people say of the same videos, and those of the videos that only these have.

    The sentences of further people are `alternatives`. The longer of two durations counts, within which are all spans.

    Raises:
        V2XumError: naming the video, if people marked or selected parts of it in annotations of their own: which of
            those are one person's is not told.
    """
    found = {one.video_id: one for one in annotations}
    for one in further:
        first = found.get(one.video_id)
        if first is None:
            found[one.video_id] = one
            continue
        if any(some.annotators or some.keyshots is not None for some in (first, one)):
            raise V2XumError(f"video {one.video_id!r}: it is annotated twice, and only sentences with their segments "
                "can be of several people: here parts of it are marked too")  # fmt: skip
        texts = one.sentences if one.text is None else (AnnotatedSentence(one.text),)
        lengths = [some.duration_seconds for some in (first, one) if some.duration_seconds is not None]
        found[one.video_id] = replace(
            first,
            duration_seconds=max(lengths, default=None),
            alternatives=(*first.alternatives, texts, *one.alternatives),
        )
    return list(found.values())


def features_of(path: Path) -> dict[str, np.ndarray]:
    """Features of each video's samples, float [T, C] by id, for change points where the annotations have none.

    Args:
        path: HDF5 with a group `ID` that has `features`, such as an eccv16 file, or a folder of `ID.npy`.

    Raises:
        V2XumError, OSError: naming the file, and the video whose features are no [T, C]; if there are none at all.
        MissingExtra: if h5py is needed and not installed.
    """
    if path.is_dir():
        features = {}
        for video_id, array in arrays_in(path):
            with naming(path, video_id):
                features[video_id] = as_numbers("features", array, 2)
    else:
        try:
            features = dict(read_features(path))
        except SourceError as error:
            raise V2XumError(str(error)) from error
    if not features:
        raise V2XumError(f"{path}: expected features by video id, got none")
    return features


def with_importance(annotations: Iterable[Annotation], source: Path) -> list[Annotation]:
    """TVSum's eccv16 annotations with each annotator's importance, which that file has only the mean of.

    Its `video_N` is the Nth video of TVSum's own files. The id that they have becomes the video's file name, so that
    predictions may go by it (`named_as`).

    Args:
        source: ydata-tvsum50-anno.tsv or ydata-tvsum50.mat.

    Raises:
        V2XumError, OSError: naming the file, if it is not one of these or a video cannot be read, which would shift the
            others; naming the video, if there is no Nth one, it is of other frames or annotators, or its importance is
            not what the published mean is of.
    """
    found = load_references(source, "tvsum")
    if found.rejected:
        raise V2XumError(f"{source}: every video must be read, because they go by their order: {found.rejected[0]}")
    return [_with_importance(one, found.annotations, source) for one in annotations]


def _with_importance(one: Annotation, given: Sequence[Annotation], source: Path) -> Annotation:
    number = re.fullmatch(r"video_([1-9]\d*)", one.video_id)
    if one.keyshots is None or number is None or int(number[1]) > len(given):
        raise V2XumError(f"{source}: has the videos video_1 to video_{len(given)}, got {one.video_id!r}")
    same = given[int(number[1]) - 1]
    if same.keyshots is None or same.keyshots.picks != one.keyshots.picks:
        ours, theirs = (
            "no samples" if shots is None else f"{len(shots.picks)} samples of {shots.n_frames} frames"
            for shots in (one.keyshots, same.keyshots)
        )
        raise V2XumError(f"{source}: {same.video_id!r} has {theirs}, and {one.video_id!r}, which must be the same "
            f"video by its number, has {ours}")  # fmt: skip
    _check_scores(one, number[1], given, source)
    name = one.keyshots.video_name or same.video_id
    try:
        return replace(one, keyshots=replace(one.keyshots, scores=same.keyshots.scores, video_name=name))
    except V2XumError as error:
        raise V2XumError(f"{source}: video {one.video_id!r}: {error}") from error


def _check_scores(one: Annotation, number: str, given: Sequence[Annotation], source: Path) -> None:
    """Check the importance that comes by its place against the published mean: videos of one length may be swapped."""
    shots = one.keyshots
    if shots is None or shots.mean_scores is None or len(set(shots.mean_scores)) < 2:
        return
    found = {
        place: _agreement(shots.mean_scores, other.keyshots.scores)
        for place, other in enumerate(given, 1)
        if other.keyshots is not None and other.keyshots.scores and other.keyshots.picks == shots.picks
    }
    own = found.get(int(number), 1.0)
    best = max(found, key=lambda place: found[place], default=int(number))
    if own < _LEAST_AGREEMENT or found.get(best, own) > own + 1e-9:
        better = f"; that of its video {best} correlates with {found[best]:.2f}" if best != int(number) else ""
        raise V2XumError(f"{source}: the importance of its video {number} is not that of {one.video_id!r}: it "
            f"correlates with the published mean (gtscore) with {own:.2f}{better}")  # fmt: skip


def _agreement(mean_scores: Sequence[float], scores: Sequence[Sequence[float]]) -> float:
    """Pearson's correlation of the published mean with the annotators'; 0 where those are constant."""
    mean = np.array(scores).mean(axis=0)
    return 0.0 if np.ptp(mean) == 0 else float(np.corrcoef(mean_scores, mean)[0, 1])


def named_as(annotations: Iterable[Annotation], video_ids: Collection[str]) -> list[Annotation]:
    """The annotations under the ids that predictions have.

    SumMe's eccv16 file calls a video `video_1` and tells its file's name, `Air_Force_One`, beside it; predictions may
    go by either. An annotation whose id is not among the predictions, and whose file name is, gets that name as its id;
    every other one stays as it is.

    Raises:
        V2XumError: if two annotations would have one id.
    """
    wanted = set(video_ids)
    renamed = []
    for one in annotations:
        file_name = None if one.keyshots is None else one.keyshots.video_name
        if file_name is not None and file_name in wanted and one.video_id not in wanted:
            one = replace(one, video_id=file_name)
        renamed.append(one)
    known: set[str] = set()
    for one in renamed:
        if one.video_id in known:
            raise V2XumError(f"video {one.video_id!r}: two annotations go by this id or file name")
        known.add(one.video_id)
    return renamed
