"""The Store on SQLite: one writer thread, group commit, nothing acknowledged before its fsync.

The connection lives in a thread of its own, so the event loop never waits for the disk. All commits
that wait when the thread is free go into one transaction with one fsync. Each commit has its own
savepoint: one that the database refuses is rolled back and told so alone. Where SQLite gives up the
whole transaction (disk full, I/O error), the commits of the group are tried one by one, so that
exactly those that cannot be kept fail.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from tango.adapters.records import decode, encode
from tango.adapters.sqlite_schema import connect, rollback
from tango.adapters.typed_json import RecordError
from tango.model.commands import Delete, Put, Stored
from tango.ports import StoreFailed

DEFAULT_MAX_PENDING = 10_000
DEFAULT_MAX_BYTES = 8 * 2**30

_PUT = (
    "INSERT INTO record (kind, key, value) VALUES (?, ?, ?)"
    " ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value"
)
_DELETE = "DELETE FROM record WHERE kind = ? AND key = ?"
_SELECT = "SELECT key, value FROM record WHERE kind = ? ORDER BY key"

Result = tuple[asyncio.Future[Any], object]
"""A future and what it is to be told: an exception, or its value."""


@dataclass(slots=True, eq=False)
class _Commit:
    writes: tuple[Put | Delete, ...]
    future: asyncio.Future[Any]


@dataclass(slots=True, eq=False)
class _Load:
    kind: str
    future: asyncio.Future[Any]


class _Close:
    """The last item of the queue."""


class SqliteStore:
    """Open with `await SqliteStore.open(path)`; used from one event loop.

    The file is locked for this process while the store is open. A commit whose caller is cancelled
    may still be written.
    """

    def __init__(self, path: Path, max_pending: int, max_bytes: int, commit_delay_s: float) -> None:
        self._path = path
        self._max_pending = max_pending
        self._max_bytes = max_bytes
        self._delay_s = commit_delay_s
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Commit | _Load | _Close] = SimpleQueue()
        self._waiting: set[asyncio.Future[Any]] = set()
        self._down = ""
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        # A daemon thread: a process that ends without close() must not hang on it. What was
        # acknowledged is on disk by then.
        self._thread = threading.Thread(target=self._run, name="tango-store", daemon=True)

    @classmethod
    async def open(
        cls,
        path: str | Path,
        *,
        max_pending: int = DEFAULT_MAX_PENDING,
        max_bytes: int = DEFAULT_MAX_BYTES,
        commit_delay_s: float = 0.0,
    ) -> SqliteStore:
        """Open or create the database, mode 0600, and bring its schema up to date.

        max_pending: commits that may wait; one more fails at once. max_bytes: bound of the file;
        the write-ahead log beside it keeps 4 MiB, more only while a large group needs it.
        commit_delay_s: sleep in the writer thread for each group, as a slow fsync would: for tests
        and benchmarks only.
        Raises StoreFailed: no such directory, not ours, corrupt, newer, or in use by a process.
        """
        store = cls(Path(path), max_pending, max_bytes, commit_delay_s)
        store._thread.start()
        await store._opened
        return store

    # ---- the loop's side

    async def commit(self, writes: Sequence[Put | Delete]) -> None:
        """See ports.Store."""
        if len(self._waiting) >= self._max_pending:
            raise StoreFailed(f"{self._max_pending} commits are waiting already")
        future = self._begin()
        self._queue.put(_Commit(tuple(writes), future))
        await future

    async def load(self, kind: str) -> Mapping[str, Stored]:
        """See ports.Store. Sees every commit that was begun before it. Raises StoreFailed."""
        future = self._begin()
        self._queue.put(_Load(kind, future))
        found: Mapping[str, Stored] = await future
        return found

    async def close(self) -> None:
        """See ports.Store. A second call waits for the first."""
        if not self._down:
            self._down = "the store is closed"
            self._queue.put(_Close())
        await asyncio.shield(self._ended)

    def _begin(self) -> asyncio.Future[Any]:
        if self._down:
            raise StoreFailed(self._down)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.add(future)
        return future

    def _settle(self, results: Sequence[Result]) -> None:
        for future, value in results:
            self._waiting.discard(future)
            if future.done():
                continue  # its caller has gone
            if isinstance(value, BaseException):
                future.set_exception(value)
            else:
                future.set_result(value)

    def _end(self, why: str) -> None:
        """The thread is at its end; whatever still waits will get no other answer."""
        self._down = self._down or why
        self._settle([(future, StoreFailed(why)) for future in self._waiting])
        if not self._opened.done():
            self._opened.set_exception(StoreFailed(why))
        if not self._ended.done():
            self._ended.set_result(None)

    # ---- the writer thread's side

    def _tell(self, results: Sequence[Result]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, results)

    def _run(self) -> None:
        why = "the store is closed"
        try:
            connection = connect(self._path, self._max_bytes)
            try:
                self._tell([(self._opened, None)])
                self._serve(connection)
            finally:
                connection.close()
        except Exception as error:  # noqa: BLE001 - every caller is told; none may hang for ever
            text = error.strerror if isinstance(error, OSError) else str(error)
            why = f"{self._path}: {text}"
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end, why)

    def _serve(self, connection: sqlite3.Connection) -> None:
        following: _Commit | _Load | _Close | None = None
        while True:
            item = following or self._queue.get()
            following = None
            if isinstance(item, _Close):
                return
            if isinstance(item, _Load):
                self._tell([(item.future, self._read(connection, item.kind))])
                continue
            group = [item]
            with suppress(Empty):
                while following is None:
                    another = self._queue.get_nowait()
                    if isinstance(another, _Commit):
                        group.append(another)
                    else:
                        following = another
            self._tell(self._write(connection, group))

    def _write(self, connection: sqlite3.Connection, group: Sequence[_Commit]) -> list[Result]:
        """Write a group; how each commit of it went, in order."""
        try:
            outcome = _transaction(connection, group)
        except sqlite3.Error:
            outcome = [self._write_alone(connection, commit) for commit in group]
        if self._delay_s:
            time.sleep(self._delay_s)
        return [
            (commit.future, StoreFailed(f"{self._path}: {error}") if error else None)
            for commit, error in zip(group, outcome, strict=True)
        ]

    def _write_alone(self, connection: sqlite3.Connection, commit: _Commit) -> str:
        try:
            [error] = _transaction(connection, [commit])
        except sqlite3.Error as failure:
            return str(failure)
        return error

    def _read(self, connection: sqlite3.Connection, kind: str) -> object:
        try:
            rows = connection.execute(_SELECT, (kind,))
            return {key: decode(text) for key, text in rows}
        except (RecordError, sqlite3.Error) as error:
            return StoreFailed(f"{self._path}: the {kind} records cannot be read: {error}")


def _transaction(connection: sqlite3.Connection, commits: Sequence[_Commit]) -> list[str]:
    """All commits in one transaction; an error text for each that was left out, else empty.

    Raises sqlite3.Error where nothing of it was kept.
    """
    outcome: list[str] = []
    try:
        connection.execute("BEGIN IMMEDIATE")
        for commit in commits:
            connection.execute("SAVEPOINT one")
            try:
                for write in commit.writes:
                    _apply(connection, write)
            except (sqlite3.Error, RecordError, UnicodeEncodeError) as error:
                if not connection.in_transaction:
                    raise  # SQLite has rolled back everything
                connection.execute("ROLLBACK TO one")
                outcome.append(str(error))
            else:
                outcome.append("")
            connection.execute("RELEASE one")
        connection.execute("COMMIT")
    except BaseException:
        rollback(connection)
        raise
    return outcome


def _apply(connection: sqlite3.Connection, write: Put | Delete) -> None:
    # Encoded here, between statements that let go of the interpreter lock, so that a large group
    # does not keep the event loop waiting for it.
    if isinstance(write, Put):
        connection.execute(_PUT, (write.kind, write.key, encode(write.value)))
    else:
        connection.execute(_DELETE, (write.kind, write.key))
