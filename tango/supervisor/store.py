"""What must survive the supervisor: running attempts, ends, acknowledged keys, logs that are kept.

DIR/runs/KEY.json while an attempt runs, DIR/ends/KEY.json from its end to its acknowledgement,
DIR/acked one acknowledged key a line, DIR/logs, DIR/pipes. Files are written aside, synced, renamed
and their directory synced, so that a reader finds the old or the new one whole, after a power cut
too.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from .fields import is_key
from .log import delete, log_files
from .protocol import KEPT_LOG_BYTES, KEPT_LOGS, REMEMBERED_ACKS
from .record import restore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .protocol import Json

_SUFFIX = ".json"


class Store:
    """The state directory. Errors of the file system come as OSError."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        for name in ("runs", "ends", "logs", "pipes"):
            os.makedirs(f"{directory}/{name}", mode=0o700, exist_ok=True)

    def log_path(self, key: str) -> str:
        """Where an attempt's log goes."""
        return f"{self.directory}/logs/{key}.log"

    def pipe_path(self, key: str) -> str:
        """The named pipe of a running attempt."""
        return f"{self.directory}/pipes/{key}"

    def write_run(self, record: Json) -> None:
        """Durable before the attempt becomes its program."""
        self._write("runs", record)

    def write_end(self, record: Json) -> None:
        """Durable before anyone hears of the end."""
        self._write("ends", record)

    def forget_run(self, key: str) -> None:
        """The attempt runs no more, or never began."""
        _remove(f"{self.directory}/runs/{key}{_SUFFIX}")
        _remove(self.pipe_path(key))

    def forget_pipes(self, live: set[str]) -> None:
        """Remove what a crash left of attempts that run no more."""
        for name in os.listdir(f"{self.directory}/pipes"):
            if name not in live:
                _remove(self.pipe_path(name))

    def forget_end(self, key: str) -> None:
        """The end was acknowledged."""
        _remove(f"{self.directory}/ends/{key}{_SUFFIX}")

    def load(self, name: str) -> dict[str, Json | None]:
        """The records in "runs" or "ends" by key; None for one that cannot be read."""
        found: dict[str, Json | None] = {}
        for file in os.listdir(f"{self.directory}/{name}"):
            path = f"{self.directory}/{name}/{file}"
            key = file.removesuffix(_SUFFIX)
            if file.endswith(".tmp"):
                _remove(path)  # what a crash left half written
            elif file != key and is_key(key):
                found[key] = _load(path, key)
        return found

    def next_incarnation(self) -> int:
        """A number above all earlier ones of this directory: unix milliseconds, or one more."""
        path = f"{self.directory}/incarnation"
        try:
            with open(path, "rb") as file:
                last = int(file.read(32))
        except (FileNotFoundError, ValueError):
            last = 0
        number = max(last + 1, int(time.time() * 1000))
        write_durably(self.directory, "incarnation", str(number).encode("ascii"))
        return number

    def _write(self, name: str, record: Json) -> None:
        data = json.dumps(record, separators=(",", ":")).encode("ascii")
        write_durably(f"{self.directory}/{name}", record["key"] + _SUFFIX, data)


class Acknowledged:
    """The last `limit` acknowledged keys, in a file appended to and now and then rewritten."""

    def __init__(self, directory: str, limit: int = REMEMBERED_ACKS) -> None:
        self._directory = directory
        self._limit = limit
        self._keys: dict[str, None] = {}
        self._lines = 0
        try:
            with open(f"{directory}/acked", "rb") as file:
                data = file.read()
        except FileNotFoundError:
            data = b""
        # A power cut can tear the last line: what has no line end is no key.
        for line in data[: data.rfind(b"\n") + 1].decode("ascii", "replace").splitlines():
            if is_key(line):
                self._remember(line)
        if data:
            self._rewrite()

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def add(self, key: str) -> None:
        """Durable on return."""
        if self._lines >= 2 * self._limit:
            self._remember(key)
            self._rewrite()
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(f"{self._directory}/acked", flags, 0o600)
        try:
            os.write(fd, key.encode("ascii") + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        self._lines += 1
        self._remember(key)

    def _remember(self, key: str) -> None:
        self._keys.pop(key, None)
        self._keys[key] = None
        while len(self._keys) > self._limit:
            del self._keys[next(iter(self._keys))]

    def _rewrite(self) -> None:
        data = "".join(f"{key}\n" for key in self._keys).encode("ascii")
        write_durably(self._directory, "acked", data)
        self._lines = len(self._keys)


class KeptLogs:
    """Logs of acknowledged attempts, oldest first; the oldest go when there is too much."""

    def __init__(
        self,
        directory: str,
        report: Callable[[str, OSError], None],
        max_logs: int = KEPT_LOGS,
        max_bytes: int = KEPT_LOG_BYTES,
    ) -> None:
        self._directory = directory
        self._report = report
        self._max_logs = max_logs
        self._max_bytes = max_bytes
        self._sizes: dict[str, int] = {}
        self._total = 0

    def adopt(self, live: set[str]) -> None:
        """At the start: every log that belongs to no record is one that was kept."""
        for key in _logged_keys(self._directory):
            if key not in live:
                self.keep(key)

    def keep(self, key: str) -> None:
        """From now on the log is here only as long as there is room for it."""
        self.drop(key)
        size = sum(_size(path) for path in self._files(key))
        self._sizes[key] = size
        self._total += size
        while self._sizes and (len(self._sizes) > self._max_logs or self._total > self._max_bytes):
            self.delete(next(iter(self._sizes)))

    def drop(self, key: str) -> None:
        """Count it no more; its files stay."""
        self._total -= self._sizes.pop(key, 0)

    def delete(self, key: str) -> None:
        """Remove a log's files."""
        self.drop(key)
        delete(self._files(key), self._report)

    def _files(self, key: str) -> list[str]:
        return log_files(f"{self._directory}/{key}.log")


def write_durably(directory: str, name: str, data: bytes) -> None:
    """Replace directory/name as a whole, durably; mode 0600."""
    aside = f"{directory}/{name}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(aside, flags, 0o600)
        try:
            while data:
                data = data[os.write(fd, data) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(aside, f"{directory}/{name}")
    except OSError:
        _remove(aside)
        raise
    sync_directory(directory)


def sync_directory(path: str) -> None:
    """Make renames and removals in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _logged_keys(directory: str) -> list[str]:
    """Keys that have a log, the one written to longest ago first."""
    found = []
    for name in os.listdir(directory):
        key = name.removesuffix(".log")
        if name != key and is_key(key):
            found.append((os.stat(f"{directory}/{name}").st_mtime, key))
    return [key for _, key in sorted(found)]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _load(path: str, key: str) -> Json | None:
    try:
        with open(path, "rb") as file:
            record = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return restore(record, key)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
