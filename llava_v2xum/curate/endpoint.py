"""A model behind an OpenAI-compatible HTTP endpoint: a hosted one, vLLM, llama.cpp, Ollama.

A fault that may pass (a rate limit, a 5xx, a cut connection, a time limit, a body that is no completion) is tried
again, later each time. The `openai` package sends the requests; its own retries are off, because each try has to be
counted. The key is read from the environment when the first request is made, and blacked out of all that servers say.
"""

from __future__ import annotations

import email.utils
import logging
import os
import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from ..evaluate.extras import require
from .budget import Budget
from .dialect import Dialect
from .replies import Completion, Reply, read_completion, read_value, shown
from .stages import Failed, Stop
from .store import Cost

logger = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 60.0  # our choice: rate limits are mostly told by the minute
_NO_KEY = "none"  # what is sent where no key is set: servers of one's own ask for none, the package wants one
_SECRET_CHARACTERS = 16  # a shorter key is a server's placeholder ("EMPTY"), and may be a word of an answer
_FINAL = {401: "the server refuses the key", 402: "the account has nothing left", 403: "the server refuses access"}
_PASSING = (408, 409, 429)  # and all 5xx
_FILTERED = ("content_filter", "content_policy_violation")  # codes of a 400: this prompt will never be answered


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


