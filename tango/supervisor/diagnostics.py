"""The supervisor's own log: one JSON line an event on stderr, dropped rather than waited for."""

from __future__ import annotations

import json
import os
import select
import stat
import time

_STDERR = 2
_MAX_FILE_BYTES = 1 << 20


class Diagnostics:
    """Writes events; counts those that stderr's reader was too slow for.

    A stderr that is a file, as where the worker starts the supervisor, is begun anew above 1 MiB:
    nobody rotates it, and a supervisor runs for months.
    """

    __slots__ = ("_dropped", "_is_file", "_poll")

    def __init__(self) -> None:
        self._dropped = 0
        self._is_file = stat.S_ISREG(os.fstat(_STDERR).st_mode)
        self._poll = select.poll()
        self._poll.register(_STDERR, select.POLLOUT)

    def __call__(self, event: str, **fields: object) -> None:
        """One line {"ts", "event", ...}. Never give it an environment: it may hold secrets."""
        record = {"ts": round(time.time(), 3), "daemon": "supervisor", "event": event, **fields}
        if self._dropped:
            record["dropped_before"] = self._dropped
        # A pipe that polls as writable takes 4 KiB without waiting.
        line = json.dumps(record, default=str).encode("ascii")[:4000] + b"\n"
        try:
            if self._is_file and os.fstat(_STDERR).st_size > _MAX_FILE_BYTES:
                os.ftruncate(_STDERR, 0)
            if any(ready & select.POLLOUT for _, ready in self._poll.poll(0)):
                os.write(_STDERR, line)
                self._dropped = 0
                return
        except OSError:  # nobody reads it any more
            pass
        self._dropped += 1
