"""What an OpenAI-compatible server answered: its body -> the model's text -> a JSON value that fits a schema.

All of it is untrusted. A body that is no chat completion is the server's fault, and asked for again; a text that is
not what was asked for is the model's, and told in `Reply.problem`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import V2XumError
from ..extras import require
from ..special_tokens import without_leaked_ends
from .store import Cost

# what reasoning models think, where the server leaves it in: the opening tag may be the prompt's (DeepSeek's and Qwen's
# templates), and the closing one is missing where the answer was cut off
_THOUGHTS = re.compile(r"\A(?:.*?</think(?:ing)?>|\s*<think(?:ing)?>.*)", re.DOTALL)
_FENCED = re.compile(r"```[a-zA-Z]*\n(.*?)```", re.DOTALL)
EXTRA = "endpoint"  # of setup.py: it brings openai and jsonschema
_SHOWN_CHARACTERS = 300
_MOST_CHARACTERS = 100_000  # far more than the most tokens that are ever asked for


@dataclass(frozen=True)
class Reply:
    """One answer of an endpoint.

    Args:
        text: the model's, blanks and leaked special tokens at both ends off; it may be empty.
        value: the JSON that the text is, where a schema was asked for and it fits; else None.
        cost: of the request, its failed tries included.
        problem: why the answer cannot be used as it is, or None: it is empty, was cut off, was refused by a content
            filter, or is no JSON that fits the schema.
    """

    text: str
    value: Any
    cost: Cost
    problem: str | None = None


@dataclass(frozen=True)
class Completion:
    """A server's chat completion.

    Args:
        text, problem: as of a `Reply`, before any schema is looked at.
        prompt_tokens, completion_tokens: as the server counts them, or None where it does not say.
    """

    text: str
    problem: str | None
    prompt_tokens: int | None
    completion_tokens: int | None


def read_completion(body: bytes) -> Completion:
    """Read the body of a server's answer.

    Raises:
        V2XumError: if it is no chat completion.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise V2XumError(f"the body is no JSON: {shown(body[:_MOST_CHARACTERS].decode(errors='replace'))}") from error
    choices = answer.get("choices") if isinstance(answer, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise V2XumError(f"the body is no chat completion: {shown(body.decode(errors='replace'))}")
    # half a surrogate pair is no character
    text = without_leaked_ends(_THOUGHTS.sub("", _text_of(message.get("content")).encode(errors="replace").decode()))
    problem = _problem(text, choice.get("finish_reason"), message.get("refusal"))
    if len(text) > _MOST_CHARACTERS:
        text, problem = text[:_SHOWN_CHARACTERS], f"the answer has {len(text)} characters"
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Completion(
        text,
        problem,
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
    )


def _text_of(content: Any) -> str:
    """A message's text, whole or, as Mistral's reasoning models write it, in parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _problem(text: str, finish_reason: Any, refusal: Any) -> str | None:
    if finish_reason == "length":
        return "the answer was cut off at its most tokens, what was thought before it counted"
    if finish_reason == "content_filter":
        return "the server's content filter took the answer"
    if not text:
        return f"the model refused: {shown(refusal)}" if isinstance(refusal, str) and refusal else "the answer is empty"
    return None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None


def read_value(text: str, schema: Mapping[str, Any]) -> Any:
    """The JSON that a model wrote, alone, in a code fence or among prose.

    Raises:
        V2XumError: if there is none, or it does not fit the schema; the message is made for the model to read.
    """
    validator = require("jsonschema", EXTRA).Draft202012Validator(schema)
    errors: list[Any] = []
    for value in _find_json(text):
        # the deepest error last would depend on the library's release; the first by its place does not
        errors = sorted(validator.iter_errors(value), key=lambda error: [str(step) for step in error.absolute_path])
        if not errors:
            return value
    if not errors:
        raise V2XumError(f"the answer is no JSON: {shown(text)}")
    place = "".join(f"[{step!r}]" for step in errors[0].absolute_path)
    raise V2XumError(f"the JSON does not fit its schema{' at ' * bool(place)}{place}: {shown(errors[0].message)}")


def _find_json(text: str) -> Iterator[Any]:
    """All of the text, each code fence of it, or from its first brace to its last, as far as these are JSON."""
    candidates = [text, *(match[1] for match in _FENCED.finditer(text)), text[text.find("{") : text.rfind("}") + 1]]
    for candidate in candidates:
        try:
            value = json.loads(candidate, parse_constant=_no_constant)
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair cannot be stored
        except (ValueError, RecursionError):
            continue
        yield value


def _no_constant(name: str) -> None:
    raise V2XumError(f"{name} is no JSON")


def shown(text: str) -> str:
    """The text for a message: on one line, quoted, and not long."""
    text = " ".join(text.split())
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")
