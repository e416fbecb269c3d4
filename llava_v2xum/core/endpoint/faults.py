"""Tries of a request that gave no answer: what they say, whether a further one can help, and how long to wait."""

from __future__ import annotations

import email.utils
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .outcomes import Failed, Stop
from .replies import shown

LONGEST_PAUSE_SECONDS = 60.0  # our choice: rate limits are mostly told by the minute
_MOVED = "the server is at another address"  # not followed: some ways there lose the question, and any the key
_FINAL = {
    301: _MOVED,
    302: _MOVED,
    303: _MOVED,
    307: _MOVED,
    308: _MOVED,
    401: "the server refuses the key",
    402: "the account has nothing left",
    403: "the server refuses access",
    404: "no such model or address (does it end in /v1?)",
}
_PASSING = (408, 409, 429)  # and all 5xx
_FILTERED = ("content_filter", "content_policy_violation")  # codes of a 400


@dataclass(frozen=True)
class Fault:
    """A try that gave no completion.

    Args:
        text: what happened, for people.
        status: of HTTP, or None.
        body: the server's own words, whole.
        code: the server's name for it.
        pause_seconds: how long the server asks to wait.
    """

    text: str
    status: int | None = None
    body: str = ""
    code: str | None = None
    pause_seconds: float | None = None

    @property
    def filtered(self) -> bool:
        """Whether the server will never answer this prompt."""
        return self.status == 400 and self.code in _FILTERED


def status_fault(error: Any, redacted: Callable[[str], str]) -> Fault:
    """What an `openai.APIStatusError` says.

    Args:
        redacted: blacks out the key, of which servers repeat parts of the request.
    """
    body = redacted(error.response.text)
    said = error.body if isinstance(error.body, dict) else {}
    headers = error.response.headers
    message = said.get("message") or said.get("detail") or headers.get("location") or body
    text = f"HTTP {error.status_code}: {shown(redacted(str(message)))}"  # before it is cut: half a key is one too
    return Fault(text, error.status_code, body, error.code, _asked_seconds(headers.get("retry-after")))


def check_hope(fault: Fault, key_hint: str) -> None:
    """Raise if no further try can help.

    Args:
        key_hint: what to tell of the key where the server refuses it.

    Raises:
        Stop: if no other request can do better.
        Failed: if it is this request.
    """
    status = fault.status
    if status in _FINAL:
        raise Stop(f"{_FINAL[status]}{f' ({key_hint})' if status == 401 else ''}: {fault.text}")
    if status == 429 and fault.code == "insufficient_quota":
        raise Stop(f"{_FINAL[402]}: {fault.text}")
    if status is not None and status < 500 and status not in _PASSING:
        raise Failed(f"the server refuses the request: {fault.text}")


def pause_seconds(failures: int, backoff_seconds: float, asked_seconds: float | None) -> float:
    """How long to wait after so many failures.

    Half of a pause of our own is by chance, so that requests which failed together do not come again together.

    Args:
        backoff_seconds: after the first; it doubles with each further one.
        asked_seconds: what the server asks for, or None.
    """
    if asked_seconds is None:
        return min(backoff_seconds * 2 ** (failures - 1), LONGEST_PAUSE_SECONDS) * random.uniform(0.5, 1.0)
    return min(max(asked_seconds, 0.0) + random.uniform(0.0, backoff_seconds), LONGEST_PAUSE_SECONDS)


def _asked_seconds(header: str | None) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date."""
    if header is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}(\.[0-9]*)?\s*", header):
        return float(header)
    date = email.utils.parsedate_tz(header)
    return None if date is None else email.utils.mktime_tz(date) - time.time()
