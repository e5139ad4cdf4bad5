"""The routes of a service as an edge leases them: tables come on a stream, reports keep them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable

from tango.model.errors import NotFound, Refused, Unavailable
from tango.model.routes import FollowReport, RouteTable
from tango.sdk.route_choice import Choices
from tango.sdk.side_by_side import side_by_side
from tango.wire.route_client import RouteStream

REPORT_S = 0.1
# With nothing to tell, a report still goes out so often in each lease.
REPORTS_PER_LEASE = 5
OPEN_TIMEOUT_S = 10.0
LEAVE_TIMEOUT_S = 1.0
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 2.0
# Reports that the edge has not taken yet; older ones matter no more.
MAX_UNTAKEN = 256
# Slots are asked for this part above the most that were needed lately.
ROOM_TO_GROW = 4


class LeasedRoutes:
    """For one event loop. A stream that breaks is opened again.

    table: None before `open`; it stands until `valid_until`, on this client's own clock.
    under_way: calls, those that the edge carries included; peak: most of them since the last
    report. Who calls keeps both.
    """

    def __init__(self, service: str, open_stream: Callable[[], RouteStream]) -> None:
        self.table: RouteTable | None = None
        self.valid_until = 0.0
        self.choices = Choices()
        self.under_way = 0
        self.peak = 0
        self._service = service
        self._open_stream = open_stream
        self._sent_at: dict[int, float] = {}
        self._number = 0
        self._said: tuple[int, int] = (-1, -1)
        self._wake = asyncio.Event()
        self._connected = False
        self._leaving = False
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Return with the first table. Raises NotFound, Unavailable or Refused."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                stream = await self._begin()
        except TimeoutError:
            raise Unavailable(f"no routes of {self._service!r} came in time") from None
        self._keeper = asyncio.create_task(self._keep(stream), name="follow routes")

    async def leave(self) -> None:
        """Give the routes back; nothing is under way any more."""
        assert self._keeper is not None
        self._leaving = True
        self._wake.set()
        if self._connected:
            # Its last report goes out, and the edge ends the stream: nothing waits for a lease.
            await asyncio.wait({self._keeper}, timeout=LEAVE_TIMEOUT_S)
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)

    async def _begin(self) -> RouteStream:
        """A new stream with its first table, as a follower that has reported nothing yet."""
        stream = self._open_stream()
        self._number = 0
        self._said = (-1, -1)
        self._sent_at = {0: time.monotonic()}
        try:
            await stream.open()
            while not self._take(await stream.read()):
                pass
        except BaseException:
            stream.close()
            raise
        self._connected = True
        return stream

    async def _keep(self, stream: RouteStream) -> None:
        """Follow for as long as this runs; a stream that ends is opened again."""
        while True:
            try:
                await side_by_side(self._read(stream), self._report_on(stream))
            finally:
                self._connected = False
                stream.close()
            delay_s = RETRY_FIRST_S
            again: RouteStream | None = None
            while again is None:
                if self._leaving:
                    return
                await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
                delay_s = min(RETRY_MAX_S, 2 * delay_s)
                again = await self._begin_again()
            stream = again

    async def _begin_again(self) -> RouteStream | None:
        """A new stream; None where the edge is not there, or does not have the service."""
        stream: RouteStream | None = None
        with contextlib.suppress(NotFound, Refused, Unavailable, TimeoutError):
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                stream = await self._begin()
        return stream

    async def _read(self, stream: RouteStream) -> None:
        while True:
            self._take(await stream.read())

    def _take(self, news: tuple[int, RouteTable | None]) -> bool:
        """Adopt what the edge says; whether there is a table."""
        taken, table = news
        if table is not None:
            self.table = table
            self.choices.adopt(table)
            # It holds back what the older table gave until it knows that this one is in use.
            self._wake.set()
        sent_at = self._sent_at.get(taken)
        if sent_at is not None and self.table is not None:
            self.valid_until = sent_at + self.table.lease_s
            for number in [number for number in self._sent_at if number < taken]:
                del self._sent_at[number]
        return table is not None

    async def _report_on(self, stream: RouteStream) -> None:
        last = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPORT_S):
                    await self._wake.wait()
            self._wake.clear()
            if self._leaving:
                await self._report(stream, last=True)
                await stream.finish()
                return
            table = self.table
            assert table is not None
            now = time.monotonic()
            due = now >= last + table.lease_s / REPORTS_PER_LEASE
            if due or self._said != (table.version, self.peak) or not self.choices.settled():
                last = now
                await self._report(stream)

    async def _report(self, stream: RouteStream, *, last: bool = False) -> None:
        version = self.table.version if self.table is not None else 0
        peak, self.peak = self.peak, self.under_way
        self._said = (version, peak)
        wanted = peak + max(1, peak // ROOM_TO_GROW)
        self._number += 1
        if len(self._sent_at) >= MAX_UNTAKEN:
            del self._sent_at[next(iter(self._sent_at))]
        self._sent_at[self._number] = time.monotonic()
        tallies = self.choices.tallies()
        await stream.report(FollowReport(self._number, version, wanted, tallies, last))
