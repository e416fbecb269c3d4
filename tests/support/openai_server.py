"""A local HTTP server that speaks the OpenAI protocol, answers sensibly, and fails as it is told to.

    with OpenAIServer(faults=Seeded(0.3, seed=1)) as server:
        Endpoint(server.base_url, "tiny")

What it is asked is told by the request: pictures are to be described (by the `captions` callable), a schema with
`frames` is an extraction (every third of the distinct captions), one with `sentences` is a refining (`Then ...`).
A request is known by its content, the model and messages alone, so that tests can count how often one was asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from local_server import HTTPServer, LocalServer

STATUS_FAULTS = ("400", "401", "403", "404", "408", "409", "429", "500", "502", "503")
FAULTS = (
    *STATUS_FAULTS,
    "slow",  # silent for `slow_seconds`
    "cut",  # the connection ends in the middle of the body
    "bad_body",  # a body that is no JSON
    "no_choices",  # a 200 with an error in its body, as some gateways send
    "bad_json",  # a completion whose text is no JSON, and no sentence to store
    "unknown_frames",  # frames that were not in the question
    "empty",  # a completion without text
    "length",  # cut off at its most tokens
)
PASSING = ("408", "409", "429", "500", "502", "503", "slow", "cut", "bad_body", "no_choices")  # a client tries again
ANSWERS = ("bad_json", "unknown_frames", "empty", "length")  # the model's own

_LINE = re.compile(r"^(\d+): (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Seeded:
    """Faults by chance, the same for the same question whatever the order of requests.

    Args:
        rate: of the tries.
        most: for one question, its corrections included, so that a client with more tries gets its answer.
    """

    rate: float
    seed: int = 0
    kinds: Sequence[str] = (*PASSING, *ANSWERS)
    most: int = 2

    def __call__(self, question: str, time_asked: int) -> str | None:
        if time_asked >= self.most:
            return None
        drawn = hashlib.sha256(f"{self.seed} {question} {time_asked}".encode()).digest()
        if int.from_bytes(drawn[:4], "big") / 2**32 >= self.rate:
            return None
        return self.kinds[drawn[4] % len(self.kinds)]


@dataclass
class Asked:
    """A request: its content's hash, its fault (None: a good answer), headers by names in lower case, body, time."""

    content: str
    fault: str | None
    headers: Mapping[str, str]
    body: dict[str, Any]
    seconds: float = field(default_factory=time.monotonic)


class OpenAIServer(LocalServer):
    """The server, running while the context is open.

    Args:
        captions: encoded pictures of one request and its text -> the caption.
        faults: the fault of each request, in the order of their coming (None is a good answer; after the last one
            all are good), or a callable of the question (a hash; corrections of its answers do not change it) and how
            often it was asked before.
        formats: the response_format types it takes; others are a 400 that names them.
        refuses: names of request settings that are a 400.
        usage: whether it tells tokens.
        answer_seconds: how long an answer takes.
        retry_after: the header of a 429 and 503.
        text: what it answers instead of anything else, given the request's text.

    Attributes:
        asked: every request so far.
        most_at_once: the most requests in work at one time.
    """

    def __init__(
        self,
        captions: Callable[[Sequence[bytes], str], str] | None = None,
        faults: Iterable[str | None] | Callable[[str, int], str | None] = (),
        formats: Sequence[str] = ("json_schema", "json_object"),
        refuses: Sequence[str] = (),
        usage: bool = True,
        answer_seconds: float = 0.0,
        slow_seconds: float = 1.5,
        retry_after: str | None = "0",
        text: Callable[[str], str] | None = None,
    ) -> None:
        self.captions = captions or (lambda pictures, prompt: f"A picture of {sum(map(len, pictures))} bytes.")
        self.faults = faults if callable(faults) else list(faults)
        self.formats, self.refuses, self.usage, self.text = formats, refuses, usage, text
        self.answer_seconds, self.slow_seconds, self.retry_after = answer_seconds, slow_seconds, retry_after
        self.asked: list[Asked] = []
        self.most_at_once = self._at_once = 0
        self._times: Counter[str] = Counter()
        self._lock = threading.Lock()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return _Handler

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def answered(self) -> Counter[str]:
        """How often each content had an answer, good or bad, that a client can store: more than 1 is paid twice."""
        return Counter(one.content for one in self.asked if one.fault is None or one.fault in ANSWERS)

    def begin(self, headers: Mapping[str, str], body: dict[str, Any]) -> str | None:
        """Note a request; the fault that it meets."""
        content, question = _hash(body["model"], body["messages"]), _hash(body["model"], body["messages"][:1])
        with self._lock:
            number = len(self.asked)
            if callable(self.faults):
                fault = self.faults(question, self._times[question])
            else:
                fault = self.faults[number] if number < len(self.faults) else None
            if fault is not None and fault not in FAULTS:
                raise ValueError(f"no such fault: {fault!r}")
            self._times[question] += 1
            self.asked.append(Asked(content, fault, headers, body))
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        return fault

    def end(self) -> None:
        with self._lock:
            self._at_once -= 1

    def refusal(self, body: Mapping[str, Any]) -> str | None:
        """Why the server does not take the request, or None."""
        asked = (body.get("response_format") or {}).get("type", "text")
        if asked != "text" and asked not in self.formats:
            return f"'response_format.type' must be one of {(*self.formats, 'text')}, got {asked}"
        for name in self.refuses:
            if name in body:
                hint = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
                return f"Unsupported parameter: '{name}' is not supported with this model.{hint}"
        return None

    def answer(self, body: Mapping[str, Any], fault: str | None) -> str:
        """The completion's text."""
        text, pictures = _read_messages(body["messages"])
        if fault == "bad_json":
            return '{"frames": [1, 2'
        if fault == "empty":
            return ""
        if self.text is not None:
            return self.text(text)
        schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
        kind = json.dumps(schema) if schema else text
        if pictures:
            return self.captions(pictures, text)
        lines = [(int(frame), caption) for frame, caption in _LINE.findall(text)]
        if '"score"' in kind:
            return json.dumps({"score": 4, "reason": "Most of it fits."})
        if '"sentences"' in kind:
            first = 10_000 if fault == "unknown_frames" else 0
            sentences = [{"frame": frame + first, "text": _reworded(caption)} for frame, caption in lines]
            return json.dumps({"sentences": sentences})
        if '"frames"' in kind:
            return json.dumps({"frames": [99_999] if fault == "unknown_frames" else _every_third(lines)})
        return f"You said: {text[:100]}"


