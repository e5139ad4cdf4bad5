"""Reads /proc: which process is which, and whether it still is the one that was started."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_GONE = ("Z", "X", "x")
_ENVIRON_LIMIT = 256 << 10


class Stat:
    """One process as /proc/PID/stat tells it (proc(5)); start_time in clock ticks since boot."""

    __slots__ = ("pgrp", "pid", "ppid", "session", "start_time", "state")

    def __init__(self, pid: int, line: bytes) -> None:
        # The command name is in parentheses and may hold anything, so count from the last one.
        rest = line[line.rindex(b")") + 2 :].split(b" ", 20)
        self.pid = pid
        self.state = rest[0].decode("ascii")
        self.ppid = int(rest[1])
        self.pgrp = int(rest[2])
        self.session = int(rest[3])
        self.start_time = int(rest[19])

    @property
    def alive(self) -> bool:
        """False for a zombie: it runs no more instruction."""
        return self.state not in _GONE


def boot_id() -> str:
    """This boot's id; a pid and start time mean nothing after another boot."""
    return _read("/proc/sys/kernel/random/boot_id", 64).decode("ascii").strip()


def stat(pid: int) -> Stat | None:
    """The process with that id, None if there is none."""
    try:
        return Stat(pid, _read(f"/proc/{pid}/stat", 1024))
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None


def same(pid: int, start_time: int) -> Stat | None:
    """The process if it is alive and the one that started then, else None."""
    found = stat(pid)
    if found is None or not found.alive or found.start_time != start_time:
        return None
    return found


def ids(pid: int) -> list[list[int]] | None:
    """Whom it runs as: user ids, group ids (each real, effective, saved, file system's; proc(5)).

    None if there is no such process.
    """
    try:
        text = _read(f"/proc/{pid}/status", 4096).decode("ascii", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = dict(line.partition(":")[::2] for line in text.splitlines())
    return [[int(word) for word in fields[name].split()] for name in ("Uid", "Gid")]


def scan() -> Iterator[Stat]:
    """Every process now (about 9 us each)."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            found = stat(int(name))
            if found is not None:
                yield found


def started_with(pid: int, variable: bytes) -> bool:
    """True if b"NAME=value" is in the environment that the process was given at its exec."""
    try:
        environ = _read(f"/proc/{pid}/environ", _ENVIRON_LIMIT)
    except OSError:  # gone, or another user's
        return False
    return variable in environ.split(b"\0")


def _read(path: str, limit: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, limit)
    finally:
        os.close(fd)
