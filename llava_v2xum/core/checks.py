"""JSON lines read and their values checked, as the annotation form and the prediction form share it."""

from __future__ import annotations

import codecs
import json
import math
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from .errors import V2XumError

_FEW = 3  # ids in a message


def json_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str, Any]]:
    """Read JSON lines; blank ones are passed over, and so is a byte order mark, which some editors write.

    Returns:
        the number of each line, from 1; where its value stands, for messages: `file:line`, and the video if it names
        one; the value.

    Raises:
        V2XumError: naming the file and the line, if one is no JSON or not in UTF-8.
        OSError: if the file cannot be read.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not line.strip():
                continue
            where = f"{Path(path)}:{number}"
            try:
                value = json.loads(line.decode())
            except (ValueError, RecursionError) as error:
                raise V2XumError(f"{where}: expected one JSON object a line, in UTF-8 ({error})") from error
            if isinstance(value, dict) and "video_id" in value:
                where += f": video {value['video_id']!r}"
            yield number, where, value


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value from JSON is a finite number; true and false are none."""
    if type(value) is int:
        return abs(value) < 2**53  # larger ones are no measurements, and float() refuses the largest
    return isinstance(value, float) and math.isfinite(value)


def is_frame(value: Any, count: int) -> bool:
    """Whether a value from JSON is an integer in 0..count - 1."""
    return type(value) is int and 0 <= value < count


def check_keys(record: Any, known: Collection[str], required: Collection[str], where: str = "") -> None:
    """Check that a value from JSON is an object with the required keys, and with none that is not known.

    Raises:
        V2XumError: beginning with `where`, naming the keys.
    """
    if not isinstance(record, dict):
        raise V2XumError(f"{where}expected a JSON object, got {type(record).__name__}")
    missing = [name for name in required if name not in record]
    if missing:
        raise V2XumError(f"{where}missing: {', '.join(missing)}")
    unknown = sorted(set(record) - set(known))
    if unknown:
        raise V2XumError(f"{where}unknown keys {', '.join(unknown)}; expected {', '.join(known)}")


def check_text(name: str, value: Any) -> None:
    """Check that a value is text with something in it, that can be written as UTF-8.

    Raises:
        V2XumError: if it is not.
    """
    if not isinstance(value, str) or not value.strip():
        raise V2XumError(f"{name} must be text that is not empty, got {value!r}")
    check_prose(name, value)


def check_prose(name: str, value: Any) -> None:
    """Check that a value is text, empty or not, that can be written as UTF-8.

    Raises:
        V2XumError: if it is not.
    """
    if not isinstance(value, str):
        raise V2XumError(f"{name} must be text, got {value!r}")
    check_unicode(name, value)


def check_unicode(name: str, value: str) -> None:
    """Check that text can be written as UTF-8.

    Raises:
        V2XumError: if it cannot: half a surrogate pair is no character.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise V2XumError(f"{name} is no valid Unicode: {value!r}") from error


def as_list(name: str, value: Any) -> Sequence[Any]:
    """The value, a list or tuple.

    Raises:
        V2XumError: if it is neither.
    """
    if not isinstance(value, (list, tuple)):
        raise V2XumError(f"{name} must be a list, got {value!r}")
    return value


def checked_numbers(name: str, values: Any, count: int) -> tuple[float, ...]:
    """The values, `count` finite numbers.

    Raises:
        V2XumError: if they are not.
    """
    values = as_list(name, values)
    if len(values) != count:
        raise V2XumError(f"{name} must have {count} numbers, got {len(values)}")
    if not all(map(is_number, values)):
        wrong = next(value for value in values if not is_number(value))
        raise V2XumError(f"{name} must hold finite numbers alone, got {wrong!r}")
    return tuple(map(float, values))


def first_few(ids: Collection[Any]) -> str:
    """Some ids for a message, where there may be thousands."""
    return ", ".join(map(repr, list(ids)[:_FEW])) + (", ..." if len(ids) > _FEW else "")
