"""The worker's HTTP/1.1 client to the replicas of its node: pooled keep-alive connections."""

from __future__ import annotations

import asyncio
import contextlib
import functools

from tango.adapters.http_connection import (
    ClosedBeforeAnswer,
    Exchange,
    HttpConnection,
    HttpReply,
    OnPart,
    ReplicaError,
)
from tango.adapters.http_fields import request_head
from tango.model.errors import InvalidField
from tango.model.request import Code, Headers
from tango.model.settings import DEFAULT_MAX_BODY_BYTES

__all__ = ["HttpReply", "ReplicaClient", "ReplicaError"]

_MAX_HEALTH_BYTES = 64 * 1024
_MAX_KEPT_PATH = 256


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
        self._max_body_bytes = max_body_bytes
        self._idle: dict[int, list[HttpConnection]] = {}
        self._open: dict[int, int] = {}
        self._connections: set[HttpConnection] = set()
        self._exchanges: dict[str, Exchange] = {}
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
        exchange = self._exchange(
            port, method, path, headers, body, timeout_s, max_body_bytes, on_part, request_id
        )
        if not request_id:
            return await self._carry(port, exchange)
        self._exchanges[request_id] = exchange
        try:
            return await self._carry(port, exchange)
        finally:
            del self._exchanges[request_id]

    def begin(
        self,
        port: int,
        method: str,
        path: str,
        headers: Headers,
        body: bytes,
        timeout_s: float,
    ) -> Exchange | None:
        """Send a request at once, on an idle connection; None where there is none.

        The exchange's future is the reply; `give_up` ends it. Nothing is sent a second time here.
        For who awaits nothing else on the way: it costs half of what `request` does.
        Raises ReplicaError for what cannot be sent.
        """
        if self._closed:
            raise ReplicaError(Code.UNAVAILABLE, "the client is closed", ran=False)
        exchange = self._exchange(port, method, path, headers, body, timeout_s, None, None, "")
        connection = self._idle_connection(port)
        if connection is None:
            return None
        connection.send(exchange, timeout_s)
        return exchange

    def give_up(self, exchange: Exchange) -> None:
        """Nobody waits for it any more: its connection is closed. Fine where it has ended."""
        if exchange.connection is not None:
            exchange.connection.fail(_cancelled(ran=True))

    async def health(self, port: int, path: str, timeout_s: float) -> None:
        """Return where GET path answers 2xx, else raise ReplicaError with the reason."""
        reply = await self.request(
            port, "GET", path, timeout_s=timeout_s, max_body_bytes=_MAX_HEALTH_BYTES
        )
        if not 200 <= reply.status < 300:
            raise ReplicaError(Code.UNAVAILABLE, f"GET {path} answered {reply.status}", ran=True)

    def abort(self, request_id: str) -> bool:
        """Close the connection of a request, which ends with CANCELLED. False: it is not there."""
        exchange = self._exchanges.get(request_id)
        if exchange is None:
            return False
        exchange.aborted = True
        if exchange.connection is not None:
            exchange.connection.fail(_cancelled(ran=True))
        elif exchange.timeout is not None and not exchange.timeout.expired():
            exchange.timeout.reschedule(0.0)
        return True

    def pause(self, request_id: str) -> None:
        """Stop reading the answer of a request: its taker is behind. Its timeout runs on."""
        exchange = self._exchanges.get(request_id)
        if exchange is not None and exchange.connection is not None:
            exchange.connection.pause()

    def resume(self, request_id: str) -> None:
        """Read on; fine where the request has ended."""
        exchange = self._exchanges.get(request_id)
        if exchange is not None and exchange.connection is not None:
            exchange.connection.resume()

    async def close(self) -> None:
        """Close every connection; requests under way end with UNAVAILABLE."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        while self._connections:
            for connection in tuple(self._connections):
                connection.fail(ReplicaError(Code.UNAVAILABLE, "the client is closed", ran=True))
            await asyncio.sleep(0)

    def _exchange(
        self,
        port: int,
        method: str,
        path: str,
        headers: Headers,
        body: bytes,
        timeout_s: float,
        max_body_bytes: int | None,
        on_part: OnPart | None,
        request_id: str,
    ) -> Exchange:
        limit = self._max_body_bytes
        if len(body) > limit:
            message = f"body: {len(body)} bytes are too many; at most {limit}"
            raise ReplicaError(Code.INVALID, message, ran=False)
        if request_id in self._exchanges:
            message = f"request {request_id!r} is under way already"
            raise ReplicaError(Code.INVALID, message, ran=False)
        try:
            if headers or body or len(path) > _MAX_KEPT_PATH:
                head = request_head(f"{self._host}:{port}", method, path, headers, len(body))
            else:
                head = _plain_head(self._host, port, method, path)
        except InvalidField as error:
            raise ReplicaError(Code.INVALID, str(error), ran=False) from error
        most = limit if max_body_bytes is None else max_body_bytes
        return Exchange(method, head, body, timeout_s, most, on_part)

    async def _carry(self, port: int, exchange: Exchange) -> HttpReply:
        if self._closed:
            raise ReplicaError(Code.UNAVAILABLE, "the client is closed", ran=False)
        connection = self._idle_connection(port)
        loop = asyncio.get_running_loop()
        ends = loop.time() + exchange.timeout_s
        if connection is None:
            return await self._carry_fresh(port, exchange, ends)
        try:
            return await self._send(connection, exchange, exchange.timeout_s)
        except ClosedBeforeAnswer:
            if not exchange.repeatable or exchange.aborted:
                raise
        try:
            return await self._carry_fresh(port, exchange, ends)
        except ReplicaError as error:
            error.ran = True  # the first try may have run
            raise

    async def _carry_fresh(self, port: int, exchange: Exchange, ends: float) -> HttpReply:
        loop = asyncio.get_running_loop()
        connection = await self._connect(port, exchange, ends)
        if exchange.aborted:
            connection.abort()
            raise _cancelled(ran=False)
        return await self._send(connection, exchange, ends - loop.time())

    async def _send(
        self, connection: HttpConnection, exchange: Exchange, left_s: float
    ) -> HttpReply:
        try:
            return await connection.send(exchange, left_s)
        except asyncio.CancelledError:
            connection.fail(_cancelled(ran=True))
            raise

    async def _connect(self, port: int, exchange: Exchange, ends: float) -> HttpConnection:
        count = self._open.get(port, 0)
        if count >= self._max_connections:
            message = f"{count} connections to port {port} are in use"
            raise ReplicaError(Code.RESOURCE_EXHAUSTED, message, ran=False)
        connection = HttpConnection(port, self._release, self._closed_one)
        self._open[port] = count + 1
        self._connections.add(connection)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(ends) as exchange.timeout:
                await loop.create_connection(lambda: connection, self._host, port)
        except BaseException as error:
            connection.abort()
            self._closed_one(connection)
            if isinstance(error, OSError):  # TimeoutError is one
                raise self._no_connection(port, exchange, error) from None
            raise
        finally:
            exchange.timeout = None
        return connection

    def _no_connection(self, port: int, exchange: Exchange, error: OSError) -> ReplicaError:
        code = Code.UNAVAILABLE
        if exchange.aborted:
            return _cancelled(ran=False)
        if isinstance(error, ConnectionRefusedError):
            message = f"nothing listens on {self._host}:{port}"
        elif isinstance(error, TimeoutError):
            code = Code.DEADLINE_EXCEEDED
            message = f"no connection to port {port} within {exchange.timeout_s * 1000:.0f} ms"
        else:
            message = f"no connection to {self._host}:{port}: {error.strerror or error}"
        return ReplicaError(code, message, ran=False)

    def _idle_connection(self, port: int) -> HttpConnection | None:
        """The connection used last, which is the one least likely to be closed by the server."""
        idle = self._idle.get(port)
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
            connection.abort()
        return None

    def _release(self, connection: HttpConnection) -> None:
        if self._closed:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault(connection.port, []).append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._max_idle_s, self._sweep)

    def _closed_one(self, connection: HttpConnection) -> None:
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        port = connection.port
        self._open[port] -= 1
        if not self._open[port]:
            del self._open[port]
        idle = self._idle.get(port)
        if idle is not None:
            with contextlib.suppress(ValueError):
                idle.remove(connection)
            if not idle:
                del self._idle[port]

    def _sweep(self) -> None:
        """Close what was idle too long; each list is ordered by idle_since."""
        loop = asyncio.get_running_loop()
        before = loop.time() - self._max_idle_s
        for idle in tuple(self._idle.values()):
            for connection in tuple(idle):
                if connection.idle_since > before:
                    break
                connection.abort()
        self._sweeper = None
        if self._idle:
            self._sweeper = loop.call_later(self._max_idle_s / 2, self._sweep)


@functools.lru_cache(maxsize=1024)
def _plain_head(host: str, port: int, method: str, path: str) -> bytes:
    """The head of a request without fields and body: the same ones are asked again and again."""
    return request_head(f"{host}:{port}", method, path, (), 0)


def _cancelled(*, ran: bool) -> ReplicaError:
    return ReplicaError(Code.CANCELLED, "the request was cancelled", ran=ran)
