"""The ends of processes as a stream that waits, and that outlives a lost connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

from tango.model.process import ProcessRecord
from tango.ports import RuntimeLost


class Ends(AsyncIterator[ProcessRecord]):
    """What Runtime.watch() returns: every record that was put since it was made, in order.

    reconnect: awaited before each wait; what it raises ends the stream. on_closed: called once.
    It holds at most one record of each process, and a runtime bounds the processes that it holds.
    """

    def __init__(
        self, reconnect: Callable[[], Awaitable[None]], on_closed: Callable[[Ends], None]
    ) -> None:
        self._reconnect = reconnect
        self._on_closed = on_closed
        self._pending: deque[ProcessRecord] = deque()
        self._wake = asyncio.Event()
        self._closed = False

    def put(self, record: ProcessRecord) -> None:
        """A process ended."""
        self._pending.append(record)
        self._wake.set()

    def wake(self) -> None:
        """Let the waiting one look at its connection again."""
        self._wake.set()

    def close(self) -> None:
        """End the stream once what is pending is taken."""
        if not self._closed:
            self._closed = True
            self._on_closed(self)
        self._wake.set()

    async def __anext__(self) -> ProcessRecord:
        while not self._pending:
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            try:
                await self._reconnect()
            except RuntimeLost:
                if self._closed:
                    raise StopAsyncIteration from None
                self.close()
                raise
            if not self._pending:
                await self._wake.wait()
        return self._pending.popleft()
