"""The worker's HTTP/1.1 client to the replicas of its node: pooled keep-alive connections."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time

from tango.adapters.answer_deadlines import AnswerDeadlines
from tango.adapters.http_answer import (
    Answer,
    ClosedBeforeAnswer,
    HttpReply,
    OnPart,
    ReplicaError,
    cancelled,
    closed,
)
from tango.adapters.http_connection import HttpConnection
from tango.adapters.http_pool import HttpPool
from tango.adapters.http_request import HttpRequest, HttpRequests
from tango.model.request import Code, Headers
from tango.model.settings import DEFAULT_MAX_BODY_BYTES

__all__ = ["HttpReply", "ReplicaClient", "ReplicaError"]

_MAX_HEALTH_BYTES = 64 * 1024


class _Named:
    """A request that can be aborted, paused and resumed by its name.

    opening: the timeout of the connection that is being opened for it. future: once it is sent.
    """

    __slots__ = ("aborted", "future", "opening")

    def __init__(self) -> None:
        self.future: asyncio.Future[Answer] | None = None
        self.opening: asyncio.Timeout | None = None
        self.aborted = False


class ReplicaClient:
    """Requests to replicas on one host, each port with a pool of its own.

    max_connections: of one port, those in use included; one more is refused.
    max_idle_s: unused connections are closed after it. It is below the keep-alive timeouts that
    servers commonly have (2 s and up), since a server that closes just as a request arrives leaves
    nobody knowing whether it ran.
    max_body_bytes: of a request, and of an answer that is not taken in parts.
    For one event loop. Close it before the loop ends.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        max_connections: int = 1024,
        max_idle_s: float = 1.5,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    ) -> None:
        self._host = host
        self._max_connections = max_connections
        self._max_idle_s = max_idle_s
        self._requests = HttpRequests(host, max_body_bytes)
        self._pools: dict[int, HttpPool] = {}
        # Of all pools.
        self._connections: set[HttpConnection] = set()
        self._deadlines = AnswerDeadlines(self._connections)
        self._named: dict[str, _Named] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def request(
        self,
        port: int,
        method: str,
        path: str,
        headers: Headers = (),
        body: bytes = b"",
        *,
        timeout_s: float,
        request_id: str = "",
        max_body_bytes: int | None = None,
        on_part: OnPart | None = None,
    ) -> HttpReply:
        """Send a request, wait for the whole answer. Raises ReplicaError.

        request_id: a name for abort(), pause() and resume(), unique among those under way.
        on_part: called with (status, headers, data) for each part of the body as it comes, however
        long it gets; the reply's body is empty then. What it raises ends the request with that.
        A request is sent a second time only where it did not run: the connection was closed when
        it was to be written, or it is a GET or HEAD on a reused connection that closed unanswered.
        """
        if headers or body or on_part is not None or max_body_bytes is not None:
            request = self._requests.make(
                port, method, path, headers, body, max_body_bytes, on_part
            )
        else:
            request = self._requests.plain(port, method, path)
        if self._closed:
            raise _client_closed(ran=False)
        if not request_id:
            return await self._carry(port, request, timeout_s, None)
        if request_id in self._named:
            message = f"request {request_id!r} is under way already"
            raise ReplicaError(Code.INVALID, message, ran=False)
        named = self._named[request_id] = _Named()
        try:
            return await self._carry(port, request, timeout_s, named)
        finally:
            del self._named[request_id]

    def pool(self, port: int) -> HttpPool | None:
        """Of a port that there are connections to: for who wants to send on one that is idle."""
        return self._pools.get(port)

    async def health(self, port: int, path: str, timeout_s: float) -> None:
        """Return where GET path answers 2xx, else raise ReplicaError with the reason."""
        reply = await self.request(
            port, "GET", path, timeout_s=timeout_s, max_body_bytes=_MAX_HEALTH_BYTES
        )
        if not 200 <= reply.status < 300:
            raise ReplicaError(Code.UNAVAILABLE, f"GET {path} answered {reply.status}", ran=True)

    def abort(self, request_id: str) -> bool:
        """Close the connection of a request, which ends with CANCELLED. False: it is not there."""
        named = self._named.get(request_id)
        if named is None:
            return False
        named.aborted = True
        connection = self._carrier(named)
        if connection is not None:
            connection.fail(cancelled(ran=True))
        elif named.opening is not None and not named.opening.expired():
            named.opening.reschedule(0.0)
        return True

    def pause(self, request_id: str) -> None:
        """Stop reading the answer of a request: its taker is behind. Its timeout runs on."""
        named = self._named.get(request_id)
        connection = self._carrier(named) if named is not None else None
        if connection is not None:
            connection.pause()

    def resume(self, request_id: str) -> None:
        """Read on; fine where the request has ended."""
        named = self._named.get(request_id)
        connection = self._carrier(named) if named is not None else None
        if connection is not None:
            connection.resume()

    async def close(self) -> None:
        """Close every connection; requests under way end with UNAVAILABLE."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._deadlines.close()
        while self._connections:
            for connection in tuple(self._connections):
                connection.fail(_client_closed(ran=True))
            await asyncio.sleep(0)

    async def _carry(
        self, port: int, request: HttpRequest, timeout_s: float, named: _Named | None
    ) -> HttpReply:
        begun = time.monotonic()
        pool = self._pools.get(port)
        future = pool.send(request, timeout_s, begun) if pool is not None else None
        if pool is None or future is None:
            return await self._carry_fresh(port, request, timeout_s, begun, named)
        if named is not None:
            named.future = future
        try:
            status, fields, content, _ = await future
            return HttpReply(status, fields, content)
        except asyncio.CancelledError:
            pool.give_up(future)
            raise
        except ClosedBeforeAnswer:
            if not request.repeatable or (named is not None and named.aborted):
                raise
        try:
            return await self._carry_fresh(port, request, timeout_s, begun, named)
        except ReplicaError as error:
            error.ran = True  # the first try may have run
            raise

    async def _carry_fresh(
        self, port: int, request: HttpRequest, timeout_s: float, begun: float, named: _Named | None
    ) -> HttpReply:
        pool, connection = await self._connect(port, timeout_s, begun, named)
        if named is not None and named.aborted:
            connection.abort()
            raise cancelled(ran=False)
        future = connection.send(request, timeout_s, begun)
        if future is None:
            connection.abort()
            message = closed("before the request was sent", None)
            raise ReplicaError(Code.UNAVAILABLE, message, ran=False)
        if named is not None:
            named.future = future
        try:
            status, fields, content, _ = await future
            return HttpReply(status, fields, content)
        except asyncio.CancelledError:
            pool.give_up(future)
            raise

    async def _connect(
        self, port: int, timeout_s: float, begun: float, named: _Named | None
    ) -> tuple[HttpPool, HttpConnection]:
        pool = self._pools.get(port)
        if pool is None:
            pool = self._pools[port] = HttpPool(port, self._requests)
        if len(pool.connections) >= self._max_connections:
            message = f"{self._max_connections} connections to port {port} are in use"
            raise ReplicaError(Code.RESOURCE_EXHAUSTED, message, ran=False)
        loop = asyncio.get_running_loop()
        on_closed = functools.partial(self._closed_one, pool)
        connection = HttpConnection(loop, self._deadlines, pool.idle, on_closed)
        pool.connections.add(connection)
        self._connections.add(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._max_idle_s, self._sweep)
        try:
            async with asyncio.timeout(begun + timeout_s - time.monotonic()) as opening:
                if named is not None:
                    named.opening = opening
                await loop.create_connection(lambda: connection, self._host, port)
        except BaseException as error:
            connection.abort()
            self._closed_one(pool, connection)
            if isinstance(error, OSError):  # TimeoutError is one
                if named is not None and named.aborted:
                    raise cancelled(ran=False) from None
                raise self._no_connection(port, timeout_s, error) from None
            raise
        finally:
            if named is not None:
                named.opening = None
        return pool, connection

    def _no_connection(self, port: int, timeout_s: float, error: OSError) -> ReplicaError:
        code = Code.UNAVAILABLE
        if isinstance(error, ConnectionRefusedError):
            message = f"nothing listens on {self._host}:{port}"
        elif isinstance(error, TimeoutError):
            code = Code.DEADLINE_EXCEEDED
            message = f"no connection to port {port} within {timeout_s * 1000:.0f} ms"
        else:
            message = f"no connection to {self._host}:{port}: {error.strerror or error}"
        return ReplicaError(code, message, ran=False)

    def _carrier(self, named: _Named) -> HttpConnection | None:
        """The connection that its answer is to come on; None where it has ended."""
        if named.future is not None:
            for pool in self._pools.values():
                connection = pool.carrier(named.future)
                if connection is not None:
                    return connection
        return None

    def _closed_one(self, pool: HttpPool, connection: HttpConnection) -> None:
        if connection not in pool.connections:
            return
        pool.connections.remove(connection)
        self._connections.remove(connection)
        with contextlib.suppress(ValueError):
            pool.idle.remove(connection)
        if not pool.connections:
            del self._pools[pool.port]

    def _sweep(self) -> None:
        """Close what was idle too long; each list is ordered by idle_since."""
        before = time.monotonic() - self._max_idle_s
        for pool in tuple(self._pools.values()):
            for connection in tuple(pool.idle):
                if connection.idle_since > before:
                    break
                connection.abort()
        self._sweeper = None
        if self._connections:
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(self._max_idle_s / 2, self._sweep)


def _client_closed(*, ran: bool) -> ReplicaError:
    return ReplicaError(Code.UNAVAILABLE, "the client is closed", ran=ran)
