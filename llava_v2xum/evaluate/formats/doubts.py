"""What makes given files doubtful, though they can be read: refused, or told at the head of the report.

Nothing here changes a figure. Each function tells one kind of doubt in one line or none, with the worst case by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ...core.annotations import Annotation
from ...core.checks import first_few
from ...core.citations import CitationGrammar
from ...core.data_sets import plain_name
from ...core.errors import V2XumError
from .cases import Case
from .data_sets import DATA_SETS

_ROUNDING_SECONDS = 2  # our choice: durations and counts of samples are rounded in several ways
_MUCH_BEYOND = 1.1  # our choice: of a duration; published time stamps end a little late where they do
_CITATION = CitationGrammar().closed_list
# `0.0 - 10.5 seconds, ...` (TimeChat), `..., from 00 to 15` (VTimeLLM), `{"timestamp": [0, 10.5]}`
_TIMES = re.compile(
    r"\b\d+(\.\d+)?\s*(-|to|and)\s*\d+(\.\d+)?\s*(s|sec|seconds)\b|\bfrom \d+ to \d+\b|\"(timestamps?|start)\"", re.I
)


def annotation_doubts(path: Path, dataset: str, annotations: Sequence[Annotation]) -> list[str]:
    """What is doubtful of a data set's annotations.

    Raises:
        V2XumError: naming the file, if they are another data set's.
    """
    lines = [_identity(path, dataset, annotations), *_lengths(annotations), _change_points(annotations)]
    return [line for line in lines if line]


def prediction_doubts(cases: Sequence[Case]) -> list[str]:
    """What is doubtful of the predictions that are scored."""
    lines = [_without_citations(cases), _brackets(cases), _late_sentences(cases)]
    return [line for line in lines if line]


def _identity(path: Path, dataset: str, annotations: Sequence[Annotation]) -> str | None:
    own = DATA_SETS[dataset].identity
    if own is None or _share(dataset, annotations) > 0.5:
        return None
    what = f"{len(annotations)} videos with {_people(annotations)} ({_names(annotations)})"
    for name, known in DATA_SETS.items():
        if known.keyshots == DATA_SETS[dataset].keyshots and _share(name, annotations) > 0.5:
            raise V2XumError(f"{path}: expected annotations of {dataset} ({own}), got those of {name}: {what}")
    return f"the annotations are not {dataset} as published ({own}): {what}; published figures are of other ones"


def _share(dataset: str, annotations: Sequence[Annotation]) -> float:
    """The share of the videos that are a data set's: by their names, else by how many people annotated them."""
    known = {name: one.identity for name, one in DATA_SETS.items() if one.identity is not None}
    fit = 0
    for one in annotations:
        names = {plain_name(one.video_id), plain_name(_file_name(one) or "")}
        by_name = [name for name, identity in known.items() if names & identity.names]
        by_people = [name for name, identity in known.items() if identity.has(_annotators(one))]
        fit += dataset in (by_name or by_people)
    return fit / len(annotations)


def _annotators(one: Annotation) -> int:
    return one.annotators if one.keyshots is None else one.keyshots.annotators


def _file_name(one: Annotation) -> str | None:
    return None if one.keyshots is None else one.keyshots.video_name


def _people(annotations: Sequence[Annotation]) -> str:
    counts = sorted({_annotators(one) for one in annotations})
    return f"{counts[0]} annotators" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} annotators"


def _names(annotations: Sequence[Annotation]) -> str:
    return first_few([_file_name(one) or one.video_id for one in annotations])


def _lengths(annotations: Sequence[Annotation]) -> Iterator[str]:
    """Videos annotated at 1 FPS whose samples and seconds do not go together, other than by rounding."""
    lengths = [(one, _samples(one), one.duration_seconds) for one in annotations if one.keyshots is None]
    known = [(one, samples, seconds) for one, samples, seconds in lengths if samples and seconds]
    late = [one for one, samples, seconds in known if samples > seconds + _ROUNDING_SECONDS]
    if late:
        yield (f"{len(late)} annotated videos have samples more than a second behind their ends, though sample k is "
            "second k; they are taken at the end")  # fmt: skip
    long = [(seconds - samples, one) for one, samples, seconds in known if seconds > samples + _ROUNDING_SECONDS]
    if long:
        worst = max(long, key=lambda pair: pair[0])[1]
        yield (f"{len(long)} annotated videos are longer than their samples, though sample k is second k, most of all "
            f"{worst.video_id!r} ({worst.duration_seconds:g} s, {_samples(worst)} samples): if durations are not in "
            "seconds or samples are missing, indexes are brought to the wrong samples")  # fmt: skip


def _samples(one: Annotation) -> int:
    return len(one.selections[0]) if one.selections else one.sampled_frames or 0


def _change_points(annotations: Sequence[Annotation]) -> str | None:
    shots = [(one.keyshots, one) for one in annotations if one.keyshots is not None]
    ends = [(some.change_points[-1][1], some.n_frames - 1, one) for some, one in shots if some.change_points]
    short = [found for found in ends if found[0] < found[1]]
    if not short:
        return None
    end, last, worst = max(short, key=lambda found: found[1] - found[0])
    return f"the change points of {len(short)} of {len(shots)} videos end before their last frame, most of all those " \
        f"of {worst.video_id!r} (frame {end} of 0..{last}): no summary has what lies behind, and --budget says of " \
        "which length it takes its share"


def _without_citations(cases: Iterable[Case]) -> str | None:
    """Where most answers select nothing, they are perhaps of another form."""
    answers = [one.prediction for one in cases if one.prediction is not None and one.prediction.frames is not None]
    silent = [one for one in answers if not one.frames]
    if len(silent) <= len(answers) / 2:
        return None
    told = f"{len(silent)} of {len(answers)} answers cite no frame, and score as summaries without any"
    timed = [one for one in silent if _TIMES.search(one.text or "")]
    if timed:
        told += f"; {len(timed)} tell times in their text instead, as that of {timed[0].video_id!r}, which count as " \
            "words in the caption scores: --prediction-format vtimellm and timechat read those systems' own files, " \
            "dense-captions reads sentences with their seconds"
    return told


def _brackets(cases: Iterable[Case]) -> str | None:
    found = [
        (match[0], one.prediction.video_id)
        for one in cases
        if one.prediction is not None and (match := _CITATION.search(one.prediction.text or ""))
    ]
    if not found:
        return None
    first, video_id = found[0]
    return f"{len(found)} predicted texts hold numbers in brackets, such as {first} of {video_id!r}: scored as " \
        "words, as they are of another system's form; in `answer` and `text` of the prediction form they are citations"


def _late_sentences(cases: Iterable[Case]) -> str | None:
    """Sentences that are told to end well behind the video: in milliseconds, or in another file's time."""
    timed = [
        (sentence.end_seconds, case.annotation)
        for case in cases
        if case.prediction is not None and case.annotation.duration_seconds is not None
        for sentence in case.prediction.sentences or ()
        if sentence.end_seconds is not None
    ]
    late = [
        (end / one.known_duration, end, one) for end, one in timed if end > _MUCH_BEYOND * one.known_duration + 1
    ]
    if not late:
        return None
    _, end, worst = max(late, key=lambda some: some[0])
    return f"{len(late)} of {len(timed)} predicted sentences with times end behind their videos, most of all one of " \
        f"{worst.video_id!r} at {end:g} s of {worst.known_duration:g} s: times are in seconds of the annotated video"