@dataclass(eq=False)
class Endpoint:
    """One model of one server; threads may share it, and it may be pickled.

    Args:
        base_url: such as "http://localhost:8000/v1".
        model: as the server names it.
        api_key_env: the environment variable that holds the key; servers that ask for none need none.
        timeout_seconds: the longest silence of a connection before a try is given up.
        tries: the most for one answer.
        concurrency: the most requests at a time. A request that waits for its next try keeps its place, so that a
            server that asks for less gets less.
        temperature: 0 for the likeliest answer; None leaves it to the server.
        seed: None leaves it to the server.
        backoff_seconds: the pause before the second try; it doubles with each further one.
        budget: counts and bounds what is asked, or None.

    Raises:
        ValueError: if an argument is none of these.
    """

    base_url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    timeout_seconds: float = 60.0
    tries: int = 6
    concurrency: int = 8
    temperature: float | None = 0.0
    seed: int | None = 0
    backoff_seconds: float = 1.0
    budget: Budget | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if "@" in parts.netloc:
            raise ValueError(f"the endpoint's address must hold no name and key: set {self.api_key_env} to the key")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"expected an address such as http://localhost:8000/v1, got {self.base_url!r}")
        if not self.model:
            raise ValueError("the endpoint's model must be named")
        for name in ("timeout_seconds", "tries", "concurrency"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(self.concurrency)
        self._dialect, self._key, self._client, self._usage_told = Dialect(), "", None, True

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    def settings(self) -> dict[str, Any]:
        """What its answers depend on, as `Stage.settings`."""
        return {"model": self.model, "temperature": self.temperature, "seed": self.seed}

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        schema: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
    ) -> Reply:
        """One answer of the model.

        Args:
            messages: as in the protocol, the last from the user (its content text, where there is a schema).
            schema: the JSON schema of the answer, or None for text. Each object of it should list all its properties
                as required and allow no others, which servers that hold to it strictly ask for.
            max_tokens: the most to answer with.

        Raises:
            Failed: if the server gave no answer.
            Stop: if the budget is spent, or the server refuses the key or does not know the model.
        """
        with self._places:
            started = time.monotonic()
            calls, answer = self._ask(messages, schema, max_tokens)
            seconds = time.monotonic() - started
        cost = Cost(calls, answer.prompt_tokens or 0, answer.completion_tokens or 0, seconds)
        if self.budget is not None:
            self.budget.spend(cost.prompt_tokens + cost.completion_tokens)
        if answer.problem is not None or schema is None:
            return Reply(answer.text, None, cost, answer.problem)
        try:
            return Reply(answer.text, read_value(answer.text, schema), cost)
        except ValueError as error:
            return Reply(answer.text, None, cost, str(error))

    def _ask(
        self, messages: Sequence[Mapping[str, Any]], schema: Mapping[str, Any] | None, max_tokens: int | None
    ) -> tuple[int, Completion]:
        """How many tries were made, and what came of the last."""
        calls = failures = 0
        while True:
            if self.budget is not None:
                self.budget.take()
            calls += 1
            dialect = self._dialect
            request = dialect.request(messages, schema, max_tokens, self._sampling())
            outcome = self._try(request)
            if isinstance(outcome, Completion):
                return calls, outcome
            if self._learnt(dialect, outcome, request):
                continue
            if outcome.status == 400 and outcome.code in _FILTERED:
                return calls, Completion("", "the server's content filter took the prompt", None, None)
            self._check_hope(outcome)
            failures += 1
            if failures == self.tries:
                raise Failed(f"no answer in {self.tries} tries: {outcome.text}")
            pause_seconds = self._pause_seconds(failures, outcome.pause_seconds)
            logger.info("%s; trying again in %.1f s", outcome.text, pause_seconds)
            time.sleep(pause_seconds)

    def _sampling(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "seed": self.seed}

    def _try(self, request: dict[str, Any]) -> Completion | Fault:
        openai = require("openai", "curate")
        try:
            raw = self._connected(openai).chat.completions.with_raw_response.create(model=self.model, **request)
            body = raw.http_response.content
            # a server that repeats the request's headers must not bring the key into what is stored
            if len(self._key) >= _SECRET_CHARACTERS:
                body = body.replace(self._key.encode(), b"***")
            completion = read_completion(body)
        except openai.APIStatusError as error:
            return self._status_fault(error)
        except openai.APITimeoutError:
            return Fault(f"no answer in {self.timeout_seconds:g} s")
        except openai.APIConnectionError as error:
            return Fault(self._redacted(f"no connection, or a cut one ({error.__cause__ or error})"))
        except ValueError as error:
            return Fault(self._redacted(str(error)))
        self._note_usage(completion)
        return completion

    def _connected(self, openai: Any) -> Any:
        """The client, made once.

        Raises:
            Stop: if the key cannot be sent.
        """
        with self._lock:
            if self._client is None:
                self._key = os.environ.get(self.api_key_env, "").strip()
                if not re.fullmatch(r"[!-~]*", self._key):
                    raise Stop(f"{self.api_key_env} holds characters that no key has (blanks, line ends or accents)")
                self._client = openai.OpenAI(
                    base_url=self.base_url,
                    api_key=self._key or _NO_KEY,
                    timeout=self.timeout_seconds,
                    max_retries=0,
                )
            return self._client

    def _status_fault(self, error: Any) -> Fault:
        body = self._redacted(error.response.text)
        said = error.body if isinstance(error.body, dict) else {}
        message = said.get("message") or said.get("detail") or body
        text = f"HTTP {error.status_code}: {shown(self._redacted(str(message)))}"
        pause_seconds = _asked_pause_seconds(error.response.headers.get("retry-after"))
        return Fault(text, error.status_code, body, error.code, pause_seconds)

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    def _learnt(self, used: Dialect, fault: Fault, request: Mapping[str, Any]) -> bool:
        """Whether the fault is that the server wants to be asked in another way, which is then remembered."""
        if fault.status not in (400, 415, 422, 500, 501):
            return False
        better = used.after(fault.body, request)
        if better is None:
            return False
        with self._lock:
            if self._dialect == used:  # else another thread has learnt something meanwhile: try that first
                self._dialect = better
                logger.warning("%s is asked in another way from here on: %s (%s)", self.model, better, fault.text)
        return True

    def _note_usage(self, completion: Completion) -> None:
        if None not in (completion.prompt_tokens, completion.completion_tokens):
            return
        with self._lock:
            told, self._usage_told = self._usage_told, False
        if told:
            logger.warning("%s: the server tells no tokens; they count as 0, for --max-tokens too", self.model)

    def _check_hope(self, fault: Fault) -> None:
        """Raise if no further try can help."""
        status = fault.status
        if status in _FINAL:
            hint = f" (the environment variable {self.api_key_env} is {'set' if self._key else 'not set'})"
            raise Stop(f"{_FINAL[status]}{hint if status == 401 else ''}: {fault.text}")
        if status == 429 and fault.code == "insufficient_quota":
            raise Stop(f"the account has nothing left: {fault.text}")
        if status == 404:
            raise Stop(f"no such model or address (does it end in /v1?): {fault.text}")
        if status is not None and status < 500 and status not in _PASSING:
            raise Failed(f"the server refuses the request: {fault.text}")

    def _pause_seconds(self, failures: int, asked_seconds: float | None) -> float:
        longest = self.backoff_seconds * 2 ** (failures - 1)
        if asked_seconds is not None:
            return min(max(asked_seconds, 0.0) + random.uniform(0, self.backoff_seconds), LONGEST_PAUSE_SECONDS)
        # half of it by chance, so that requests which failed together do not come again together
        return min(longest, LONGEST_PAUSE_SECONDS) * random.uniform(0.5, 1.0)


def _asked_pause_seconds(header: str | None) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date."""
    if header is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}(\.\d*)?\s*", header):
        return float(header)
    date = email.utils.parsedate_tz(header)
    return None if date is None else email.utils.mktime_tz(date) - time.time()
