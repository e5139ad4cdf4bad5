"""The connections to one port of a host, and the short way of a request on one that is idle."""

from __future__ import annotations

import asyncio

from tango.adapters.http_answer import Answer, cancelled
from tango.adapters.http_connection import HttpConnection
from tango.adapters.http_request import HttpRequest, HttpRequests
from tango.model.request import Headers


class HttpPool:
    """connections: all. idle: those that can take a request, the one used last at the end."""

    __slots__ = ("_plain", "_requests", "connections", "idle", "port")

    def __init__(self, port: int, requests: HttpRequests) -> None:
        self.port = port
        self.connections: set[HttpConnection] = set()
        self.idle: list[HttpConnection] = []
        self._requests = requests
        self._plain: HttpRequest | None = None

    def begin(
        self,
        method: str,
        path: str,
        headers: Headers,
        body: bytes,
        timeout_s: float,
        now: float,
    ) -> asyncio.Future[Answer] | None:
        """Send a request at once, on an idle connection; None where there is none.

        The future is the answer; `give_up` ends it. now: time.monotonic(). Nothing is
        sent a second time here. For who awaits nothing else on the way: it costs half of what
        ReplicaClient.request does. Raises ReplicaError for what cannot be sent.
        """
        if headers or body:
            request = self._requests.make(self.port, method, path, headers, body)
        else:
            # Mostly it is the one before: to look for it among all that are kept takes longer.
            plain = self._plain
            if plain is None or plain.path != path or plain.method != method:
                plain = self._plain = self._requests.plain(self.port, method, path)
            request = plain
        # This is `send`, written out: to call it costs 0.05 us more.
        idle = self.idle
        while idle:
            connection = idle.pop()
            future = connection.send(request, timeout_s, now)
            if future is not None:
                return future
            connection.abort()
        return None

    def send(
        self, request: HttpRequest, timeout_s: float, now: float
    ) -> asyncio.Future[Answer] | None:
        """By the connection used last, which is the one least likely to be closed by the server."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            future = connection.send(request, timeout_s, now)
            if future is not None:
                return future
            connection.abort()
        return None

    def carrier(self, future: asyncio.Future[Answer]) -> HttpConnection | None:
        """The connection that an answer is to come on; None where it has ended.

        It is asked for rarely, so that no request has to note where it went.
        """
        for connection in self.connections:
            if connection.future is future:
                return connection
        return None

    def give_up(self, future: asyncio.Future[Answer]) -> None:
        """Nobody waits for it any more: its connection is closed. Fine where it has ended."""
        connection = self.carrier(future)
        if connection is not None:
            connection.fail(cancelled(ran=True))
