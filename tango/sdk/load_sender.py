"""Sends one service's arrivals, each at its time, whatever became of the earlier ones."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tango.model.errors import TangoError, Unavailable
from tango.model.request import CallReply, CallRequest, Code, Headers, Outcome
from tango.sdk.load_record import ServiceRecord
from tango.workload.arrival import Arrival
from tango.workload.reasons import reason_of

# Requests on their way at once; one more counts as sent and failed, without being sent.
MAX_OUTSTANDING = 20_000
CLIENT_LIMIT = "the client's limit of requests under way"
WORK_HEADER = "x-work"

RECONNECT_FIRST_S = 0.2
RECONNECT_LAST_S = 2.0
# Sends without a pause when the sender is behind; then answers get their turn.
SENDS_AT_ONCE = 64


class Stream(Protocol):
    """Many calls at once; CallStream is one."""

    def start(self, request: CallRequest) -> asyncio.Future[CallReply]:
        """Send a call. Raises Unavailable where the stream is broken."""
        ...


OpenStream = Callable[[str], contextlib.AbstractAsyncContextManager[Stream]]


@dataclass(frozen=True, slots=True)
class ServiceLoad:
    """The load on one service. arrivals: in order of time; read while the load runs.

    sites: taken in turn. deadline_s: what the client judges by. own_deadline: send the deadline
    with each request, in place of the service's own. timeout_s: the service's hard end, after
    which no answer comes.
    """

    service: str
    arrivals: Iterable[Arrival]
    deadline_s: float
    sites: tuple[str, ...]
    path: str = "/"
    own_deadline: bool = False
    timeout_s: float = 5.0


class SiteLink:
    """One site's call stream, opened anew when it breaks; what breaks with it counts as failed."""

    def __init__(self, site: str, open_stream: OpenStream) -> None:
        self.site = site
        self._open_stream = open_stream
        self._stream: Stream | None = None
        self._broken = asyncio.Event()
        self._opened = asyncio.Event()

    def start(self, request: CallRequest) -> asyncio.Future[CallReply]:
        """Send. Raises Unavailable while there is no stream."""
        if self._stream is None:
            raise Unavailable("the connection is being made again")
        try:
            return self._stream.start(request)
        except Unavailable:
            self._stream = None
            self._broken.set()
            raise

    async def opened(self) -> None:
        """Returns once the first stream is open."""
        await self._opened.wait()

    async def keep(self) -> None:
        """Keep a stream open until cancelled; jittered backoff between attempts."""
        loop = asyncio.get_running_loop()
        pause_s = RECONNECT_FIRST_S
        while True:
            begun = loop.time()
            async with self._open_stream(self.site) as stream:
                self._stream = stream
                self._opened.set()
                try:
                    await self._broken.wait()
                finally:
                    self._stream = None
            self._broken.clear()
            if loop.time() - begun > 2 * RECONNECT_LAST_S:
                pause_s = RECONNECT_FIRST_S
            # Jitter is no secret.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(RECONNECT_LAST_S, 2 * pause_s)


class Sender:
    """Open loop: a request goes out when it is due, and its latency counts from then.

    So a client or a service that stalls shows in the latency of every request that was due
    meanwhile (no coordinated omission). Timers wake up to 1 ms late, which is in the latency too.

    What the edge answered is judged here: completed within deadline_s after it was due, else late;
    an HTTP status of 400 and above is failed. What it did not answer keeps the edge's outcome,
    rejected or failed.
    """

    def __init__(
        self,
        load: ServiceLoad,
        links: Sequence[SiteLink],
        record: ServiceRecord,
        new_id: Callable[[], str],
        *,
        max_outstanding: int = MAX_OUTSTANDING,
    ) -> None:
        self.load = load
        self.problem: TangoError | None = None
        self._links = links
        self._record = record
        self._new_id = new_id
        self._max_outstanding = max_outstanding
        self._deadline_ms = load.deadline_s * 1000
        self._sent_deadline_s = load.deadline_s if load.own_deadline else 0.0
        self._turn = 0
        self._now = asyncio.get_running_loop().time

    async def run(self, start_at_s: float) -> None:
        """Send all arrivals; start_at_s: loop time of the load's start. Where the arrivals cannot
        be read on, `problem` says why and the load ends there."""
        in_a_row = 0
        arrivals = iter(self.load.arrivals)
        while True:
            try:
                arrival = next(arrivals, None)
            except TangoError as error:
                self.problem = error
                return
            if arrival is None:
                return
            due_s = start_at_s + arrival.at_s
            in_a_row += 1
            wait_s = due_s - self._now()
            if wait_s > 0 or in_a_row >= SENDS_AT_ONCE:
                in_a_row = 0
                await asyncio.sleep(max(0.0, wait_s))
            self._send(arrival, due_s)

    def _send(self, arrival: Arrival, due_s: float) -> None:
        record = self._record
        record.send()
        # The request just counted is one of them.
        if record.tally.in_flight > self._max_outstanding:
            record.end(Outcome.FAILED, reason=CLIENT_LIMIT)
            return
        load = self.load
        headers: Headers = () if arrival.work == 1.0 else ((WORK_HEADER, f"{arrival.work:.4g}"),)
        request = CallRequest(
            self._new_id(),
            load.service,
            path=load.path,
            headers=headers,
            deadline_s=self._sent_deadline_s,
        )
        link = self._links[self._turn]
        self._turn = (self._turn + 1) % len(self._links)
        try:
            future = link.start(request)
        except Unavailable as error:
            record.end(Outcome.FAILED, reason=f"no connection to {link.site}: {error}")
            return
        future.add_done_callback(functools.partial(self._answered, due_s))

    def _answered(self, due_s: float, future: asyncio.Future[CallReply]) -> None:
        if future.cancelled():
            self._record.end(Outcome.FAILED, reason="given up by the client")
            return
        reply = future.result()
        if reply.code is Code.OK and reply.http_status < 400:
            latency_ms = max(0.0, (self._now() - due_s) * 1000)
            in_time = latency_ms <= self._deadline_ms
            self._record.end(Outcome.COMPLETED if in_time else Outcome.LATE, latency_ms)
        elif reply.code is Code.OK:
            self._record.end(Outcome.FAILED, reason=f"HTTP {reply.http_status}")
        else:
            outcome = reply.outcome
            if outcome not in (Outcome.REJECTED, Outcome.FAILED):
                outcome = Outcome.FAILED
            self._record.end(outcome, reason=reason_of(reply))
