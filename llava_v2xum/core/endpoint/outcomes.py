"""What asking an endpoint may end in other than an answer, and that its cost stays told."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from .store import Cost, Ledger


class NoResult(Exception):
    """Why there is no result.

    Attributes:
        cost: what was spent all the same, where it is not stored yet.
    """

    cost: Cost = Cost()


class Failed(NoResult):
    """The video cannot be worked on now (an endpoint that is down); the next run tries again."""


class Stop(NoResult):
    """The whole run ends here and can go on later: a budget is spent, or a key is refused."""


@contextmanager
def counted(ledger: Ledger) -> Iterator[None]:
    """Stores the cost of what ends without a result, as a part that nobody asks for: what was paid stays told."""
    try:
        yield
    except NoResult as error:
        if error.cost.calls:
            ledger.put(f"in vain {uuid.uuid4().hex}", str(error), error.cost)
            error.cost = Cost()
        raise
