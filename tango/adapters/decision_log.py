"""Writes decision records to a JSON lines file, rotated by size; formatting and disk in a thread.

A slow or full disk costs records, which are counted, and never the event loop's time: what waits
for the thread is bounded. Formatting takes the interpreter's lock, so the thread lets go of it
after half a millisecond or so rather than hold an event loop up for its switch interval (5 ms).
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from tango.model.decision import FORMAT, Decision, line
from tango.model.errors import InvalidField

# Records that wait at most; ten seconds of a busy edge.
MAX_WAITING = 100_000
WRITE_BYTES = 64 * 1024
YIELD_EVERY = 32
CLOSE_S = 5.0

log = logging.getLogger("tango")


class DecisionLog:
    """Appends to `path`; at max_bytes it becomes `path`.1, that one .2, and so on; `files` in all.

    Each file begins with {"v", "kind": "log", "daemon", "incarnation", "now", "wall"}: `at` of a
    record, less now, plus wall, is its unix time. What was lost shows as {"v", "kind": "lost",
    "records"} in its place. now: of the daemon's controller, at this moment.

    Raises InvalidField("decisions.log") where the file cannot be written.
    """

    def __init__(
        self,
        path: str,
        *,
        max_bytes: int,
        files: int,
        daemon: str,
        incarnation: int,
        now: float,
    ) -> None:
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._files = files
        self._daemon = daemon
        self._incarnation = incarnation
        self._offset = time.time() - now
        # What is to be written; a number stands for so many records that are lost.
        self._waiting: deque[Decision | int] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._failed = False
        self._file = -1
        self._size = 0
        try:
            self._open()
        except OSError as error:
            problem = f"{path} cannot be written: {error.strerror}"
            fix = "name a file in a directory that is there, of this daemon alone"
            raise InvalidField("decisions.log", problem, fix) from error
        self._thread = threading.Thread(target=self._run, name="decision log", daemon=True)
        self._thread.start()

    def add(self, records: Sequence[Decision], lost: int = 0) -> None:
        """Have these written, in order; lost: so many of them were overwritten unseen."""
        room = max(0, MAX_WAITING - len(self._waiting))
        lost += max(0, len(records) - room)
        self._waiting.extend(records[:room])
        if lost:
            self._waiting.append(lost)
        self._wake.set()

    def close(self) -> None:
        """Write what waits, for a few seconds at most, and end."""
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSE_S)

    # ---- the thread

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing
            self._drain()
        if self._file >= 0:
            os.close(self._file)

    def _drain(self) -> None:
        batch: list[bytes] = []
        size = lost = count = 0
        while self._waiting:
            record = self._waiting.popleft()
            if isinstance(record, int):
                lost += record
                continue
            batch.append(line(record).encode("utf-8", "replace") + b"\n")
            size += len(batch[-1])
            count += 1
            if size >= WRITE_BYTES:
                lost = self._write(batch, lost)
                batch, size = [], 0
            if count % YIELD_EVERY == 0:
                time.sleep(0)
        if batch or lost:
            lost = self._write(batch, lost)
        if lost:
            # Said when the disk takes something again.
            self._waiting.appendleft(lost)

    def _write(self, lines: list[bytes], lost: int) -> int:
        """Write lines after so many that were lost; how many are lost now: all, or none."""
        try:
            if self._file < 0:
                self._open()
            start = [_lost_line(lost).encode() + b"\n"] if lost else []
            block = b""
            for data in (*start, *lines):
                if self._size + len(block) + len(data) > self._max_bytes and self._size:
                    self._append(block)
                    self._rotate()
                    block = b""
                block += data
            self._append(block)
        except OSError as error:
            if not self._failed:
                log.warning("decision log not written", extra={"fields": {"error": str(error)}})
            self._failed = True
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
            return lost + len(lines)
        self._failed = False
        return 0

    def _append(self, block: bytes) -> None:
        while block:
            done = os.write(self._file, block)
            self._size += done
            block = block[done:]

    def _rotate(self) -> None:
        os.close(self._file)
        self._file = -1
        names = [self._path, *(Path(f"{self._path}.{n}") for n in range(1, self._files))]
        names[-1].unlink(missing_ok=True)
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            if newer.exists():
                newer.replace(older)
        self._open()

    def _open(self) -> None:
        """Append to the present file, or begin one; either way with a line that says who writes."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._file).st_size
        wall = time.time()
        head = {
            "v": FORMAT,
            "kind": "log",
            "daemon": self._daemon,
            "incarnation": self._incarnation,
            "now": wall - self._offset,
            "wall": wall,
        }
        # What was written last may have been cut short by a full disk or a crash.
        begin = "\n" if self._size else ""
        text = begin + json.dumps(head, separators=(",", ":")) + "\n"
        self._append(text.encode())


def _lost_line(records: int) -> str:
    return json.dumps({"v": FORMAT, "kind": "lost", "records": records}, separators=(",", ":"))
