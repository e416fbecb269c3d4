"""What the stages found and what it cost, on disk as it comes: nothing is lost, and nothing is paid twice.

One SQLite file. A row is a stage's result for one content (a video's digest, or its path before that is known), or a
part of it that is worth keeping by itself until the whole is there: one answer of an endpoint, the captions of a few
frames. Rows of other settings (another fingerprint) stay, so that going back to them costs nothing either.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import V2XumError

WHOLE = ""  # the part that is a stage's whole result
REJECTED = "rejected"  # the part that says why the video falls out, in place of a result
FAILED = "failed"  # the part that says that the video could not be worked on, until it could be

_VERSION = 1  # of the tables

# values come last: costs are then added up without reading captions
_TABLES = f"""
create table if not exists results (
    stage text, fingerprint text, item text, part text,
    calls integer, prompt_tokens integer, completion_tokens integer, seconds real, value text not null,
    primary key (stage, fingerprint, item, part)
) without rowid;
create table if not exists last_runs (stage text primary key, fingerprint text, settings text);
pragma user_version = {_VERSION};
"""


class StoreError(OSError):
    """The store cannot be read or written (a full disk, another program that holds it): nothing can go on."""


class Halted(Exception):
    """Somebody ended the run; what was found is stored."""


@dataclass(frozen=True)
class Cost:
    """What a result cost.

    Args:
        calls: of an endpoint, failed tries included, or of the captioner.
        prompt_tokens, completion_tokens: as the endpoint, or the tokenizer, counts them.
        seconds: of work, added up over what went on side by side.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(mine + more for mine, more in zip(astuple(self), astuple(other))))


_SUMS = ", ".join(f"coalesce(sum({name}), 0)" for name in Cost.__dataclass_fields__)


class Results(Protocol):
    """What work on a video needs of a `Store`: one itself, or what stands for it in another process."""

    @property
    def halted(self) -> bool: ...

    def get(self, stage: str, fingerprint: str, item: str, part: str = WHOLE) -> Any: ...

    def put(self, stage: str, fingerprint: str, item: str, part: str, value: Any, cost: Cost) -> None: ...


class Store:
    """The results in one file; threads may share it.

    Args:
        path: the file, made where it is not there.

    Attributes:
        halted: set it to let what is under way end as soon as what it comes to next is stored.

    Raises:
        V2XumError: naming the file, if it is no such store, or that of another version.
        StoreError: naming it, if it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], wait_seconds: float = 60.0) -> None:
        self.path = Path(path)
        self.halted = False
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect(
                self.path, check_same_thread=False, isolation_level=None, timeout=wait_seconds
            )
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: the store of results cannot be opened ({error})") from error
        try:
            self._open()
        except sqlite3.OperationalError as error:
            self._database.close()
            raise StoreError(f"{self.path}: the store of results cannot be used ({error})") from error
        except (sqlite3.DatabaseError, V2XumError) as error:
            self._database.close()
            raise V2XumError(f"{self.path}: expected a store of curated results ({error})") from error

    def _open(self) -> None:
        self._database.execute("pragma journal_mode = wal")  # a kill leaves every committed row
        self._database.execute("pragma synchronous = normal")
        (version,) = self._database.execute("pragma user_version").fetchone()
        (tables,) = self._database.execute("select count(*) from sqlite_master").fetchone()
        if version != _VERSION and (version or tables):
            raise V2XumError(f"it is of version {version} and not {_VERSION}: give another --out, or use what made it")
        self._database.executescript(_TABLES)

    def get(self, stage: str, fingerprint: str, item: str, part: str = WHOLE) -> Any:
        """The stored value, or None."""
        query = "select value from results where stage = ? and fingerprint = ? and item = ? and part = ?"
        rows = self._rows(query, (stage, fingerprint, item, part))
        return json.loads(rows[0][0]) if rows else None

    def put(self, stage: str, fingerprint: str, item: str, part: str, value: Any, cost: Cost) -> None:
        """Store a value of JSON that is not null; a kill of the process does not lose it when this has returned.

        The whole, or why there is none, takes the place of all parts, and bears what they cost.
        """
        place, text = (stage, fingerprint, item), json.dumps(value, ensure_ascii=False)
        with self._transaction() as database:
            if part in (WHOLE, REJECTED):
                where = "where stage = ? and fingerprint = ? and item = ?"
                cost += Cost(*database.execute(f"select {_SUMS} from results {where}", place).fetchone())
                database.execute(f"delete from results {where}", place)
            row = (*place, part, *astuple(cost), text)
            database.execute("insert or replace into results values (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def items(self, stage: str, fingerprint: str, part: str = WHOLE) -> set[str]:
        """The items that have that part."""
        query = "select item from results where stage = ? and fingerprint = ? and part = ?"
        return {row[0] for row in self._rows(query, (stage, fingerprint, part))}

    def cost(self, stage: str, fingerprint: str) -> Cost:
        """What all of a stage's rows cost together."""
        query = f"select {_SUMS} from results where stage = ? and fingerprint = ?"
        return Cost(*self._rows(query, (stage, fingerprint))[0])

    def last_run(self, stage: str) -> tuple[str, dict[str, Any]] | None:
        """The fingerprint and the settings that the stage was last run with, or None."""
        rows = self._rows("select fingerprint, settings from last_runs where stage = ?", (stage,))
        return (rows[0][0], json.loads(rows[0][1])) if rows else None

    def begin_run(self, stage: str, fingerprint: str, settings: dict[str, Any]) -> None:
        """Remember what the stage runs with."""
        row = (stage, fingerprint, json.dumps(settings))
        self._rows("insert or replace into last_runs values (?, ?, ?)", row)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _rows(self, query: str, values: tuple) -> list[tuple]:
        with self._transaction() as database:
            return database.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """The database, for this thread alone; what is done to it is done as a whole or not at all.

        Raises:
            StoreError: naming the file, if it cannot be used.
        """
        try:
            with self._lock, self._database:  # commits, or rolls back
                self._database.execute("begin")
                yield self._database
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: the store of results cannot be used: {error}") from error


class Ledger:
    """One stage's view of the store for one video.

    Attributes:
        spent: what was stored through this ledger, whole results not counted.
    """

    def __init__(self, store: Results, stage: str, fingerprint: str, item: str) -> None:
        self._store, self._place = store, (stage, fingerprint, item)
        self.spent = Cost()

    def get(self, part: str = WHOLE) -> Any:
        """The stored value of a part, or None."""
        return self._store.get(*self._place, part)

    def put(self, part: str, value: Any, cost: Cost = Cost()) -> None:
        """Store a part's value, JSON that is not null.

        Raises:
            Halted: if the run is to end now; the value is stored.
        """
        self._store.put(*self._place, part, value, cost)
        if part != WHOLE:
            self.spent += cost
        if self._store.halted:
            raise Halted("the run was interrupted")
