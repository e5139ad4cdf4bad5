"""Calls straight to replicas, by the routes that an edge publishes; through the edge else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple

from tango.adapters.http_answer import Answer, ClosedBeforeAnswer, ReplicaError
from tango.adapters.http_request import SAFE_METHODS
from tango.adapters.replica_http import ReplicaClient
from tango.model.fast_init import maker_with
from tango.model.request import CallReply, CallRequest, Code, Headers, Outcome
from tango.model.routes import RouteTable
from tango.sdk.call_failed import CallFailed
from tango.sdk.leased_routes import LeasedRoutes
from tango.sdk.route_choice import AVOID_S, Choice
from tango.wire.call_client import RequestIds
from tango.wire.route_client import RouteStream

# The reply to a call that was answered: all that such replies have in common takes no argument.
_new_reply: Callable[[str, Outcome, int, Headers, bytes, str, str, float, float], CallReply] = (
    maker_with(
        CallReply,
        code=Code.OK,
        queue_ms=0.0,
        network_ms=0.0,
        error="",
        may_have_run=True,
        retry_after_ms=0.0,
        site="",
    )
)
# To look up the member of an enum takes as long as two names.
_COMPLETED = Outcome.COMPLETED


class _Asked(NamedTuple):
    """What a call is to do. request: the whole of it, where it came as one."""

    path: str
    method: str
    body: bytes
    headers: Headers
    deadline_ms: float
    timeout_ms: float
    request: CallRequest | None


class Followed:
    """A service that is called directly; an async context manager, for one event loop.

    Within the slots that the edge has set aside, a call goes to a replica over HTTP/1.1 keep-alive;
    else, and where nothing is published, through the edge. Slots are used only while the lease that
    came with them lasts, on this client's own clock. A reply's `service_ms` is the whole way, until
    the answer is here.

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
        self._request = request
        self._carry = carry
        self._new_id = RequestIds()
        # One of its own for each call that is answered directly: this, and how many there were.
        self._direct_id = f"{self._new_id()}."
        self._routes = LeasedRoutes(service, open_stream)
        self._clients: dict[str, ReplicaClient] = {}
        self.direct = 0
        self.carried = 0

    async def __aenter__(self) -> Followed:
        await self._routes.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for client in self._clients.values():
            await client.close()
        await self._routes.leave()

    @property
    def table(self) -> RouteTable | None:
        """The routes in use; None where the lease is over."""
        return self._routes.table if time.monotonic() < self._routes.valid_until else None

    async def send(self, request: CallRequest) -> CallReply:
        """Send a call; every end of it is a CallReply."""
        try:
            return await self.call(
                request.path,
                request.method,
                request.body,
                request.headers,
                request.deadline_s * 1000,
                request.timeout_s * 1000,
                request,
            )
        except CallFailed as failed:
            return failed.reply

    # No bare `*` before its keywords: Python looks each one up that is left out, 0.05 us in all.
    async def call(
        self,
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

        An answer at the first try, on an idle connection, is what following routes is for: all that
        it takes is here, since each coroutine around it would cost a quarter of a microsecond, and
        nothing else is, since each call sets up room for all that is.
        """
        routes = self._routes
        under_way = routes.under_way = routes.under_way + 1
        if under_way > routes.peak:
            routes.peak = under_way
        if not method:
            method = "POST" if body else "GET"
        choice: Choice | None = None
        problem: ReplicaError | None = None
        due_s = ends_s = came_at = 0.0
        begun = time.monotonic()
        try:
            table = routes.table
            if table is not None and begun < routes.valid_until:
                due_s = deadline_ms / 1000 if deadline_ms else table.deadline_s
                ends_s = timeout_ms / 1000 if timeout_ms else table.timeout_s
                if ends_s < due_s and not timeout_ms:
                    ends_s = due_s
                if _request is None or not _request.stream:
                    choice = routes.choices.pick(begun)
            if choice is not None and (pool := choice.pool) is not None:
                future: asyncio.Future[Answer] | None = None
                choice.in_flight += 1
                try:
                    future = pool.begin(method, path, headers, body, ends_s, begun)
                    if future is not None:
                        status, fields, content, came_at = await future
                except ReplicaError as error:
                    # Its traceback would hold what runs here, which is to hold it.
                    problem = error.with_traceback(None)
                except BaseException:
                    choice.failed += 1
                    if future is not None:
                        pool.give_up(future)
                    raise
                finally:
                    choice.in_flight -= 1
            if choice is None or not came_at:
                asked = _Asked(path, method, body, headers, deadline_ms, timeout_ms, _request)
                found = await self._try_on(asked, choice, problem, begun, due_s, ends_s)
                if isinstance(found, CallReply):
                    return found
                choice, (status, fields, content, came_at) = found
            direct = self.direct = self.direct + 1
            total_s = came_at - begun
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
            return _new_reply(
                f"{self._direct_id}{direct}" if _request is None else _request.request_id,
                outcome,
                status,
                fields,
                content,
                choice.route.node,
                choice.route.replica,
                total_ms,
                total_ms,
            )
        finally:
            routes.under_way -= 1

    async def _try_on(
        self,
        asked: _Asked,
        choice: Choice | None,
        problem: ReplicaError | None,
        begun: float,
        due_s: float,
        ends_s: float,
    ) -> tuple[Choice, Answer] | CallReply:
        """The answer of a replica, or the reply that the edge brings where there is none to ask.

        choice: of `call`, which had no idle connection, or the problem on one. due_s, ends_s: its
        deadline and its hard end, after it has begun. Raises CallFailed.
        """
        now = begun
        tried: tuple[Choice, ...] = ()
        may_have_run = False
        reused = problem is not None
        while choice is not None:
            if problem is None:
                found = await self._ask(asked, choice, begun + ends_s - now)
                if isinstance(found, tuple):
                    return choice, found
                problem = found
            now = time.monotonic()
            may_have_run = may_have_run or problem.ran
            # A request that may be repeated met a connection that closed: not so a second time.
            closed = (
                reused and asked.method in SAFE_METHODS and isinstance(problem, ClosedBeforeAnswer)
            )
            again = closed or self._again(problem, choice)
            if now >= begun + due_s or not again:
                choice.failed += 1
                request_id = self._new_id() if asked.request is None else asked.request.request_id
                raise CallFailed(_failed(request_id, choice, problem, now - begun, may_have_run))
            if not closed:
                tried = (*tried, choice)
            reused = False
            problem = choice = None
            if now < self._routes.valid_until:
                choice = self._routes.choices.pick(now, tried)
        self.carried += 1
        reply = await self._carry(
            asked.request
            or self._request(
                self._service,
                path=asked.path,
                method=asked.method,
                body=asked.body,
                headers=asked.headers,
                deadline_ms=asked.deadline_ms,
                timeout_ms=asked.timeout_ms,
            )
        )
        if reply.code is not Code.OK:
            raise CallFailed(replace(reply, may_have_run=may_have_run or reply.may_have_run))
        return reply

    async def _ask(self, asked: _Asked, choice: Choice, left_s: float) -> Answer | ReplicaError:
        """One replica, on a new connection if there is no idle one; the next call may have that."""
        client = choice.client or self._client(choice)
        port = choice.route.port
        choice.in_flight += 1
        try:
            reply = await client.request(
                port, asked.method, asked.path, asked.headers, asked.body, timeout_s=left_s
            )
        except ReplicaError as error:
            return error
        except BaseException:
            choice.failed += 1
            raise
        finally:
            choice.in_flight -= 1
        # Not where the replica has another address by now.
        if choice.client is client:
            choice.pool = client.pool(port)
        return (*reply, time.monotonic())

    def _again(self, error: ReplicaError, choice: Choice) -> bool:
        """Whether a try elsewhere is safe and of use: nothing was sent, or it may run twice."""
        if error.code is Code.UNAVAILABLE:
            # It takes no connection, or closes them: the edge will see that too, but not so soon.
            choice.avoid_until = time.monotonic() + AVOID_S
        elif error.code is not Code.RESOURCE_EXHAUSTED:
            return False
        table = self._routes.table
        return not error.ran or (table is not None and table.idempotent)

    def _client(self, choice: Choice) -> ReplicaClient:
        """The one of its host."""
        host = choice.route.host
        client = self._clients.get(host)
        if client is None:
            client = self._clients[host] = ReplicaClient(host=host)
        choice.client = client
        return client


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
