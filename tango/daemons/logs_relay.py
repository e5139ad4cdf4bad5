"""Reads logs through sessions: OpenLog down a stream, LogParts back, one bounded queue a reader."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from typing import Protocol

from tango.model.errors import NotFound, TangoError, Unavailable
from tango.model.messages import CloseLog, LogPart, OpenLog

QUEUE_PARTS = 256
FIRST_PART_S = 10.0


class LogLink(Protocol):
    """The session below, on which a log is asked for."""

    def send(self, message: OpenLog | CloseLog, /) -> bool:
        """False where it takes nothing any more."""
        ...


class LogRelay:
    """Readers waiting for LogParts, by log id."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._ids = itertools.count(1)
        self._readers: dict[str, tuple[LogLink, asyncio.Queue[LogPart]]] = {}

    def opened(self, log_id: str) -> bool:
        """Whether this relay drew the id."""
        return log_id.startswith(self._prefix)

    def on_part(self, part: LogPart) -> None:
        """A part came in; a reader that is hopelessly slow is told so rather than given gaps."""
        reader = self._readers.get(part.log_id)
        if reader is None:
            return
        _, queue = reader
        if queue.qsize() >= QUEUE_PARTS and not part.last:
            del self._readers[part.log_id]
            error = f"the reader is {QUEUE_PARTS} parts behind"
            part = LogPart(part.log_id, last=True, error=error)
        queue.put_nowait(part)

    def fail(self, link: LogLink, reason: str) -> None:
        """The session has ended: so have the logs that came over it."""
        for log_id, (used, _) in tuple(self._readers.items()):
            if used is link:
                self.on_part(LogPart(log_id, last=True, error=reason))

    def stop(self, reason: str) -> None:
        """The daemon stops: so has every log that somebody reads."""
        for log_id in tuple(self._readers):
            self.on_part(LogPart(log_id, last=True, error=reason))

    async def read(
        self, target: str, tail_bytes: int, *, follow: bool, link: LogLink
    ) -> AsyncGenerator[bytes, None]:
        """Bytes of the log as they come. Raises Unavailable or NotFound."""
        log_id = f"{self._prefix}-{next(self._ids)}"
        queue: asyncio.Queue[LogPart] = asyncio.Queue()
        self._readers[log_id] = link, queue
        ended = False
        try:
            if not link.send(OpenLog(log_id, target, tail_bytes, follow)):
                raise Unavailable(f"the node that has the log of {target} is not connected")
            waiting: float | None = FIRST_PART_S
            while True:
                try:
                    async with asyncio.timeout(waiting):
                        part = await queue.get()
                except TimeoutError:
                    raise Unavailable(f"no answer about the log of {target}") from None
                waiting = None if follow else FIRST_PART_S
                if part.data:
                    yield part.data
                if part.last:
                    ended = log_id in self._readers
                    if part.error:
                        raise _log_error(part.error)
                    return
        finally:
            self._readers.pop(log_id, None)
            if not ended:
                link.send(CloseLog(log_id))


def _log_error(text: str) -> TangoError:
    return NotFound(text) if "no log" in text else Unavailable(text)
