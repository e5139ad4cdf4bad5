"""Opening the store's SQLite file: permissions, lock, durability, schema and its migrations."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path

from tango.ports import StoreFailed

BUSY_TIMEOUT_S = 2.0
APPLICATION_ID = 0x54414E47  # "TANG": this file is ours
WAL_KEPT_BYTES = 4 * 2**20

# MIGRATIONS[n] brings schema n to n + 1; the number reached is kept in PRAGMA user_version.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE record (
            kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, key)
        )""",
    ),
)


def connect(
    path: Path, max_bytes: int, migrations: Sequence[Sequence[str]] = MIGRATIONS
) -> sqlite3.Connection:
    """Open or create the file for this process alone, ready to use.

    Durability: WAL with synchronous=FULL syncs the log at every commit
    (https://www.sqlite.org/pragma.html#pragma_synchronous). With locking_mode=EXCLUSIVE the lock
    is kept until the connection closes, and there is no shared-memory file.
    Raises StoreFailed, OSError or sqlite3.Error.
    """
    _private_file(path)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        _configure(connection, max_bytes)
        _migrate(connection, migrations)
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise StoreFailed("in use by another process") from error
        raise
    except (sqlite3.Error, StoreFailed):
        connection.close()
        raise
    return connection


def _private_file(path: Path) -> None:
    """Make sure that the file exists and is its owner's alone; SQLite's others follow its mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        # Not opened here: closing it would drop the locks of a connection of this process.
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode):
            raise StoreFailed("is not a regular file") from None
        if stat.S_IMODE(mode) != 0o600:
            path.chmod(0o600)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _configure(connection: sqlite3.Connection, max_bytes: int) -> None:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA trusted_schema = OFF")
    # The first access takes the lock; a stranger's file is left as it is.
    [application] = connection.execute("PRAGMA application_id").fetchone()
    [n_tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or n_tables):
        raise StoreFailed("is a database of another program")
    [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreFailed(f"no write-ahead log here (journal mode {mode})")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
    [page_bytes] = connection.execute("PRAGMA page_size").fetchone()
    connection.execute(f"PRAGMA max_page_count = {max(max_bytes // page_bytes, 8)}")


def _migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
    """Bring the schema up to date, all of it or nothing."""
    connection.execute("BEGIN EXCLUSIVE")
    try:
        [version] = connection.execute("PRAGMA user_version").fetchone()
        if version > len(migrations):
            raise StoreFailed(
                f"was written by a newer Tango (schema {version}, this one knows up to"
                f" {len(migrations)}); use that version, or another state directory"
            )
        for statements in migrations[version:]:
            for statement in statements:
                connection.execute(statement)
        if version < len(migrations):
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        rollback(connection)
        raise


def rollback(connection: sqlite3.Connection) -> None:
    """End the open transaction without effect; fine where SQLite has done so by itself."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")
