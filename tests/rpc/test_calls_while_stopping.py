"""Streams of calls to an edge that stops: what it has taken is answered, the rest is not begun."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from wire_probe import AUTH, TOKEN

from tango.model.errors import Unavailable
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.wire.call_client import CallStream
from tango.wire.channels import open_channel
from tango.wire.edge_client import EdgeClient
from tango.wire.errors import stopping
from tango.wire.servers import RpcServer, make_server
from tango.wire.services import edge_service


class Backend:
    """The part of an EdgeBackend that calls meet; the test answers them."""

    incarnation = 1

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.waiting: dict[str, Callable[[CallReply], None]] = {}

    def submit(self, request: CallRequest, on_reply: Callable[[CallReply], None]) -> None:
        if self.stopping.is_set():
            code, error = Code.UNAVAILABLE, stopping("edge")
            on_reply(CallReply(request.request_id, Outcome.REJECTED, code, error=error))
        else:
            self.waiting[request.request_id] = on_reply

    def cancel(self, request_id: str) -> None:
        self.waiting.pop(request_id, None)

    async def takes(self, request_id: str) -> None:
        async with asyncio.timeout(5):
            while request_id not in self.waiting:
                await asyncio.sleep(0)

    def answer(self, request_id: str) -> None:
        self.waiting.pop(request_id)(CallReply(request_id, Outcome.COMPLETED, Code.OK, 200))


@contextlib.asynccontextmanager
async def edge() -> AsyncIterator[tuple[Backend, RpcServer, EdgeClient]]:
    backend: Any = Backend()
    server = make_server("127.0.0.1:0", TOKEN, [edge_service(backend)], daemon="edge")
    await server.start()
    async with open_channel(str(server.address)) as channel:
        yield backend, server, EdgeClient(channel, AUTH)
    await server.stop(0)


def call(request_id: str) -> CallRequest:
    return CallRequest(request_id, "hello", timeout_s=60.0)


async def broken(stream: CallStream) -> None:
    async with asyncio.timeout(5):
        while not stream.broken:
            await asyncio.sleep(0)


def not_begun(reply: CallReply) -> None:
    assert (reply.outcome, reply.code) == (Outcome.REJECTED, Code.UNAVAILABLE)
    assert (reply.error, reply.may_have_run) == (stopping("edge"), False)


async def test_an_idle_stream_ends_with_the_reason() -> None:
    async with edge() as (backend, _, client), client.calls() as stream:
        answered = stream.start(call("r1"))
        await backend.takes("r1")
        backend.answer("r1")
        assert (await answered).code is Code.OK
        backend.stopping.set()
        await broken(stream)
        with pytest.raises(Unavailable, match="the edge is stopping"):
            stream.start(call("r2"))


async def test_a_stream_ends_once_the_last_call_on_it_is_answered() -> None:
    async with edge() as (backend, _, client), client.calls() as stream:
        calls = [stream.start(call(f"r{number}")) for number in range(2)]
        for number in range(2):
            await backend.takes(f"r{number}")
        backend.stopping.set()
        backend.answer("r0")
        assert (await calls[0]).code is Code.OK
        await asyncio.sleep(0.1)
        assert not stream.broken
        backend.answer("r1")
        assert (await calls[1]).code is Code.OK
        await broken(stream)


async def test_what_came_too_late_on_a_stream_was_not_begun() -> None:
    """Sent before the stream's end is known here: the edge refuses it, or never reads it."""
    replies: list[CallReply] = []
    for _ in range(20):
        async with edge() as (backend, _, client), client.calls() as stream:
            first = stream.start(call("r1"))
            await backend.takes("r1")
            backend.stopping.set()
            backend.answer("r1")
            late = stream.start(call("r2"))
            assert (await first).code is Code.OK
            replies.append(await late)
            assert backend.waiting == {}, "nothing was left to run"
    # Where the write is still under way as the end comes, gRPC tells neither end nor reason.
    told = [reply for reply in replies if reply.error != "the connection broke"]
    assert told
    for reply in told:
        not_begun(reply)


async def test_other_calls_are_refused_unbegun() -> None:
    async with edge() as (_, server, client):
        await server.begin_stop()
        not_begun(await client.call(call("r1")))
        (streamed,) = [item async for item in client.call_streamed(call("r2"))]
        assert isinstance(streamed, CallReply)
        not_begun(streamed)
        async with client.calls() as stream:
            not_begun(await stream.call(call("r3")))
