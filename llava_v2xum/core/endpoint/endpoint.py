"""A model behind an OpenAI-compatible HTTP endpoint: a hosted one, vLLM, llama.cpp, Ollama.

A fault that may pass (a rate limit, a 5xx, a cut connection, a time limit, a body that is no completion) is tried
again, later each time. The `openai` package sends the requests; its own retries are off, because each try has to be
counted. The key is read from the environment when the first request is made, and blacked out of all that servers say.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ..errors import V2XumError
from ..extras import require
from .budget import Budget
from .dialect import Dialect
from .faults import Fault, check_hope, pause_seconds, status_fault
from .outcomes import Failed, NoResult, Stop
from .replies import EXTRA, Completion, Reply, read_completion, read_value
from .store import Cost

logger = logging.getLogger(__name__)

_NO_KEY = "none"  # what is sent where no key is set: servers of one's own ask for none, the package wants one
_SECRET_CHARACTERS = 16  # a shorter key is a server's placeholder ("EMPTY"), and may be a word of an answer


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
        V2XumError: if an argument is none of these.
    """

    base_url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    timeout_seconds: float = 60.0
    tries: int = 8  # with the pauses between them a minute and a half: longer than rates that are told by the minute
    concurrency: int = 8
    temperature: float | None = 0.0
    seed: int | None = 0
    backoff_seconds: float = 1.0
    budget: Budget | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if "@" in self.base_url:
            raise V2XumError(f"the endpoint's address must hold no name and key: set {self.api_key_env} to the key")
        if parts.query or parts.fragment:  # not shown: a key may be in them
            raise V2XumError("expected an address such as http://localhost:8000/v1, without '?' and '#'")
        if not _is_address(parts):
            raise V2XumError(f"expected an address such as http://localhost:8000/v1, got {self.base_url!r}")
        if not self.model:
            raise V2XumError("the endpoint's model must be named")
        for name in ("timeout_seconds", "tries", "concurrency"):
            if not getattr(self, name) > 0:
                raise V2XumError(f"{name} must be positive, got {getattr(self, name)}")
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(self.concurrency)
        self._dialect, self._key, self._client, self._usage_told = Dialect(), "", None, True
        self._refusal: str | None = None

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
            Failed: if the server gave no answer; as the next one it bears the cost of its tries.
            Stop: if the budget is spent, or the server refuses the key or does not know the model.
        """
        with self._places:
            if self._refusal is not None:
                raise Stop(self._refusal)
            calls, started = 0, time.monotonic()
            answers, answer = self._answers(messages, schema, max_tokens), None
            try:
                while not isinstance(answer, Completion):
                    answer = next(answers)
                    calls += 1
            except NoResult as error:
                error.cost = Cost(calls, seconds=time.monotonic() - started)
                if isinstance(error, Stop):
                    self._refusal = str(error)  # those who wait for their turn need not ask
                raise
            seconds = time.monotonic() - started
        cost = Cost(calls, answer.prompt_tokens or 0, answer.completion_tokens or 0, seconds)
        if self.budget is not None:
            self.budget.spend(cost.prompt_tokens + cost.completion_tokens)
        if answer.problem is not None or schema is None:
            return Reply(answer.text, None, cost, answer.problem)
        try:
            return Reply(answer.text, read_value(answer.text, schema), cost)
        except V2XumError as error:
            return Reply(answer.text, None, cost, str(error))

    def _answers(
        self, messages: Sequence[Mapping[str, Any]], schema: Mapping[str, Any] | None, max_tokens: int | None
    ) -> Iterator[Fault | Completion]:
        """What came of each try; the last is a completion."""
        failures = 0
        while True:
            if self.budget is not None:
                self.budget.take()
            dialect = self._dialect
            request = dialect.request(messages, schema, max_tokens, self._sampling())
            outcome = self._try(request)
            if isinstance(outcome, Fault) and outcome.filtered:
                outcome = Completion("", "the server's content filter took the prompt", None, None)
            yield outcome
            if isinstance(outcome, Completion):
                return
            if self._learnt(dialect, outcome, request):
                continue
            check_hope(outcome, f"the environment variable {self.api_key_env} is {'set' if self._key else 'not set'}")
            failures += 1
            if failures == self.tries:
                raise Failed(f"no answer in {self.tries} tries: {outcome.text}")
            seconds = pause_seconds(failures, self.backoff_seconds, outcome.pause_seconds)
            logger.info("%s; trying again in %.1f s", outcome.text, seconds)
            time.sleep(seconds)

    def _sampling(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "seed": self.seed}

    def _try(self, request: dict[str, Any]) -> Completion | Fault:
        openai = require("openai", EXTRA)
        try:
            raw = self._connected(openai).chat.completions.with_raw_response.create(model=self.model, **request)
            body = raw.http_response.content
            # a server that repeats the request's headers must not bring the key into what is stored
            if len(self._key) >= _SECRET_CHARACTERS:
                body = body.replace(self._key.encode(), b"***")
            completion = read_completion(body)
        except openai.APIStatusError as error:
            return status_fault(error, self._redacted)
        except openai.APITimeoutError:
            return Fault(f"no answer in {self.timeout_seconds:g} s")
        except openai.APIConnectionError as error:
            return Fault(self._redacted(f"no connection, or a cut one ({error.__cause__ or error})"))
        except V2XumError as error:
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
                try:
                    self._client = openai.OpenAI(
                        base_url=self.base_url,
                        api_key=self._key or _NO_KEY,
                        timeout=self.timeout_seconds,
                        max_retries=0,
                        http_client=openai.DefaultHttpxClient(follow_redirects=False),
                    )
                except Exception as error:  # of whatever kind: no request can be sent
                    raise Stop(f"the environment's proxies or certificates cannot be used: {error}") from None
            return self._client

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


def _is_address(parts: SplitResult) -> bool:
    try:
        parts.port  # noqa: B018 (it raises where it is no number of a port)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", parts.netloc)
