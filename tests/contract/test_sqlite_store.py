"""What only the SQLite store promises: crashes, full disks, locks, permissions, schema versions."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from store_records import job

from tango.adapters.sqlite_schema import MIGRATIONS, connect
from tango.adapters.sqlite_store import SqliteStore
from tango.model.commands import Delete, Put
from tango.ports import StoreFailed

HERE = Path(__file__).parent
MIB = 2**20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def fill(path: Path, *names: str) -> None:
    store = await SqliteStore.open(path)
    await store.commit([Put("job", name, job(name)) for name in names])
    await store.close()


async def refusal(path: Path) -> str:
    with pytest.raises(StoreFailed) as caught:
        await SqliteStore.open(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


# ---- crashes


@pytest.mark.parametrize(("n_writers", "n_keys"), [(1, 30), (16, 300)])
async def test_after_kill_9_every_acknowledged_record_is_there(
    path: Path, n_writers: int, n_keys: int
) -> None:
    command = [sys.executable, str(HERE / "store_writer.py"), str(path), str(n_writers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        acknowledged = [child.stdout.readline().strip() for _ in range(n_keys)]
        child.send_signal(signal.SIGKILL)
        acknowledged += child.stdout.read().splitlines()
    store = await SqliteStore.open(path)
    found = await store.load("job")
    again = await store.load("again")
    await store.close()
    assert len(acknowledged) >= n_keys
    assert set(acknowledged) <= found.keys()
    assert all(found[key] == job(key) for key in acknowledged)
    # Each commit held two writes: the second is never behind the first.
    for writer in range(n_writers):
        last = max(int(key.split("-")[1]) for key in found if key.startswith(f"{writer}-"))
        assert again[str(writer)] == job(f"{writer}-{last}")


async def test_records_survive_a_close_and_nothing_else_is_left(path: Path) -> None:
    await fill(path, "a", "b")
    assert [entry.name for entry in path.parent.iterdir()] == ["store.db"]
    store = await SqliteStore.open(path)
    assert list(await store.load("job")) == ["a", "b"]
    await store.close()


# ---- full disks


async def test_a_full_store_fails_exactly_what_does_not_fit(path: Path) -> None:
    store = await SqliteStore.open(path, max_bytes=200_000)
    await store.commit([Put("job", "old", job("x" * 50_000))])
    results = await asyncio.gather(
        store.commit([Put("job", "small-1", job("x"))]),
        store.commit([Put("job", "huge", job("x" * 300_000))]),
        store.commit([Put("job", "small-2", job("x"))]),
        store.commit([Put("job", "half", job("x")), Put("job", "huge", job("x" * 300_000))]),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), StoreFailed] * 2
    assert "full" in str(results[1])
    assert list(await store.load("job")) == ["old", "small-1", "small-2"]
    await store.commit([Delete("job", "old")])
    await store.commit([Put("job", "new", job("x" * 20_000))])
    await store.close()


FULL_DISK = """
import asyncio, sys
from store_records import job
from tango.adapters.sqlite_store import SqliteStore
from tango.model.commands import Put
from tango.ports import StoreFailed

async def main():
    store = await SqliteStore.open(sys.argv[1])
    kept, failed = [], 0
    for i in range(60):
        big = i % 3 == 2
        try:
            await store.commit([Put("job", str(i), job("x" * (200_000 if big else 1)))])
        except StoreFailed as error:
            failed += 1
            assert "store.db" in str(error)
        else:
            kept.append(str(i))
    assert failed
    assert (await store.load("job")).keys() == set(kept)
    print(" ".join(kept), flush=True)
    await store.close()

asyncio.run(main())
"""


async def test_a_disk_that_takes_no_more_fails_commits_and_keeps_the_rest(path: Path) -> None:
    """The kernel refuses writes beyond 2 MiB a file; the log and the database hit that bound."""

    def bound_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, 2 * MIB))

    command = [sys.executable, "-c", FULL_DISK, str(path)]
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    done = subprocess.run(
        command,
        preexec_fn=bound_files,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    store = await SqliteStore.open(path)
    assert (await store.load("job")).keys() == set(done.stdout.split())
    await store.close()


# ---- the file


async def test_files_are_their_owners_alone(path: Path) -> None:
    old = os.umask(0)
    try:
        store = await SqliteStore.open(path)
        await store.commit([Put("job", "a", job("a"))])
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
        await store.close()
    finally:
        os.umask(old)
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600}
    path.chmod(0o644)
    await fill(path, "b")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_one_process_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tango.adapters.sqlite_schema.BUSY_TIMEOUT_S", 0.05)
    store = await SqliteStore.open(path)
    assert "in use by another process" in await refusal(path)
    await store.commit([Put("job", "a", job("a"))])
    await store.close()
    await fill(path, "b")


async def test_a_link_or_a_directory_is_refused(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")
    assert "is not a regular file" in await refusal(path)
    path.unlink()
    path.mkdir()
    assert "is not a regular file" in await refusal(path)
    assert "No such file or directory" in await refusal(path / "missing" / "store.db")


async def test_a_file_of_something_else_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to look like a file" * 100)
    before = path.read_bytes()
    assert "file is not a database" in await refusal(path)
    assert path.read_bytes() == before
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (a)")
    other.close()
    before = path.read_bytes()
    assert "is a database of another program" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_record_that_does_not_read_is_named(path: Path) -> None:
    await fill(path, "a")
    with sqlite3.connect(path) as other:
        other.execute("UPDATE record SET value = replace(value, 'pending', 'gone')")
    other.close()
    store = await SqliteStore.open(path)
    with pytest.raises(StoreFailed, match=r"JobRecord.state: 'gone' is not a JobState"):
        await store.load("job")
    await store.commit([Delete("job", "a")])
    assert await store.load("job") == {}
    await store.close()


# ---- schema


async def test_a_newer_schema_is_refused_in_clear_words(path: Path) -> None:
    await fill(path, "a")
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    message = await refusal(path)
    assert "written by a newer Tango (schema 99, this one knows up to 1)" in message


async def test_migrations_run_once_and_keep_the_records(path: Path) -> None:
    await fill(path, "a")
    later = (*MIGRATIONS, ("ALTER TABLE record ADD COLUMN note TEXT", "UPDATE record SET note='x'"))
    for _ in range(2):
        connection = connect(path, MIB, later)
        assert connection.execute("SELECT key, note FROM record").fetchall() == [("a", "x")]
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        connection.close()


async def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    await fill(path, "a")
    broken = (*MIGRATIONS, ("ALTER TABLE record ADD COLUMN note TEXT", "UPDATE nowhere SET a=1"))
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        connect(path, MIB, broken)
    store = await SqliteStore.open(path)
    assert list(await store.load("job")) == ["a"]
    await store.close()


# ---- the thread


async def test_durable_means_synced(path: Path) -> None:
    connection = connect(path, MIB)
    pragmas = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "locking_mode")
    }
    connection.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "locking_mode": "exclusive"}


async def test_a_bug_in_the_writer_is_told_and_hangs_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await SqliteStore.open(path)

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("tango.adapters.sqlite_store._transaction", broken)
    results = await asyncio.gather(
        *(store.commit([Put("job", str(i), job("x"))]) for i in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [StoreFailed] * 3
    with pytest.raises(StoreFailed, match="a bug"):
        await store.load("job")
    await store.close()


def test_an_open_store_does_not_keep_a_process_alive(path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from tango.adapters.sqlite_store import SqliteStore\n"
        "asyncio.run(SqliteStore.open(sys.argv[1]))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=20)
