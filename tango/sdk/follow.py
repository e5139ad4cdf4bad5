"""Calls straight to replicas, by the routes that an edge publishes; reports keep them leased."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import TracebackType

from tango.adapters.http_answer import Answer, ClosedBeforeAnswer, ReplicaError
from tango.adapters.http_request import SAFE_METHODS
from tango.adapters.replica_http import ReplicaClient
from tango.model.errors import NotFound, Refused, Unavailable
from tango.model.fast_init import maker
from tango.model.request import CallReply, CallRequest, Code, Headers, Outcome
from tango.model.routes import FollowReport, RouteTable
from tango.sdk.call_failed import CallFailed
from tango.sdk.route_choice import AVOID_S, Choice, Choices
from tango.sdk.side_by_side import side_by_side
from tango.wire.call_client import RequestIds
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

# Sixteen names, and the members of an enum, take as long as all else that a call does here.
_new_reply = maker(CallReply)
_OK = Code.OK
_COMPLETED = Outcome.COMPLETED


class Followed:
    """A service that is called directly; an async context manager, for one event loop.

    Within the slots that the edge has set aside, a call goes to a replica over HTTP/1.1 keep-alive;
    else, and where nothing is published, through the edge. Slots are used only while the lease that
    came with them lasts, on this client's own clock. A reply's `service_ms` is the whole way.

    Entering raises NotFound, Unavailable or Refused; a stream that breaks later is opened again.
    """

    def __init__(
        self,
        service: str,
        *,
        open_stream: Callable[[], RouteStream],
        request: Callable[..., CallRequest],
        carry: Callable[[CallRequest], Awaitable[CallReply]],
    ) -> None:
        self._service = service
        self._open_stream = open_stream
        self._request = request
        self._carry = carry
        self._new_id = RequestIds().__call__
        self._choices = Choices()
        self._clients: dict[str, ReplicaClient] = {}
        self._table: RouteTable | None = None
        self._valid_until = 0.0
        self._sent_at: dict[int, float] = {}
        self._number = 0
        self._under_way = 0
        self._peak = 0
        self._said: tuple[int, int] = (-1, -1)
        self._wake = asyncio.Event()
        self._connected = False
        self._leaving = False
        self._keeper: asyncio.Task[None] | None = None
        self.direct = 0
        self.carried = 0

    async def __aenter__(self) -> Followed:
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                stream = await self._begin()
        except TimeoutError:
            raise Unavailable(f"no routes of {self._service!r} came in time") from None
        self._keeper = asyncio.create_task(self._keep(stream), name="follow routes")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._keeper is not None
        for client in self._clients.values():
            await client.close()
        self._leaving = True
        self._wake.set()
        if self._connected:
            # Its last report goes out, and the edge ends the stream: nothing waits for a lease.
            await asyncio.wait({self._keeper}, timeout=LEAVE_TIMEOUT_S)
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)

    @property
    def table(self) -> RouteTable | None:
        """The routes in use; None where the lease is over."""
        return self._table if time.monotonic() < self._valid_until else None

    # ---- calls

    async def send(self, request: CallRequest) -> CallReply:
        """Send a call; every end of it is a CallReply."""
        try:
            return await self.call(
                path=request.path,
                method=request.method,
                body=request.body,
                headers=request.headers,
                deadline_ms=request.deadline_s * 1000,
                timeout_ms=request.timeout_s * 1000,
                _request=request,
            )
        except CallFailed as failed:
            return failed.reply

    async def call(
        self,
        *,
        path: str = "/",
        method: str = "",
        body: bytes = b"",
        headers: Headers = (),
        deadline_ms: float = 0.0,
        timeout_ms: float = 0.0,
        _request: CallRequest | None = None,
    ) -> CallReply:
        """One call; keywords as in Client.request. Raises CallFailed where no replica answered.

        It tries replicas until one answers, or another try might run the request twice; else the
        edge carries it. _request: the whole of it, from `send`.

        One function on purpose: what it does for an answer at the first try is the whole cost of
        following routes, and each coroutine around it would cost a quarter of a microsecond.
        """
        self._under_way += 1
        if self._under_way > self._peak:
            self._peak = self._under_way
        begun = now = time.monotonic()
        table = self._table
        tried: tuple[Choice, ...] = ()
        # Whether a request that may be repeated met a connection that closed: not so a second time.
        fresh = may_have_run = False
        if not method:
            method = "POST" if body else "GET"
        try:
            while table is not None and now < self._valid_until:
                if _request is not None and _request.stream:
                    break
                choice = self._choices.pick(now, tried)
                if choice is None:
                    break
                due_s = deadline_ms / 1000 if deadline_ms else table.deadline_s
                ends_s = timeout_ms / 1000 if timeout_ms else table.timeout_s
                if ends_s < due_s and not timeout_ms:
                    ends_s = due_s
                client = choice.client or self._client(choice)
                port = choice.route.port
                left_s = begun + ends_s - now
                choice.in_flight += 1
                future: asyncio.Future[Answer] | None = None
                try:
                    if not fresh:
                        future = client.begin(port, method, path, headers, body, left_s, now)
                    if future is not None:
                        status, fields, content = await future
                    else:
                        status, fields, content = await client.request(
                            port, method, path, headers, body, timeout_s=left_s
                        )
                except ReplicaError as error:
                    now = time.monotonic()
                    may_have_run = may_have_run or error.ran
                    fresh = (
                        future is not None
                        and method in SAFE_METHODS
                        and isinstance(error, ClosedBeforeAnswer)
                    )
                    again = fresh or self._again(error, choice, table)
                    if now >= begun + due_s or not again:
                        choice.failed += 1
                        request_id = self._new_id() if _request is None else _request.request_id
                        failed = _failed(request_id, choice, error, now - begun, may_have_run)
                        raise CallFailed(failed) from None
                except BaseException:
                    choice.failed += 1
                    if future is not None:
                        client.give_up(future)
                    raise
                else:
                    self.direct += 1
                    total_s = time.monotonic() - begun
                    outcome = _COMPLETED
                    if status >= 500:
                        outcome = Outcome.FAILED
                        choice.failed += 1
                    else:
                        choice.latency_s += total_s
                        if total_s <= due_s:
                            choice.completed += 1
                        else:
                            outcome = Outcome.LATE
                            choice.late += 1
                    total_ms = total_s * 1000
                    route = choice.route
                    return _new_reply(
                        self._new_id() if _request is None else _request.request_id,
                        outcome,
                        _OK,
                        status,
                        fields,
                        content,
                        route.node,
                        route.replica,
                        0.0,
                        0.0,
                        total_ms,
                        total_ms,
                        "",
                        True,
                    )
                finally:
                    choice.in_flight -= 1
                if not fresh:
                    tried = (*tried, choice)
            self.carried += 1
            reply = await self._carry(
                _request
                or self._request(
                    self._service,
                    path=path,
                    method=method,
                    body=body,
                    headers=headers,
                    deadline_ms=deadline_ms,
                    timeout_ms=timeout_ms,
                )
            )
            if reply.code is not Code.OK:
                raise CallFailed(replace(reply, may_have_run=may_have_run or reply.may_have_run))
            return reply
        finally:
            self._under_way -= 1

    def _again(self, error: ReplicaError, choice: Choice, table: RouteTable) -> bool:
        """Whether a try elsewhere is safe and of use: nothing was sent, or it may run twice."""
        if error.code is Code.UNAVAILABLE:
            # It takes no connection, or closes them: the edge will see that too, but not so soon.
            choice.avoid_until = time.monotonic() + AVOID_S
        elif error.code is not Code.RESOURCE_EXHAUSTED:
            return False
        return table.idempotent or not error.ran

    def _client(self, choice: Choice) -> ReplicaClient:
        """The one of its host."""
        host = choice.route.host
        client = self._clients.get(host)
        if client is None:
            client = self._clients[host] = ReplicaClient(host=host)
        choice.client = client
        return client

    # ---- routes

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
            self._table = table
            self._choices.adopt(table)
            # It holds back what the older table gave until it knows that this one is in use.
            self._wake.set()
        sent_at = self._sent_at.get(taken)
        if sent_at is not None and self._table is not None:
            self._valid_until = sent_at + self._table.lease_s
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
            table = self._table
            assert table is not None
            now = time.monotonic()
            due = now >= last + table.lease_s / REPORTS_PER_LEASE
            if due or self._said != (table.version, self._peak) or not self._choices.settled():
                last = now
                await self._report(stream)

    async def _report(self, stream: RouteStream, *, last: bool = False) -> None:
        version = self._table.version if self._table is not None else 0
        peak, self._peak = self._peak, self._under_way
        self._said = (version, peak)
        wanted = peak + max(1, peak // ROOM_TO_GROW)
        self._number += 1
        if len(self._sent_at) >= MAX_UNTAKEN:
            del self._sent_at[next(iter(self._sent_at))]
        self._sent_at[self._number] = time.monotonic()
        tallies = self._choices.tallies()
        await stream.report(FollowReport(self._number, version, wanted, tallies, last))


def _failed(
    request_id: str, choice: Choice, error: ReplicaError, total_s: float, may_have_run: bool
) -> CallReply:
    """As the edge puts it: what no replica may see is rejected, anything else has failed."""
    rejected = error.code is Code.INVALID and not may_have_run
    return CallReply(
        request_id,
        Outcome.REJECTED if rejected else Outcome.FAILED,
        error.code,
        node=choice.route.node,
        replica=choice.route.replica,
        total_ms=total_s * 1000,
        error=str(error),
        may_have_run=may_have_run,
    )
