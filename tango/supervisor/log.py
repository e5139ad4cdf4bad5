"""Output of an attempt: a named pipe that outlives the supervisor, and a log rotated by size.

The attempt holds its pipe open for reading too (it is opened O_RDWR). Without that, the death of
the supervisor would end every program that writes, by SIGPIPE; so, it waits at a full pipe until
the next supervisor opens the pipe by its name and reads on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from .loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop import Loop, Timer

_PIPE_BYTES = 64 << 10
_READ_BYTES = 64 << 10
# A spewing attempt is read at no more than 20 MiB/s, so that it cannot make the supervisor eat a
# core that latency-critical services need; it waits at its full pipe.
_WINDOW_S = 0.05
_WINDOW_BYTES = 1 << 20
_DRAIN_BYTES = 1 << 20


class RotatingLog:
    """Appends to `path`; at max_bytes it becomes `path`.1, that one .2, and so on.

    At most `files` files in all, so at most max_bytes * files on disk. Cuts after a line's end
    where there is one. What the disk refuses is dropped and counted in lost_bytes.
    """

    __slots__ = ("_fd", "_files", "_max_bytes", "_path", "_size", "lost_bytes")

    def __init__(self, path: str, max_bytes: int, files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._files = files
        self.lost_bytes = 0
        self._fd = -1
        self._size = 0
        self._open()

    def write(self, data: bytes) -> None:
        """Append all of it, rotating as often as needed."""
        start = 0
        while start < len(data):
            end = self._fit(data, start)
            self._append(data[start:end])
            start = end
            if start < len(data):
                try:
                    self._rotate()
                except OSError:
                    self.lost_bytes += len(data) - start
                    return

    def close(self) -> None:
        """No more writes."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _fit(self, data: bytes, start: int) -> int:
        """Where to cut so that the part from start fits into the present file."""
        room = max(0, self._max_bytes - self._size)
        if len(data) - start <= room:
            return len(data)
        newline = data.rfind(b"\n", start, start + room)
        if newline >= 0:
            return newline + 1
        # No line ends in the room that is left: begin a new file, unless this one is new.
        return start + room if self._size == 0 else start

    def _append(self, data: bytes) -> None:
        try:
            if self._fd < 0:
                self._open()
            while data:
                written = os.write(self._fd, data)
                self._size += written
                data = data[written:]
        except OSError:  # a full disk must not stop the program that writes
            self.lost_bytes += len(data)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        self.close()
        for number in range(self._files - 1, 0, -1):
            older = f"{self._path}.{number}"
            newer = f"{self._path}.{number - 1}" if number > 1 else self._path
            if os.path.exists(newer):
                os.replace(newer, older)
        if self._files == 1:
            os.unlink(self._path)
        self._open()


class Pump:
    """Carries what comes out of an attempt's pipe into its log, a bounded piece a turn."""

    __slots__ = ("_fd", "_loop", "_timer", "_window", "log")

    def __init__(self, loop: Loop, fd: int, log: RotatingLog) -> None:
        self._loop = loop
        self._fd = fd
        self._window = 0
        self._timer: Timer | None = None
        self.log = log
        loop.watch(fd, READ, self._ready)

    def close(self) -> None:
        """Take what is still in the pipe (at most 1 MiB, without waiting for more) and end."""
        taken = 0
        while self._fd >= 0 and taken < _DRAIN_BYTES:
            got = self._carry()
            if got <= 0:
                break
            taken += got
        self._end()
        self.log.close()

    def _ready(self, _: int) -> None:
        got = self._carry()
        if got == 0:
            self._end()
            return
        self._window += got
        if self._timer is None:
            self._timer = self._loop.after(_WINDOW_S, self._reopen_window)
        if self._window >= _WINDOW_BYTES:
            self._loop.unwatch(self._fd)

    def _reopen_window(self) -> None:
        self._timer = None
        self._window = 0
        if self._fd >= 0:
            self._loop.watch(self._fd, READ, self._ready)

    def _carry(self) -> int:
        """Bytes carried; 0 at the end of the output, -1 when there is none at present."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return -1
        except OSError:
            return 0
        if data:
            self.log.write(data)
        return len(data)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._fd >= 0:
            self._loop.unwatch(self._fd)
            os.close(self._fd)
            self._fd = -1


def open_pipe(path: str, owner: tuple[int, int] | None) -> tuple[int, int]:
    """Make the named pipe anew; (reading end, the attempt's end). OSError as it comes."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    os.mkfifo(path, 0o600)
    writing = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if owner is not None:
            # So that the program may open /dev/stdout again. Who may not give it away may not
            # become that user either, and the child says so in better words.
            with contextlib.suppress(PermissionError):
                os.fchown(writing, *owner)
        # Refused above the user's share (pipe-user-pages-soft): a small pipe works too.
        with contextlib.suppress(OSError):
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return reopen_pipe(path), writing
    except OSError:
        os.close(writing)
        raise


def reopen_pipe(path: str) -> int:
    """The reading end of an attempt's pipe, non-blocking."""
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)


def log_files(path: str) -> list[str]:
    """The files of a log: itself, and the rotated ones up to the first that is missing."""
    found = [path]
    while os.path.exists(f"{path}.{len(found)}"):
        found.append(f"{path}.{len(found)}")
    return found


def delete(paths: list[str], report: Callable[[str, OSError], None]) -> None:
    """Remove files; fine if absent, other refusals are reported."""
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as problem:
            report(path, problem)
