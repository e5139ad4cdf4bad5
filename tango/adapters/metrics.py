"""A daemon's Prometheus endpoint: GET /metrics over HTTP/1.1 on loopback, with the token.

One answer a connection, served by the daemon's own event loop: no thread, and a registry per
daemon, so that several daemons in one process (tests, the simulator) do not share counters.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import os
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from tango.model.addresses import Address, parse_address
from tango.model.errors import InvalidField

MAX_HEAD_BYTES = 8 * 1024
MAX_CONNECTIONS = 16
TIMEOUT_S = 5.0


class _Answer(Exception):
    """An answer other than the metrics."""

    def __init__(self, status: HTTPStatus, text: str, *headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers


class MetricsServer:
    """Serves one registry; make it with `start_metrics`, end it with `close`."""

    def __init__(self, registry: CollectorRegistry, token: str, address: Address) -> None:
        self.address = address
        self._registry = registry
        self._expected = f"Bearer {token}".encode()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, field: str) -> None:
        """Bind and serve; `start_metrics` calls it."""
        try:
            self._server = await asyncio.start_server(
                self._serve,
                self.address.numeric_host,
                self.address.port,
                limit=MAX_HEAD_BYTES,
                reuse_address=True,
            )
        except OSError as error:
            # asyncio wraps the system's error in its own words; the number is the system's.
            reason = os.strerror(error.errno or 0)
            fix = "use another address"
            if error.errno == errno.EADDRINUSE:
                reason = "it is in use"
                fix = "stop what listens there, or use another port (0 picks a free one)"
            raise InvalidField(field, f"cannot listen on {self.address}: {reason}", fix) from None
        self.address = self.address.with_port(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop what is under way."""
        if self._server is None:
            return
        self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                writer.write(await self._answer(reader))
                writer.write_eof()
                # Closing with bytes unread would reset the connection, and the answer with it.
                while await reader.read(MAX_HEAD_BYTES):
                    pass
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            # The client has gone or dawdles: nobody waits for an answer.
            pass
        except asyncio.CancelledError:
            # Only `close` cancels, and asyncio would log it.
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.LimitOverrunError:
                raise _Answer(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers"
                ) from None
            encode, content_type = choose_encoder(self._check(head))
        except _Answer as answer:
            body = f"{answer.text}\n".encode()
            return _response(answer.status, "text/plain; charset=utf-8", body, *answer.headers)
        return _response(HTTPStatus.OK, content_type, encode(self._registry))

    def _check(self, head: bytes) -> str:
        """The Accept header of a request that may have the metrics; else raises _Answer."""
        request_line, *lines = head.decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if colon:
                headers[name.strip().lower()] = value.strip()
        # A page in a browser on this machine must not reach it, under whatever name it was loaded.
        if not self.address.answers_to(headers.get("host", "")) or "origin" in headers:
            raise _Answer(HTTPStatus.FORBIDDEN, "this host name, or a page's origin, is refused")
        given = headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, self._expected):
            raise _Answer(
                HTTPStatus.UNAUTHORIZED,
                "send 'Authorization: Bearer TOKEN' with the content of the daemon's token_file",
                "WWW-Authenticate: Bearer",
            )
        parts = request_line.split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise _Answer(HTTPStatus.BAD_REQUEST, "not an HTTP/1.1 request")
        if parts[1].partition("?")[0] != "/metrics":
            raise _Answer(HTTPStatus.NOT_FOUND, "only /metrics is here")
        if parts[0] != "GET":
            raise _Answer(HTTPStatus.METHOD_NOT_ALLOWED, "only GET", "Allow: GET")
        return headers.get("accept", "")


def _response(status: HTTPStatus, content_type: str, body: bytes, *headers: str) -> bytes:
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "Cache-Control: no-store",
        *headers,
    )
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


async def start_metrics(
    listen: str, token: str, registry: CollectorRegistry, *, field: str = "metrics"
) -> MetricsServer:
    """Serve `registry` at http://`listen`/metrics; port 0 picks one, see `MetricsServer.address`.

    Raises InvalidField: no host:port, beyond loopback, in use.
    """
    address = parse_address(listen, field)
    if not address.loopback or address.path:
        raise InvalidField(
            field, f"{listen!r} is no loopback host:port", "use 127.0.0.1, [::1] or localhost"
        )
    server = MetricsServer(registry, token, address)
    await server.listen(field)
    return server
