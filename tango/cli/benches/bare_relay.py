"""A bare relay of the same shape as Tango's request path: what gRPC and Python themselves cost.

python -m tango.cli.benches.bare_relay edge MODE         prints the port that it listens on
python -m tango.cli.benches.bare_relay worker MODE EDGE_PORT SERVICE_PORT CONNECTIONS

client -> edge: gRPC (grpc.aio, uvloop, insecure, loopback), a unary call a request, or one
bidirectional stream for many. edge -> worker: one bidirectional stream, dialled by the worker.
worker -> service: HTTP/1.1 keep-alive. Two processes, as an edge and a worker are two.

What it does: a request gets a number at the edge, its answer finds the caller by that number.
MODE "single": each request and each answer is a message of its own on every stream, the plain way
to use gRPC. MODE "batched": those that wait while a stream writes travel in its next message, as
in Tango. A message is a row of frames (number, length, bytes): nothing is spent on protobuf.
What it does not: no deadlines, no cancellation, no queue, no admission, no routing, no quotas, no
control groups, no records, no metrics, no token, no headers of a request or its answer, no limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import signal
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc
import uvloop

from tango.cli.benches.direct_http import DirectHttp

SERVICE = "bench.BareRelay"
FRAME = struct.Struct("<II")
OPTIONS = (("grpc.so_reuseport", 0), ("grpc.use_local_subchannel_pool", 1))


def frames(message: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, payload) of each frame in a message."""
    at = 0
    while at < len(message):
        number, length = FRAME.unpack_from(message, at)
        at += FRAME.size
        yield number, message[at : at + length]
        at += length


class FrameWriter:
    """Frames that wait for a stream; batched: all that wait go out in one message."""

    def __init__(self, *, batched: bool) -> None:
        self._batched = batched
        self._waiting: list[bytes] = []
        self._wake = asyncio.Event()

    def send(self, number: int, payload: bytes) -> None:
        """Queue a frame."""
        self._waiting.append(FRAME.pack(number, len(payload)) + payload)
        self._wake.set()

    async def run(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting, []
            for message in (b"".join(waiting),) if self._batched else waiting:
                await write(message)


class BareEdge:
    """Numbers requests, passes them to the worker's stream and the answers back."""

    def __init__(self, *, batched: bool) -> None:
        self._batched = batched
        self._numbers = itertools.count(1)
        self._pending: dict[int, Callable[[bytes], None]] = {}
        self._worker = FrameWriter(batched=batched)
        self.connected = asyncio.Event()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server serves: Echo, Call, CallMany and Work, all in plain bytes."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Echo": grpc.unary_unary_rpc_method_handler(self.echo),
                "Call": grpc.unary_unary_rpc_method_handler(self.call),
                "CallMany": grpc.stream_stream_rpc_method_handler(self.call_many),
                "Work": grpc.stream_stream_rpc_method_handler(self.work),
            },
        )

    def _pass_on(self, payload: bytes, on_reply: Callable[[bytes], None]) -> None:
        number = next(self._numbers) & 0xFFFFFFFF
        self._pending[number] = on_reply
        self._worker.send(number, payload)

    async def echo(self, request: bytes, context: Any) -> bytes:
        """One hop: answered here."""
        return request

    async def call(self, request: bytes, context: Any) -> bytes:
        """One request, one answer."""
        await self.connected.wait()
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pass_on(request, future.set_result)
        return await future

    async def call_many(self, _: Any, context: Any) -> None:
        """Many requests of one caller, answers as they come."""
        await self.connected.wait()
        writer = FrameWriter(batched=self._batched)
        async with writing(writer, context.write):
            while (message := await context.read()) is not grpc.aio.EOF:
                for number, payload in frames(message):
                    self._pass_on(payload, functools.partial(writer.send, number))

    async def work(self, _: Any, context: Any) -> None:
        """The worker's stream."""
        self.connected.set()
        async with writing(self._worker, context.write):
            while (message := await context.read()) is not grpc.aio.EOF:
                for number, payload in frames(message):
                    self._pending.pop(number)(payload)


@contextlib.asynccontextmanager
async def writing(
    writer: FrameWriter, write: Callable[[bytes], Awaitable[None]]
) -> AsyncIterator[None]:
    """A writer that runs beside a reader."""
    task = asyncio.create_task(writer.run(write))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class BareClient:
    """What calls the bare relay: `call` unary, `call_many` on one stream."""

    def __init__(self, port: int, *, batched: bool) -> None:
        self._channel: Any = grpc.aio.insecure_channel(f"ipv4:127.0.0.1:{port}", options=OPTIONS)
        self._unary: Any = self._channel.unary_unary(f"/{SERVICE}/Call")
        self._echo: Any = self._channel.unary_unary(f"/{SERVICE}/Echo")
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[bytes]] = {}
        self._writer = FrameWriter(batched=batched)

    async def __aenter__(self) -> BareClient:
        self._stream: Any = self._channel.stream_stream(f"/{SERVICE}/CallMany")()
        self._tasks = [
            asyncio.create_task(self._writer.run(self._stream.write)),
            asyncio.create_task(self._read()),
        ]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._stream.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close()

    async def call(self) -> bytes:
        """One unary call."""
        reply: bytes = await self._unary(b"")
        return reply

    async def hop(self) -> bytes:
        """One unary call that goes no further than the edge."""
        reply: bytes = await self._echo(b"")
        return reply

    async def call_many(self) -> bytes:
        """One call on the stream."""
        number = next(self._numbers)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        self._writer.send(number, b"")
        return await future

    async def _read(self) -> None:
        while (message := await self._stream.read()) is not grpc.aio.EOF:
            for number, payload in frames(message):
                self._pending.pop(number).set_result(payload)


async def run_edge(stop: asyncio.Event, *, batched: bool) -> None:
    """Serve on a free port of loopback, which is printed."""
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((BareEdge(batched=batched).handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await stop.wait()
    await server.stop(0)


async def run_worker(
    stop: asyncio.Event, edge: int, service: int, connections: int, *, batched: bool
) -> None:
    """Dial the edge, carry its requests to the service."""
    http = DirectHttp(service)
    await http.open(connections)
    writer = FrameWriter(batched=batched)

    async def carry(stream: Any) -> None:
        while (message := await stream.read()) is not grpc.aio.EOF:
            for number, _ in frames(message):
                http.start(functools.partial(writer.send, number))

    async with grpc.aio.insecure_channel(f"ipv4:127.0.0.1:{edge}", options=OPTIONS) as channel:
        stream: Any = channel.stream_stream(f"/{SERVICE}/Work")()
        async with writing(writer, stream.write):
            carrying = asyncio.create_task(carry(stream))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({carrying, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stream.cancel()
            carrying.cancel()
            await asyncio.gather(carrying, return_exceptions=True)
    http.close()


async def main(argv: list[str]) -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    batched = {"single": False, "batched": True}[argv[1]]
    if argv[0] == "edge":
        await run_edge(stop, batched=batched)
    else:
        edge, service, connections = (int(text) for text in argv[2:])
        await run_worker(stop, edge, service, connections, batched=batched)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
