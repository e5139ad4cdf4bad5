"""Trivial HTTP/1.1 keep-alive service on asyncio: answers every GET with three bytes.

python -m tango.cli.benches.echo_service PORT

What `tango bench` calls directly, through Tango and through a bare relay: it does as little as an
HTTP service can (uvloop, no routing, requests without a body only), so that the way to it shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import cast

import uvloop

REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n"
END_OF_HEAD = b"\r\n\r\n"


class Echo(asyncio.Protocol):
    """One connection; requests that arrive together are answered together."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        # uvloop's are no subclass.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._buffer += data
        heads = self._buffer.count(END_OF_HEAD)
        if heads:
            self._buffer = self._buffer.rpartition(END_OF_HEAD)[2]
            self._transport.write(REPLY * heads)


async def serve(port: int) -> None:
    """Until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(Echo, "127.0.0.1", port, backlog=256)
    async with server:
        await stop.wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(int(sys.argv[1])))
