"""What tools/fuzz_rpc found: broken messages, a refusal in the midst of a write, nobody reading."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from wire_probe import AUTH, TOKEN, probed, stub_of

from tango.model.errors import NotFound, Refused
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.v1 import edge_service_pb2 as pb
from tango.v1.edge_service_pb2_grpc import EdgeServiceStub
from tango.wire.call_servicer import MAX_CALLS_PER_STREAM
from tango.wire.channels import bearer, open_channel
from tango.wire.servers import make_server
from tango.wire.services import edge_service

BROKEN = b"\x0a\xff\xff\xff\xff\x0f"


class Backend:
    """The part of an EdgeBackend that calls meet: it rejects each at once."""

    incarnation = 1

    def __init__(self) -> None:
        self._ids = itertools.count()
        self.stopping = asyncio.Event()

    def new_request_id(self) -> str:
        return f"r{next(self._ids)}"

    async def delete_service(self, name: str) -> None:
        # As a daemon's operations do: the error comes out of a future.
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_exception(NotFound(name))
        await done

    def submit(self, request: CallRequest, on_reply: Any) -> None:
        on_reply(CallReply(request.request_id, Outcome.REJECTED, Code.NOT_FOUND, error="none"))

    def cancel(self, request_id: str) -> None: ...

    async def call_streamed(self, request: CallRequest) -> AsyncIterator[CallReply]:
        yield CallReply(request.request_id, Outcome.REJECTED, Code.NOT_FOUND, error="none")


@pytest.fixture
async def edge() -> AsyncIterator[grpc.aio.Channel]:
    backend: Any = Backend()
    server = make_server("127.0.0.1:0", TOKEN, [edge_service(backend)])
    await server.start()
    async with open_channel(str(server.address)) as channel:
        yield channel
    await server.stop(0)


async def test_what_is_no_message_is_the_callers_mistake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with probed() as (probe, server), open_channel(str(server.address)) as channel:

        async def session(context: Any) -> None:
            await context.read()

        probe.session = session
        methods = [
            channel.unary_unary("/tango.v1.EdgeService/GetService"),
            channel.unary_stream("/tango.v1.EdgeService/WatchService"),
            channel.unary_unary("/grpc.health.v1.Health/Check"),
            channel.unary_stream("/grpc.health.v1.Health/Watch"),
        ]
        calls: list[Any] = [method(BROKEN, metadata=AUTH, timeout=5) for method in methods]
        for method in (
            "/tango.v1.EdgeService/ConnectWorker",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ):
            stream: Any = channel.stream_stream(method)(metadata=AUTH, timeout=5)
            await stream.write(BROKEN)
            calls.append(stream)
        for call in calls:
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert await call.details() == "message: cannot be parsed as what this method takes"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_stream_refused_while_it_writes_ends_for_its_client() -> None:
    async def session(context: Any) -> None:
        large = pb.ConnectWorkerResponse()
        large.open_log.target = "x" * (8 * 2**20)
        writing = asyncio.ensure_future(context.write(large))
        await asyncio.sleep(0.05)
        assert not writing.done(), "nobody reads: it must still be under way"
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        raise Refused("wrong state")

    async with probed() as (probe, server), stub_of(server) as stub:
        probe.session = session
        call = stub.ConnectWorker(metadata=AUTH, timeout=10)
        # Not read at first, so that the server's write is held up.
        await asyncio.sleep(0.3)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            async for _ in call:
                pass
        assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert raised.value.details() == "wrong state"


@pytest.mark.parametrize("request_id", ["é", "\r\nX: y", "\0", "x" * 129])
async def test_a_request_id_that_cannot_travel(edge: grpc.aio.Channel, request_id: str) -> None:
    stub: Any = EdgeServiceStub(edge)
    request = {"request_id": request_id, "service": "s"}
    unary = stub.Call(pb.CallRequest(request=request), metadata=AUTH, timeout=5)
    streamed = stub.CallStreamed(pb.CallStreamedRequest(request=request), metadata=AUTH, timeout=5)
    for call in (unary, streamed):
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "at most 128 printable ASCII characters" in (await call.details() or "")
        trailers = dict(await call.trailing_metadata())
        assert trailers["tango-outcome"] == "rejected"
        assert "tango-request-id" not in trailers


async def test_replies_that_nobody_takes_stop_the_reading(edge: grpc.aio.Channel) -> None:
    """4096 wait at most; the caller's own writes wait for the rest, and all is answered at last."""
    stub: Any = EdgeServiceStub(edge)
    call = stub.CallMany(metadata=AUTH, timeout=60)
    bad = {"request_id": "é" * 600, "service": "s"}
    message = pb.CallManyRequest(requests=[bad] * 200)
    # 240 KB each: well above what the connection's own buffers take, some 12 MB at the most.
    count = 200
    written = 0

    async def write() -> None:
        nonlocal written
        for _ in range(count):
            await call.write(message)
            written += 1
        await call.done_writing()

    writing = asyncio.ensure_future(write())
    last = -1
    while last != written:
        last = written
        await asyncio.sleep(0.3)
    assert written < count, "it goes on reading while nobody takes its replies"
    assert 2000 * count > MAX_CALLS_PER_STREAM
    replies = 0
    async for response in call:
        replies += len(response.replies)
    await writing
    assert replies == 200 * count


async def test_wrong_tokens_are_logged_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    async with probed() as (_, server), stub_of(server) as stub:
        for metadata in [bearer("another-token-than-that")] * 5 + [()] * 5:
            call = stub.GetService(pb.GetServiceRequest(), metadata=metadata, timeout=5)
            assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
    found = [record.fields for record in caplog.records]  # type: ignore[attr-defined]
    assert [fields["reason"] for fields in found] == ["wrong token", "no token"]
    assert all(fields["peer"].startswith("ipv4:127.0.0.1:") for fields in found)
    assert "another-token" not in str(found)
    assert TOKEN not in str(found)


async def test_a_refused_request_is_not_kept(edge: grpc.aio.Channel) -> None:
    """Without any help of the collector, which comes round seldom; a body may have 4 MiB."""
    stub: Any = EdgeServiceStub(edge)
    gc.collect()
    gc.disable()
    try:
        for request_id in ["", "é"] * 20:
            request = {"request_id": request_id, "service": "s"}
            unary = stub.Call(pb.CallRequest(request=request), metadata=AUTH, timeout=5)
            assert await unary.code() is not grpc.StatusCode.OK
            many = stub.CallStreamed(
                pb.CallStreamedRequest(request=request), metadata=AUTH, timeout=5
            )
            assert await many.code() is not grpc.StatusCode.OK
            delete = stub.DeleteService(pb.DeleteServiceRequest(name="x"), metadata=AUTH, timeout=5)
            assert await delete.code() is grpc.StatusCode.NOT_FOUND
        del unary, many, delete
        await asyncio.sleep(0.05)
        messages = (pb.CallRequest, pb.CallStreamedRequest, pb.DeleteServiceRequest)
        kinds = (grpc.aio.AbortError, *messages)
        assert sum(isinstance(found, kinds) for found in gc.get_objects()) <= 6
    finally:
        gc.enable()
