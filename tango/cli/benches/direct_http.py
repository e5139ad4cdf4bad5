"""The shortest way to an HTTP service: keep-alive connections on asyncio, without any of Tango."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"content-length:"

OnReply = Callable[[bytes], None]


class DirectHttp:
    """GET / at one port of loopback; one request at a time on a connection, as many as it takes.

    `request` is for a caller that awaits, `start` for one that is called back: no task a request.
    Every answer must be a 200 with a Content-Length; anything else is a ConnectionError.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[_Connection] = []
        self._all: list[_Connection] = []

    async def open(self, connections: int) -> None:
        """Connect that many; more are needed only for more requests at the same time."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            made = await loop.create_connection(_Connection, "127.0.0.1", self._port)
            self._all.append(made[1])
            self._idle.append(made[1])

    def start(self, on_reply: OnReply) -> None:
        """Send; on_reply gets the body. IndexError where every connection is busy."""
        connection = self._idle.pop()

        def ended(body: bytes) -> None:
            self._idle.append(connection)
            on_reply(body)

        connection.send(ended)

    async def request(self) -> bytes:
        """Send, wait for the body."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.start(future.set_result)
        return await future

    def close(self) -> None:
        """Close every connection."""
        for connection in self._all:
            connection.close()


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._buffer = b""
        self._on_reply: OnReply | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are no subclass.
        self._transport = cast("asyncio.Transport", transport)

    def send(self, on_reply: OnReply) -> None:
        if self._transport.is_closing():
            raise ConnectionError("the service closed the connection")
        self._on_reply = on_reply
        self._transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(END_OF_HEAD)
        if not end:
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"the service answered {head[:60]!r}")
        fields = head.lower()
        at = fields.index(LENGTH) + len(LENGTH)
        length = int(fields[at:].split(b"\r\n", 1)[0])
        if len(rest) < length or self._on_reply is None:
            return
        self._buffer = rest[length:]
        on_reply, self._on_reply = self._on_reply, None
        on_reply(rest[:length])

    def close(self) -> None:
        self._transport.close()
