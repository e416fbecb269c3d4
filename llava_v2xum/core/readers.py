"""What a reader of published annotations gives, and what all readers share.

A reader is a function from a file to a stream of `Accepted` and `Rejected`, one for every item of the file; nothing
of the file passes unmentioned. `convert.READERS` names them: another data set is a module with a `Reader`, and its name
there; `convert` and `evaluate` then have it as a command, and know its files from others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .annotations import Annotation, Span
from .checks import is_number, json_lines
from .data_sets import DataSet, FileKind
from .errors import V2XumError

_SHOWN_CHARACTERS = 80  # of an offending value, in a message
_ROUNDING_SECONDS = 1e-6  # published durations such as 161.07999999999998 end before their own 161.08


class SourceError(Exception):
    """A file that cannot be read, or is not of the format at all; the message names it."""


@dataclass(frozen=True)
class Accepted:
    """An annotation.

    Args:
        annotation: in the project's form.
        place: where in the file it stands, from 0 (the first of them, where several entries make one).
        clipped: how many time stamps lay beyond the video's ends, within the tolerance, and were moved to them.
        dropped: what is wrong with the spans that it lacks, whose video is whole without them; training rejects it.
    """

    annotation: Annotation
    place: int
    clipped: int = 0
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejected:
    """An item that gives no annotation.

    Args:
        video_id: its id, or None where it has none.
        place: where in the file it stands, from 0.
        reason: what is wrong with it.
    """

    video_id: str | None
    place: int
    reason: str

    def __str__(self) -> str:
        name = "no id" if self.video_id is None else repr(self.video_id)
        return f"item {self.place} ({name}): {self.reason}"


Read = Callable[[Path, float], Iterator["Accepted | Rejected"]]


@dataclass(frozen=True)
class Reader(FileKind):
    """How one format is read, besides what `FileKind` says.

    Args:
        read: (path, tolerance_seconds) -> items; raises SourceError for a file that is not of the format.
        help: one line for people.
        description: more of them, for `--help`.
        examples: for `--help`, what follows the format's name on the command line, and what that does.
        has_annotators: whether several people marked each video, so that a rule must choose among them.
        several: whether a video comes once for each person who annotated it.
        trains: whether training entries can be made of it; if not, only the annotation form is written.
        hub_name: of the data set on the Hugging Face hub; None where it is not there.
        data_set: how the data set is scored whose own format this is; None for a format of several.
    """

    read: Read
    help: str
    description: str
    examples: tuple[tuple[str, str], ...] = ()
    has_annotators: bool = False
    several: bool = False
    trains: bool = True
    hub_name: str | None = None
    data_set: DataSet | None = None


class TimeBounds:
    """Keeps time stamps inside a video, and counts those that it had to move.

    Args:
        duration_seconds: the video's length.
        tolerance_seconds: how far beyond an end a time stamp may lie.

    `moved` counts the time stamps that were moved to an end; rounding errors are moved and not counted. `dropped` tells
    of the spans that end before they start.

    Raises:
        V2XumError: if the duration is no positive number.
    """

    def __init__(self, duration_seconds: Any, tolerance_seconds: float) -> None:
        if not is_number(duration_seconds) or duration_seconds <= 0:
            raise V2XumError(f"duration must be a positive number of seconds, got {duration_seconds!r}")
        self.duration_seconds = float(duration_seconds)
        self.tolerance_seconds = tolerance_seconds
        self.moved = 0
        self.dropped: list[str] = []

    def second(self, name: str, second: Any) -> float:
        """The moment, inside 0..duration.

        Raises:
            V2XumError: if it is no number, or lies outside by more than the tolerance.
        """
        if not is_number(second):
            raise V2XumError(f"{name} must be a number of seconds, got {second!r}")
        inside = min(max(float(second), 0.0), self.duration_seconds)
        beyond = abs(second - inside)
        if beyond <= _ROUNDING_SECONDS:
            return inside
        if beyond > self.tolerance_seconds:
            raise V2XumError(
                f"{name} is {second} s, more than {self.tolerance_seconds:g} s outside the video "
                f"(0 to {self.duration_seconds} s)"
            )
        self.moved += 1
        return inside

    def span(self, name: str, span: Any) -> Span | None:
        """The span [start, end], inside 0..duration; None if it ends before it starts, which is kept in mind.

        Raises:
            V2XumError: as `second`, or if it is no pair.
        """
        if not isinstance(span, list) or len(span) != 2:
            raise V2XumError(f"{name} must be [start, end] in seconds, got {shown(span)}")
        inside = self.second(f"{name}: start", span[0]), self.second(f"{name}: end", span[1])
        if span[1] < span[0]:
            self.dropped.append(f"{name} ends before it starts: {span}")
            return None
        return inside


class RepeatedKeys(dict):
    """A JSON object in which a key stands more than once; `pairs` has them all."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def load_json(path: Path) -> Any:
    """The content of a JSON file; an object with a key that comes twice is a `RepeatedKeys`.

    Raises:
        SourceError: naming the file, if it cannot be read or is no JSON.
    """

    def kept(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        return content if len(content) == len(pairs) else RepeatedKeys(pairs)

    try:
        return json.loads(path.read_bytes(), object_pairs_hook=kept)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: expected JSON ({error})") from error


def load_list(path: Path, what: str) -> list[Any]:
    """The entries of a JSON file that is a list.

    Raises:
        SourceError: naming the file, if it is none, or empty.
    """
    content = load_json(path)
    if not isinstance(content, list) or not content:
        raise SourceError(f"{path}: expected a JSON list of {what}, got {described(content)}")
    return content


def load_object(path: Path, what: str) -> list[tuple[str, Any]]:
    """The keys and values of a JSON file that is one object; a key that comes twice is there twice.

    Raises:
        SourceError: naming the file, if it is none, or empty.
    """
    content = load_json(path)
    if not isinstance(content, dict) or not content:
        raise SourceError(f"{path}: expected a JSON object of {what}, got {described(content)}")
    return content.pairs if isinstance(content, RepeatedKeys) else list(content.items())


def load_lines(path: Path, what: str) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines.

    Raises:
        SourceError: naming the file, if it is none, or empty.
    """
    try:
        entries = [entry for _, _, entry in json_lines(path)]
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except V2XumError as error:
        raise SourceError(f"{path}: expected JSON lines of {what} ({error})") from error
    wrong = next((entry for entry in entries if not isinstance(entry, dict) or not entry), None)
    if not entries or wrong is not None:
        got = "an empty file" if not entries else described(wrong)
        raise SourceError(f"{path}: expected JSON lines of {what}, one object each, got {got}")
    return entries


def checked_list(name: str, value: Any, length: int | None = None) -> list[Any]:
    """The value, a list that is not empty, of that length where one is given.

    Raises:
        V2XumError: if it is none.
    """
    if not isinstance(value, list) or not value:
        raise V2XumError(f"{name} must be a list that is not empty, got {described(value)}")
    if length is not None and len(value) != length:
        raise V2XumError(f"{name} must have {length} items, got {len(value)}")
    return value


def checked_object(value: Any, *keys: str) -> dict[str, Any]:
    """The value, a JSON object with the keys.

    Raises:
        V2XumError: if it is none, or naming the keys that it lacks.
    """
    if not isinstance(value, dict):
        raise V2XumError(f"expected a JSON object, got {described(value)}")
    missing = [key for key in keys if key not in value]
    if missing:
        raise V2XumError(f"missing: {', '.join(missing)}")
    return value


def id_of(entry: Any, key: str) -> str | None:
    """The entry's id where it has one that can be told to people."""
    video_id = entry.get(key) if isinstance(entry, dict) else None
    return video_id if isinstance(video_id, str) else None


def described(value: Any) -> str:
    """What a value from JSON is, in a few words."""
    if isinstance(value, (list, dict)):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)} items"
    return shown(value)


def shown(value: Any) -> str:
    """The value as Python writes it, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
