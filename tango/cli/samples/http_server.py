"""A small HTTP/1.1 keep-alive server on asyncio: pipelining, flow control, limits, orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import traceback
from collections.abc import Awaitable, Callable

from tango.cli.samples.http1 import HttpError, Reply, Request, RequestReader, reply_head

# Answers at once, or with an awaitable that is cancelled where the client goes away.
Handler = Callable[[Request], Reply | Awaitable[Reply]]

_READ_AHEAD_BYTES = 64 * 1024
_LINGER_S = 1.0


class HttpServer:
    """Serves `handler` on every connection it is given by the event loop (use as a factory).

    max_connections: more are refused with 503. max_body_bytes: larger requests get 413.
    idle_s: a connection without a whole request for so long is closed.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        max_connections: int = 1024,
        max_body_bytes: int = 1024 * 1024,
        idle_s: float = 300.0,
    ) -> None:
        self.handler = handler
        self.max_connections = max_connections
        self.max_body_bytes = max_body_bytes
        self.connections: set[Connection] = set()
        self.stopping = False
        self._idle_s = idle_s
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._drained = asyncio.Event()

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that is taken, also for port 0. Raises OSError where it cannot."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), host, port)
        self._close_idle(loop)
        taken: int = self._server.sockets[0].getsockname()[1]
        return taken

    async def stop(self, grace_s: float) -> None:
        """Accept nothing more, let requests in progress end for `grace_s`, then cut them off."""
        self.stopping = True
        if self._server is not None:
            self._server.close()
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self.connections):
            connection.close_if_idle()
        if self.connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), grace_s)
        for connection in list(self.connections):
            connection.abort()

    def forget(self, connection: Connection) -> None:
        """The connection has ended."""
        self.connections.discard(connection)
        if self.stopping and not self.connections:
            self._drained.set()

    def _close_idle(self, loop: asyncio.AbstractEventLoop) -> None:
        for connection in list(self.connections):
            if connection.idle_since < loop.time() - self._idle_s:
                connection.close_if_idle()
        self._sweep = loop.call_later(min(5.0, self._idle_s), self._close_idle, loop)


class Connection(asyncio.Protocol):
    """One client's connection: requests are answered one after the other, in their order."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader(server.max_body_bytes)
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = False
        self.idle_since = self._loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        crowded = len(self._server.connections) >= self._server.max_connections
        self._server.connections.add(self)
        if crowded or self._server.stopping:
            self._refuse(HttpError(503, "too many connections, or stopping"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop; what is being worked on for this client is cancelled."""
        self._ended = True
        self._server.forget(self)
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._ended:
            return  # lingering after a refusal: read and thrown away
        self._reader.feed(data)
        self._advance()
        if self._busy and self._reader.buffered > _READ_AHEAD_BYTES:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """Called by the event loop where the client reads too slowly."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._writable.set()
        self._advance()

    def close_if_idle(self) -> None:
        """Close unless a request is being answered."""
        if self._task is None:
            self._close()

    def abort(self) -> None:
        """Cut the connection off, whatever is going on."""
        self._ended = True
        self._transport.abort()

    @property
    def _busy(self) -> bool:
        return self._task is not None or not self._writable.is_set()

    def _advance(self) -> None:
        """Answer the requests that are there, until one takes time or the client is slow."""
        while not (self._ended or self._busy):
            try:
                request = self._reader.next()
            except HttpError as error:
                self._refuse(error)
                return
            if request is None:
                if self._reader.take_continue():
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                if not self._transport.is_reading():
                    self._transport.resume_reading()
                return
            try:
                reply = self._server.handler(request)
            except HttpError as error:
                reply = error_reply(error)
            if isinstance(reply, Reply) and reply.chunks is None:
                self._send(request, reply)
            else:
                self._task = self._loop.create_task(self._answer(request, reply))
                self._task.add_done_callback(self._answered)

    async def _answer(self, request: Request, reply: Reply | Awaitable[Reply]) -> None:
        if not isinstance(reply, Reply):
            try:
                reply = await reply
            except HttpError as error:
                reply = error_reply(error)
        self._send(request, reply)
        if reply.chunks is None or request.method == "HEAD":
            return
        async with contextlib.aclosing(reply.chunks) as chunks:
            async for chunk in chunks:
                await self._writable.wait()
                if chunk and request.chunks_allowed:
                    self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                else:
                    self._transport.write(chunk)
        if request.chunks_allowed:
            self._transport.write(b"0\r\n\r\n")
        else:
            self._close()  # HTTP/1.0 knows the end of such a body by the end of the connection

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._task = None
        self.idle_since = self._loop.time()
        if task.cancelled() or self._ended:
            return
        if (error := task.exception()) is not None:
            # A fault of ours; half an answer may be out, so the connection is of no more use.
            traceback.print_exception(error, file=sys.stderr)
            self.abort()
            return
        if self._server.stopping:
            self._close()
        self._advance()

    def _send(self, request: Request, reply: Reply) -> None:
        chunked = reply.chunks is not None and request.chunks_allowed
        endless = reply.chunks is not None and not chunked
        keep_alive = request.keep_alive and not endless and not self._server.stopping
        head = reply_head(reply, keep_alive=keep_alive, chunked=chunked)
        silent = request.method == "HEAD" or reply.status in (204, 304)
        self._transport.write(head if silent else head + reply.body)
        self.idle_since = self._loop.time()
        if not keep_alive and (reply.chunks is None or silent):
            self._close()

    def _refuse(self, error: HttpError) -> None:
        """Answer a request that cannot be read; bytes after it have no meaning any more.

        The connection lingers, so that the client sees the answer and not a reset (RFC 9112 9.6).
        """
        reply = error_reply(error)
        self._transport.write(reply_head(reply, keep_alive=False, chunked=False) + reply.body)
        self._ended = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._loop.call_later(_LINGER_S, self._transport.close)

    def _close(self) -> None:
        self._ended = True
        self._transport.close()


def json_reply(content: dict[str, object], status: int = 200) -> Reply:
    """A JSON object and an end of line, for people with curl."""
    return Reply(status, json.dumps(content).encode() + b"\n")


def error_reply(error: HttpError) -> Reply:
    """{"error": what is wrong} with the error's status."""
    return json_reply({"error": error.problem}, error.status)
