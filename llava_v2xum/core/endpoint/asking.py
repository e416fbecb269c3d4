"""A question that is asked until its answer can be used; every answer is stored before it is looked at."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..special_tokens import spelt
from .endpoint import Endpoint
from .outcomes import counted
from .replies import shown
from .store import Ledger

# An estimate on the safe side: English has 4 to 5 letters a token, Thai and Chinese about 3 bytes of UTF-8; digits and
# signs are a token each with Llama's tokenizer.
LETTERS_PER_TOKEN = 3
BYTES_PER_TOKEN = 2  # beyond ASCII
CORRECTION_TOKENS = 384  # what a second question has more than the first
_LETTERS = re.compile(r"[A-Za-z]+( [A-Za-z]+)*")

T = TypeVar("T")


class Unusable(Exception):
    """An answer that cannot be used; the message says why, for the model to read."""


def ask(
    endpoint: Endpoint,
    ledger: Ledger,
    question: str,
    schema: Mapping[str, Any],
    max_tokens: int,
    check: Callable[[Any], T],
    attempts: int,
) -> T:
    """Ask for JSON, and tell the model what was wrong with its answer until one is right.

    What is stored is found again by the whole request and the number of the attempt, so that a run which was killed
    asks nothing twice.

    Args:
        schema: of the answer, as `Endpoint.chat`.
        check: a value that fits the schema -> what the caller wants of it, or `Unusable`.
        attempts: the most answers.

    Raises:
        Unusable: with what was wrong with the last answer.
        Failed, Stop: as `Endpoint.chat`.
    """
    messages = [{"role": "user", "content": question}]
    for attempt in range(attempts):
        answer = _stored_answer(endpoint, ledger, messages, schema, max_tokens, attempt)
        try:
            if answer["problem"] is not None:
                raise Unusable(answer["problem"])
            return check(answer["value"])
        except Unusable as error:
            problem = str(error)
        # not all that went before: that would not fit the context; the number makes each question another one
        correction = f"That cannot be used: {spelt(problem)}. It was answer {attempt + 1} of {attempts}."
        messages = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": spelt(shown(answer["text"])) if answer["text"] else "(no answer)"},
            {"role": "user", "content": f"{correction} Answer again, with the whole JSON alone."},
        ]
    raise Unusable(f"no answer of {attempts} could be used; the last: {problem}")


def _stored_answer(
    endpoint: Endpoint,
    ledger: Ledger,
    messages: list[dict[str, str]],
    schema: Mapping[str, Any],
    max_tokens: int,
    attempt: int,
) -> dict[str, Any]:
    request = [messages, schema, max_tokens, endpoint.settings(), attempt]
    part = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:32]
    if (answer := ledger.get(part)) is None:
        with counted(ledger):
            reply = endpoint.chat(messages, schema, max_tokens)
        answer = {"text": reply.text, "value": reply.value, "problem": reply.problem}
        ledger.put(part, answer, reply.cost)
    return answer


def tokens_of(text: str) -> int:
    """About how many tokens a text has, since a model's tokenizer is not at hand."""
    others = _LETTERS.sub("", text)
    signs = sum(map(str.isascii, others))
    beyond = len(others.encode()) - signs
    return math.ceil((len(text) - len(others)) / LETTERS_PER_TOKEN + signs + beyond / BYTES_PER_TOKEN)