def _hash(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _read_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[bytes]]:
    """The text of the first question (later ones are corrections) and of a schema behind the last; the pictures."""
    texts, pictures = [], []
    for message in messages:
        if message["role"] == "assistant":
            continue
        parts = message["content"]
        for part in [{"type": "text", "text": parts}] if isinstance(parts, str) else parts:
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                pictures.append(base64.b64decode(part["image_url"]["url"].partition("base64,")[2], validate=True))
    return "\n".join(texts), pictures


def _every_third(lines: Sequence[tuple[int, str]]) -> list[int]:
    first_frames = {caption: frame for frame, caption in reversed(lines)}
    return sorted(first_frames.values())[::3]


def _reworded(caption: str) -> str:
    """The caption's first words as one short sentence."""
    words = re.sub(r"[\[\]<>]", "", caption).rstrip(". ").split()[:20]
    return f"Then {words[0].lower()} {' '.join(words[1:])}".strip() + "."


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HTTPServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            return self._error(404, "no such path", {})
        owner = self.server.owner
        fault = owner.begin({name.lower(): value for name, value in self.headers.items()}, body)
        try:
            time.sleep(owner.slow_seconds if fault == "slow" else owner.answer_seconds)
            self._respond(owner, body, fault)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client went away: it was slow on purpose, or was killed
        finally:
            owner.end()

    def _respond(self, owner: OpenAIServer, body: dict[str, Any], fault: str | None) -> None:
        refusal = owner.refusal(body)
        if fault in STATUS_FAULTS:
            wait = {"Retry-After": owner.retry_after} if fault in ("429", "503") and owner.retry_after else {}
            # real servers repeat keys in what they say
            return self._error(int(fault), f"fault {fault} for {self.headers.get('Authorization')}", wait)
        if refusal is not None:
            return self._error(400, refusal, {})
        if fault == "bad_body":
            return self._send(200, b'{"choices": [{"message": {"content": "A m', {})
        if fault == "no_choices":
            return self._send(200, json.dumps({"error": {"message": "upstream is busy"}}).encode(), {})
        payload = json.dumps(self._completion(owner, body, fault)).encode()
        if fault == "cut":
            self._send(200, payload, {}, sent=len(payload) // 2)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        return self._send(200, payload, {})

    def _completion(self, owner: OpenAIServer, body: dict[str, Any], fault: str | None) -> dict[str, Any]:
        text = owner.answer(body, fault)
        if fault == "length":
            text = text[: len(text) // 2]
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "length" if fault == "length" else "stop"}
        answer = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
        if owner.usage:
            asked, said = len(_read_messages(body["messages"])[0].split()), len(text.split())
            answer["usage"] = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
        return answer

    def _error(self, status: int, message: str, headers: Mapping[str, str]) -> None:
        self._send(status, json.dumps({"error": {"message": message, "type": "x", "code": None}}).encode(), headers)

    def _send(self, status: int, payload: bytes, headers: Mapping[str, str], sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(payload)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload[:sent])

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing: the base class writes a line a request."""
