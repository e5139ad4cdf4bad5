"""A private file of lines, and a thread that fills it: what daemons write beside their work.

Formatting takes the interpreter's lock, so the thread lets go of it after half a millisecond or so
rather than hold an event loop up for its switch interval (5 ms).
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

WRITE_BYTES = 64 * 1024
YIELD_EVERY = 32
CLOSE_S = 5.0
T = TypeVar("T")


class LineFile:
    """Appends to `path`; at max_bytes it becomes `path`.1, that one .2, and so on; `files` in all.

    head: the first line of each file, and of what is appended to one. Every method raises OSError.
    """

    def __init__(self, path: str | Path, *, max_bytes: int, files: int, head: bytes) -> None:
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._files = files
        self._head = head
        self._file = -1
        self._size = 0
        self._open()

    def write(self, lines: Iterable[bytes]) -> None:
        """Append whole lines, each with its end."""
        if self._file < 0:
            self._open()
        block = b""
        for data in lines:
            if self._size + len(block) + len(data) > self._max_bytes and self._size:
                self._append(block)
                self._rotate()
                block = b""
            block += data
        self._append(block)

    def close(self) -> None:
        """The next write opens it again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, block: bytes) -> None:
        while block:
            done = os.write(self._file, block)
            self._size += done
            block = block[done:]

    def _rotate(self) -> None:
        self.close()
        names = [self._path, *(Path(f"{self._path}.{n}") for n in range(1, self._files))]
        names[-1].unlink(missing_ok=True)
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            if newer.exists():
                newer.replace(older)
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._file).st_size
        # What was written last may have been cut short by a full disk or a crash.
        self._append((b"\n" if self._size else b"") + self._head)


class LineThread(Generic[T]):
    """What waits to be written, and the thread that is told of it.

    drain: takes it off, in the thread. end: closes what it writes to; the last thing done there.
    """

    def __init__(self, name: str, drain: Callable[[], None], end: Callable[[], None]) -> None:
        self.waiting: deque[T] = deque()
        self._drain = drain
        self._end = end
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something."""
        self._wake.set()

    def close(self) -> None:
        """Drain what waits, for a few seconds at most, and end."""
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing
            self._drain()
        self._end()


def let_go(count: int) -> None:
    """Let an event loop in, after so many lines that were made."""
    if count % YIELD_EVERY == 0:
        time.sleep(0)
