"""Writes decision records to a JSON lines file, rotated by size; formatting and disk in a thread.

A slow or full disk costs records, which are counted, and never the event loop's time: what waits
for the thread is bounded.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from tango.adapters.line_file import WRITE_BYTES, LineFile, LineThread, let_go
from tango.model.decision import END, FORMAT, FORWARD, ROUTE, Decision, line
from tango.model.errors import InvalidField
from tango.model.request import Outcome
from tango.model.settings import LoggedRequests
from tango.model.starts import Life

# Records that wait at most; ten seconds of a busy edge.
MAX_WAITING = 100_000

log = logging.getLogger("tango")


class DecisionLog:
    """Appends to `path`; at max_bytes it becomes `path`.1, that one .2, and so on; `files` in all.

    Each file begins with {"v", "kind": "log", "daemon", "incarnation", "now", "wall"}: `at` of a
    record, less now, plus wall, is its unix time. What was lost shows as {"v", "kind": "lost",
    "records"} in its place.

    Raises InvalidField("decisions.log") where the file cannot be written.
    """

    def __init__(self, path: str, *, max_bytes: int, files: int, life: Life) -> None:
        self._failed = False
        try:
            self._file = LineFile(path, max_bytes=max_bytes, files=files, head=log_head(life))
        except OSError as error:
            problem = f"{path} cannot be written: {error.strerror}"
            fix = "name a file in a directory that is there, of this daemon alone"
            raise InvalidField("decisions.log", problem, fix) from error
        # What is to be written; a number stands for so many records that are lost.
        self._thread: LineThread[Decision | int] = LineThread(
            "decision log", self._drain, self._file.close
        )

    def add(self, records: Sequence[Decision], lost: int = 0) -> None:
        """Have these written, in order; lost: so many of them were overwritten unseen."""
        waiting = self._thread.waiting
        room = max(0, MAX_WAITING - len(waiting))
        lost += max(0, len(records) - room)
        waiting.extend(records[:room])
        if lost:
            waiting.append(lost)
        self._thread.wake()

    def close(self) -> None:
        """Write what waits, for a few seconds at most, and end."""
        self._thread.close()

    # ---- the thread

    def _drain(self) -> None:
        waiting = self._thread.waiting
        batch: list[bytes] = []
        size = lost = count = 0
        while waiting:
            record = waiting.popleft()
            if isinstance(record, int):
                lost += record
                continue
            batch.append(log_line(record))
            size += len(batch[-1])
            count += 1
            if size >= WRITE_BYTES:
                lost = self._write(batch, lost)
                batch, size = [], 0
            let_go(count)
        if batch or lost:
            lost = self._write(batch, lost)
        if lost:
            # Said when the disk takes something again.
            waiting.appendleft(lost)

    def _write(self, lines: list[bytes], lost: int) -> int:
        """Write lines after so many that were lost; how many are lost now: all, or none."""
        try:
            self._file.write([_lost_line(lost), *lines] if lost else lines)
        except OSError as error:
            if not self._failed:
                log.warning("decision log not written", extra={"fields": {"error": str(error)}})
            self._failed = True
            self._file.close()
            return lost + len(lines)
        self._failed = False
        return 0


def logged(record: Decision, which: LoggedRequests) -> bool:
    """Whether the record goes to a log of this kind."""
    form = record[2]
    if "request" not in form.index or which is LoggedRequests.ALL:
        return True
    if which is LoggedRequests.NONE or form is ROUTE or form is FORWARD:
        return False
    return form is not END or record[END.index["outcome"]] is not Outcome.COMPLETED


def log_head(life: Life) -> bytes:
    """The first line of each file."""
    head = {
        "v": FORMAT,
        "kind": "log",
        "daemon": life.daemon,
        "incarnation": life.incarnation,
        "now": life.now,
        "wall": life.wall,
    }
    return _json_line(head)


def log_line(record: Decision) -> bytes:
    """The line of one record."""
    return line(record).encode("utf-8", "replace") + b"\n"


def _lost_line(records: int) -> bytes:
    return _json_line({"v": FORMAT, "kind": "lost", "records": records})


def _json_line(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"
