"""Reads logs through sessions: OpenLog down a stream, LogParts back, one bounded queue a reader."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable

from tango.model.errors import NotFound, TangoError, Unavailable
from tango.model.messages import CloseLog, LogPart, OpenLog

QUEUE_PARTS = 256
FIRST_PART_S = 10.0


class LogRelay:
    """Readers waiting for LogParts, by log id."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._ids = itertools.count(1)
        self._readers: dict[str, asyncio.Queue[LogPart]] = {}

    def opened(self, log_id: str) -> bool:
        """Whether this relay drew the id."""
        return log_id.startswith(self._prefix)

    def on_part(self, part: LogPart) -> None:
        """A part came in; parts for readers that have gone, or are hopelessly slow, are dropped."""
        queue = self._readers.get(part.log_id)
        if queue is None:
            return
        if queue.qsize() >= QUEUE_PARTS and not part.last:
            return
        queue.put_nowait(part)

    def fail_all(self, reason: str) -> None:
        """The sessions are gone."""
        for log_id in tuple(self._readers):
            self.on_part(LogPart(log_id, last=True, error=reason))

    async def read(
        self,
        target: str,
        tail_bytes: int,
        *,
        follow: bool,
        send: Callable[[OpenLog | CloseLog], bool],
    ) -> AsyncGenerator[bytes, None]:
        """Bytes of the log as they come. Raises Unavailable or NotFound."""
        log_id = f"{self._prefix}-{next(self._ids)}"
        queue: asyncio.Queue[LogPart] = asyncio.Queue()
        self._readers[log_id] = queue
        ended = False
        try:
            if not send(OpenLog(log_id, target, tail_bytes, follow)):
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
                    ended = True
                    if part.error:
                        raise _log_error(part.error)
                    return
        finally:
            self._readers.pop(log_id, None)
            if not ended:
                send(CloseLog(log_id))


def _log_error(text: str) -> TangoError:
    return NotFound(text) if "no log" in text else Unavailable(text)
