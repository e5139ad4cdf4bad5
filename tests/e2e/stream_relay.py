"""A relay between two daemons that can stall, duplicate, reorder and replay what streams carry.

It passes envelopes on as bytes and knows nothing of what is in them; each stream of a dialling
daemon becomes one of its own to the real server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from tango.wire.options import channel_options, server_options

Write = Callable[[bytes], Any]
ALONE_S = 0.3


class Direction:
    """One direction of one stream: what came, and how it is passed on."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.passing = asyncio.Event()
        self.passing.set()
        self.seen: list[bytes] = []
        self._kept: bytes | None = None
        self._flush: asyncio.Task[None] | None = None

    async def carry(self, message: bytes, write: Write) -> None:
        """Pass a message on as the relay is told to."""
        self.seen.append(message)
        await self.passing.wait()
        if self._kept is not None:
            kept, self._kept = self._kept, None
            self._relay.swapped += 1
            await write(message)
            await write(kept)
        elif self._relay.swap:
            self._relay.swap -= 1
            self._kept = message  # until the next one has gone before it
            self._flush = asyncio.create_task(self._pass_alone(write))
        else:
            for _ in range(2 if self._relay.duplicate else 1):
                await write(message)

    async def _pass_alone(self, write: Write) -> None:
        """Nothing came after it to trade places with: it waits no longer."""
        await asyncio.sleep(ALONE_S)
        if self._kept is not None:
            kept, self._kept = self._kept, None
            await write(kept)
            self._relay.swap += 1


class Stream:
    """One stream of a daemon. ended: the real server has closed it, with these words."""

    def __init__(self, relay: Relay, method: str, metadata: tuple[Any, ...]) -> None:
        self.method = method
        self.metadata = metadata
        self.up = Direction(relay)
        self.down = Direction(relay)
        self.ended = ""

    def stall(self) -> None:
        """Half-open: both ends keep their connection, and nothing arrives any more."""
        self.up.passing.clear()
        self.down.passing.clear()

    def release(self) -> None:
        """Deliver what was held up, and pass on again."""
        self.up.passing.set()
        self.down.passing.set()


class Relay(grpc.GenericRpcHandler):
    """Between who dials `address` and the daemon at `target`.

    duplicate: every message is delivered twice. swap: how many messages are to trade places with
    the one after them; swapped: how many did. streams: in the order in which they were opened.
    """

    def __init__(self, target: str) -> None:
        self.duplicate = False
        self.swap = self.swapped = 0
        self.streams: list[Stream] = []
        self.address = ""
        self._channel = grpc.aio.insecure_channel(target, options=channel_options())

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        method = details.method

        async def serve(_: Any, context: Any) -> None:
            metadata = tuple(
                (key, value)
                for key, value in context.invocation_metadata()
                if key == "authorization"
            )
            await self._pass(Stream(self, method, metadata), context)

        return grpc.stream_stream_rpc_method_handler(serve, None, None)

    async def _pass(self, stream: Stream, context: Any) -> None:
        self.streams.append(stream)
        call = self._channel.stream_stream(stream.method, None, None)(metadata=stream.metadata)

        async def upward() -> None:
            while (message := await context.read()) is not grpc.aio.EOF:
                await stream.up.carry(message, call.write)
            await call.done_writing()

        async def downward() -> None:
            while (message := await call.read()) is not grpc.aio.EOF:
                await stream.down.carry(message, context.write)

        tasks = [asyncio.create_task(upward()), asyncio.create_task(downward())]
        try:
            # Bad news from above reaches who dialled only where the stream is not stalled.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await stream.down.passing.wait()
            stream.ended = await call.details() or "closed"
            code = await call.code()
            if code is not grpc.StatusCode.OK:
                await context.abort(code, stream.ended)
        finally:
            call.cancel()
            flushes = [d._flush for d in (stream.up, stream.down) if d._flush is not None]
            for task in tasks + flushes:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def replay(self, stream: Stream, count: int) -> None:
        """Open the stream once more with its first messages; returns once it is ended above."""
        call = self._channel.stream_stream(stream.method, None, None)(metadata=stream.metadata)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for message in stream.up.seen[:count]:
                await call.write(message)
            while await call.read() is not grpc.aio.EOF:
                pass
        call.cancel()

    async def close(self) -> None:
        await self._channel.close()


@contextlib.asynccontextmanager
async def relaying(target: str) -> AsyncIterator[Relay]:
    """A relay to this address, on a port of its own."""
    relay = Relay(target)
    server = grpc.aio.server(options=server_options())
    server.add_generic_rpc_handlers((relay,))
    port = server.add_insecure_port("127.0.0.1:0")
    relay.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield relay
    finally:
        for stream in relay.streams:
            stream.release()
        await server.stop(0.1)
        await relay.close()
