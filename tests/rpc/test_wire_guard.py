"""What handlers raise, seen from the client: statuses, texts, equal errors, nobody left hanging."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import pytest
from wire_probe import AUTH, ERRORS, probed, stub_of

from tango.model.errors import InvalidField, TangoError, Unavailable
from tango.v1 import edge_service_pb2 as pb
from tango.wire.channels import open_channel
from tango.wire.errors import model_error, model_errors

STATUS = {
    "invalid": grpc.StatusCode.INVALID_ARGUMENT,
    "not-found": grpc.StatusCode.NOT_FOUND,
    "exists": grpc.StatusCode.ALREADY_EXISTS,
    "unavailable": grpc.StatusCode.UNAVAILABLE,
    "exhausted": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "too-late": grpc.StatusCode.FAILED_PRECONDITION,
    "refused": grpc.StatusCode.PERMISSION_DENIED,
    "other": grpc.StatusCode.INTERNAL,
}


async def get(stub: Any, name: str, timeout_s: float = 5) -> Any:
    return await stub.GetService(pb.GetServiceRequest(name=name), metadata=AUTH, timeout=timeout_s)


async def watch(stub: Any, name: str) -> list[Any]:
    request = pb.WatchServiceRequest(name=name)
    return [item async for item in stub.WatchService(request, metadata=AUTH, timeout=5)]


@pytest.mark.parametrize("name", STATUS)
async def test_errors_of_the_model_come_out_as_they_went_in(name: str) -> None:
    async with probed() as (_, server), stub_of(server) as stub:
        for call in (get, watch):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(stub, name)
            assert raised.value.code() is STATUS[name]
            assert raised.value.details() == str(ERRORS[name])
            back = model_error(raised.value)
            assert type(back) is type(ERRORS[name])
            assert str(back) == str(ERRORS[name])
            if isinstance(back, InvalidField):
                assert (back.field, back.fix) == ("spec.tasks[0].argv", "give the program")
        assert (await get(stub, "fine")).service.edge == "fine"


async def test_a_text_too_long_for_trailers_is_cut() -> None:
    async with probed() as (_, server), stub_of(server) as stub:
        with pytest.raises(InvalidField) as raised, model_errors():
            await get(stub, "long")
        assert raised.value.field == "spec.name"
        assert str(raised.value).endswith(" ...")


async def test_a_bug_is_logged_and_not_leaked(caplog: pytest.LogCaptureFixture) -> None:
    async with probed() as (_, server), stub_of(server) as stub:
        for call in (get, watch):
            caplog.clear()
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(stub, "bug")
            assert raised.value.code() is grpc.StatusCode.INTERNAL
            assert "42" not in (raised.value.details() or "")
            (record,) = [r for r in caplog.records if r.name == "tango.wire"]
            assert record.levelno == logging.ERROR
            assert "the secret is 42" in caplog.text


async def test_an_inner_cancel_does_not_leave_the_client_hanging() -> None:
    async with probed() as (_, server), stub_of(server) as stub:
        for call in (get, watch):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(stub, "inner-cancel")
            assert raised.value.code() is grpc.StatusCode.INTERNAL
            assert "cancelled" in (raised.value.details() or "")


async def test_an_abort_of_the_handlers_own_passes_through() -> None:
    async with probed() as (_, server), stub_of(server) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await get(stub, "abort")
        assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert raised.value.details() == "by hand"


async def test_a_client_that_goes_cancels_the_handler_quietly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with probed() as (probe, server), stub_of(server) as stub:
        with pytest.raises(Unavailable, match="no answer in time"), model_errors():
            await get(stub, "slow", timeout_s=0.1)
        stream = stub.WatchService(pb.WatchServiceRequest(name="x"), metadata=AUTH)
        await stream.read()
        stream.cancel()
        for _ in range(100):
            if len(probe.ends) == 2:
                break
            await asyncio.sleep(0.01)
        assert probe.ends == ["slow", "watch"]
        assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_an_oversized_message_says_how_large_it_may_be() -> None:
    async with probed(max_message_bytes=1000) as (_, server):
        async with stub_of(server) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await get(stub, "x" * 2000)
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            clear = str(model_error(raised.value))
            assert clear.startswith("message: has 2003 bytes; the other side takes at most 1000;")
        async with stub_of(server, max_message_bytes=500) as stub:
            too_large = pytest.raises(
                InvalidField, match="has 803 bytes; this side takes at most 500"
            )
            with too_large, model_errors():
                await get(stub, "x" * 800)


async def test_nobody_there_is_unavailable_and_says_where() -> None:
    async with open_channel("127.0.0.1:1") as channel:
        with (
            pytest.raises(
                Unavailable, match=r"^nothing answers at 127.0.0.1:1: connection refused$"
            ),
            model_errors(),
        ):
            await channel.unary_unary("/a.B/C")(b"", metadata=AUTH, timeout=5)


@pytest.mark.parametrize(
    ("code", "details", "text"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", "the queue is full"),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", "another version"),
        (grpc.StatusCode.INVALID_ARGUMENT, "plain words", "request: plain words"),
        (grpc.StatusCode.INVALID_ARGUMENT, "a.b: is odd", "a.b: is odd"),
        (grpc.StatusCode.CANCELLED, "", "cancelled"),
        (grpc.StatusCode.DATA_LOSS, None, "data loss"),
    ],
)
def test_statuses_of_other_servers_make_sense_too(
    code: grpc.StatusCode, details: str | None, text: str
) -> None:
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details)
    mapped = model_error(error)
    assert isinstance(mapped, TangoError)
    assert text in str(mapped)
