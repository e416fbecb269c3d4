"""How much a run may ask of its endpoints."""

from __future__ import annotations

import threading
from typing import Any

from .outcomes import Stop


class Budget:
    """Requests and tokens that may be spent, shared by a run's endpoints; threads may share it.

    No request is begun that would pass `max_requests`. What a request costs in tokens is known when it is answered:
    once `max_tokens` are reached no further request is begun, and those on their way (one for each place of the
    endpoints' `concurrency`) are waited for and kept.

    A pickled copy counts for itself from where it was copied, unless `shared` stands in for all copies.

    Args:
        max_requests: of all endpoints together, each try counted; None is without end.
        max_tokens: of prompts and completions together, as the servers count them; None is without end.

    Attributes:
        ended: set it to why nothing may be asked any more.
        shared: what counts in place of this one, with the same two methods: the budget of several processes.
    """

    def __init__(self, max_requests: int | None = None, max_tokens: int | None = None) -> None:
        self.max_requests, self.max_tokens = max_requests, max_tokens
        self.requests = self.tokens = 0
        self.ended: str | None = None
        self.shared: Any = None
        self._lock = threading.Lock()

    def take(self) -> None:
        """Count a request that is about to be sent.

        Raises:
            Stop: if there is none left, and none is counted.
        """
        if self.ended is not None:
            raise Stop(self.ended)
        if self.shared is not None:
            return self.shared.take()
        with self._lock:
            if self.max_requests is not None and self.requests >= self.max_requests:
                raise Stop(f"the budget of {self.max_requests} requests is spent (--max-requests)")
            if self.max_tokens is not None and self.tokens >= self.max_tokens:
                raise Stop(f"the budget of {self.max_tokens} tokens is spent: {self.tokens} so far (--max-tokens)")
            self.requests += 1

    def spend(self, tokens: int) -> None:
        """Count the tokens of an answer."""
        if self.shared is not None:
            return self.shared.spend(tokens)
        with self._lock:
            self.tokens += tokens

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
