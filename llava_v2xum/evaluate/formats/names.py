"""Video names that are the same but for how people write them: blanks, underscores, a file's ending, `v_`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ...core.annotations import Annotation
from ...core.data_sets import plain_name
from ...core.errors import V2XumError
from .predictions import Prediction

MATCHES = {
    "exact": "as they stand",
    "normalised": "blanks and underscores, a video file's ending and a leading v_ make no difference",
}


def matched(
    annotations: Iterable[Annotation], predictions: Mapping[str, Prediction], match: str = "exact"
) -> tuple[dict[str, Prediction], list[str]]:
    """The predictions under the annotations' ids, and what a reader must know of that.

    Args:
        match: of `MATCHES`.

    Raises:
        V2XumError: if two videos are one without what makes no difference, and that is asked for; if names are to be
            taken as they stand, more than half of the annotated videos have no prediction, and some would have one.
    """
    annotations = list(annotations)
    near, unclear = _near(annotations, predictions)
    if match != "exact" and unclear:
        names = " and ".join(map(repr, unclear[0]))
        raise V2XumError(f"the videos {names} have one name without blanks, underscores, ending and v_")
    if not near:
        return dict(predictions), []
    theirs, ours = next(iter(near.items()))
    such = f"such as {theirs!r} for {ours!r}"
    if match != "exact":
        pairs = [(near.get(name, name), one) for name, one in predictions.items()]
        renamed = {name: replace(one, video_id=name) for name, one in pairs}
        return renamed, [f"{len(near)} predicted videos are written in another way than annotated, {such}"]
    missing = sum(one.video_id not in predictions for one in annotations)
    told = f"{len(near)} predicted videos differ from annotated ones in blanks, underscores, ending or v_, {such}: "
    if missing > len(annotations) / 2:
        raise V2XumError(f"{missing} of {len(annotations)} annotated videos have no prediction of their name; {told}"
            "--match normalised takes them for the same")  # fmt: skip
    return dict(predictions), [told + "they are not scored without --match normalised"]


def _near(
    annotations: Iterable[Annotation], predictions: Mapping[str, Prediction]
) -> tuple[dict[str, str], list[list[str]]]:
    """Predicted id -> annotated id, of those that are the same by their plain names alone; and names that share one."""
    known: set[str] = set()
    ours: dict[str, list[str]] = {}
    theirs: dict[str, list[str]] = {}
    for one in annotations:
        known.add(one.video_id)
        if one.video_id not in predictions:
            names = {one.video_id, (one.keyshots and one.keyshots.video_name) or one.video_id}
            for plain in set(map(plain_name, names)):
                ours.setdefault(plain, []).append(one.video_id)
    for name in predictions:
        if name not in known:
            theirs.setdefault(plain_name(name), []).append(name)
    both = [(theirs[plain], found) for plain, found in ours.items() if plain in theirs]
    near = {names[0]: found[0] for names, found in both if len(names) == len(found) == 1}
    return near, [max(names, found, key=len) for names, found in both if not len(names) == len(found) == 1]
