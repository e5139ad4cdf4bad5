"""A daemon's gRPC server over real sockets: token, reflection, health, addresses, stop."""

from __future__ import annotations

import asyncio
import socket
import stat
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from wire_probe import AUTH, TOKEN, probed, stub_of

from tango.model.errors import InvalidField, Refused
from tango.v1 import edge_service_pb2 as pb
from tango.wire.channels import bearer, open_channel
from tango.wire.errors import model_errors
from tango.wire.servers import make_server

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        (None, "no token: send the metadata 'authorization: Bearer TOKEN'"),
        (bearer("another-token-than-that"), "wrong token"),
        ((("authorization", TOKEN),), "wrong token"),
        ((("authorization", "Bearer "),), "wrong token"),
        ((*AUTH, *AUTH), "several tokens: send 'authorization' once"),
        ((*AUTH, *bearer("another-token-than-that")), "several tokens"),
    ],
)
async def test_every_kind_of_rpc_needs_the_token(metadata: Any, text: str) -> None:
    async with probed() as (_, server), open_channel(str(server.address)) as channel:
        async with stub_of(server) as stub:
            calls = [
                stub.GetService(pb.GetServiceRequest(), metadata=metadata, timeout=5),
                stub.WatchService(pb.WatchServiceRequest(), metadata=metadata, timeout=5).read(),
                # Nothing is ever written on it: the refusal does not wait for a message.
                stub.ConnectWorker(metadata=metadata, timeout=5).read(),
                HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), metadata=metadata, timeout=5
                ),
                ServerReflectionStub(channel)
                .ServerReflectionInfo(metadata=metadata, timeout=5)
                .read(),
                channel.unary_unary("/tango.v1.Nothing/AtAll")(b"", metadata=metadata, timeout=5),
            ]
            for call in calls:
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await call
                assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
                assert text in (raised.value.details() or "")
        with pytest.raises(Refused, match="token"), model_errors():
            await HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)


async def test_the_token_opens_the_door() -> None:
    async with probed() as (_, server), stub_of(server) as stub:
        response = await stub.GetService(pb.GetServiceRequest(name="x"), metadata=AUTH, timeout=5)
        assert response.service.edge == "x"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.ListNodes(pb.ListNodesRequest(), metadata=AUTH, timeout=5)
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_reflection_lists_and_describes_everything() -> None:
    async with probed() as (_, server), open_channel(str(server.address)) as channel:
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="tango.v1.EdgeService"),
        ]
        stream = ServerReflectionStub(channel).ServerReflectionInfo(
            iter(asked), metadata=AUTH, timeout=5
        )
        listed, described = [answer async for answer in stream]
    names = {service.name for service in listed.list_services_response.service}
    assert names == {
        "tango.v1.EdgeService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(data)
        for data in described.file_descriptor_response.file_descriptor_proto
    ]
    methods = {method.name for file in files for s in file.service for method in s.method}
    assert {"ApplyService", "Call", "CallMany", "ConnectWorker"} <= methods


async def test_health_says_serving_until_the_stop_and_lets_its_watchers_go() -> None:
    async with probed() as (_, server), open_channel(str(server.address)) as channel:
        health = HealthStub(channel)
        for name in ("", "tango.v1.EdgeService"):
            request = health_pb2.HealthCheckRequest(service=name)
            assert (await health.Check(request, metadata=AUTH, timeout=5)).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await health.Check(health_pb2.HealthCheckRequest(service="x"), metadata=AUTH, timeout=5)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        watch = health.Watch(health_pb2.HealthCheckRequest(), metadata=AUTH)
        assert (await watch.read()).status == SERVING
        begun = time.monotonic()
        await server.stop(5)
        assert time.monotonic() - begun < 2, "a watcher must not use up the grace"
        seen = []
        while (status := await watch.read()) is not grpc.aio.EOF:
            seen.append(status.status)
        assert seen == [NOT_SERVING]


async def test_a_server_that_is_stopping_says_so_and_goes_on_with_what_is_under_way() -> None:
    async with (
        probed(daemon="edge") as (_, server),
        stub_of(server) as stub,
        open_channel(str(server.address)) as channel,
    ):
        slow = stub.GetService(pb.GetServiceRequest(name="slow"), metadata=AUTH, timeout=60)
        slow_done = asyncio.ensure_future(slow.code())
        await stub.GetService(pb.GetServiceRequest(name="x"), metadata=AUTH, timeout=5)
        await server.begin_stop()
        for call in (
            stub.GetService(pb.GetServiceRequest(name="x"), metadata=AUTH, timeout=5),
            stub.WatchService(pb.WatchServiceRequest(name="x"), metadata=AUTH, timeout=5).read(),
            stub.ConnectWorker(metadata=AUTH, timeout=5).read(),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            assert (raised.value.details() or "").startswith("the edge is stopping")
            assert ("tango-may-have-run", "false") in tuple(raised.value.trailing_metadata() or ())
        health = await HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), metadata=AUTH, timeout=5
        )
        assert health.status == NOT_SERVING
        assert not slow_done.done()
        slow.cancel()
        await slow_done


async def test_stop_lets_calls_finish_within_the_grace_and_ends_the_rest() -> None:
    async with probed() as (probe, server), stub_of(server) as stub:
        watch = stub.WatchService(pb.WatchServiceRequest(name="x"), metadata=AUTH)
        await watch.read()
        slow = stub.GetService(pb.GetServiceRequest(name="slow"), metadata=AUTH, timeout=5)
        slow_done = asyncio.ensure_future(slow.code())
        await asyncio.sleep(0.05)
        await server.stop(0.2)
        assert await watch.read() is grpc.aio.EOF, "the handler saw `closing` and ended by itself"
        assert await watch.code() is grpc.StatusCode.OK
        assert await slow_done is not grpc.StatusCode.OK
        for _ in range(50):
            if len(probe.ends) == 2:
                break
            await asyncio.sleep(0.01)
        assert probe.ends == ["watch", "slow"]


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.org:7000", "127.1:0"]
)
async def test_beyond_loopback_is_refused(listen: str) -> None:
    with pytest.raises(InvalidField, match="mutual TLS") as raised:
        make_server(listen, TOKEN, [], field="server.listen")
    assert raised.value.field == "server.listen"


async def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InvalidField, match=rf"^listen: {address} is in use; stop what listens"):
            make_server(address, TOKEN, [])
    async with probed() as (_, server):
        with pytest.raises(InvalidField, match="is in use"):
            make_server(str(server.address), TOKEN, [])


async def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(InvalidField, match="there is no directory /nonexistent"):
        make_server("unix:/nonexistent/x.sock", TOKEN, [])


async def test_port_zero_is_told_and_localhost_is_ipv4() -> None:
    async with probed("localhost:0") as (_, server):
        assert server.address.port > 0
        async with open_channel(f"127.0.0.1:{server.address.port}") as channel:
            request = health_pb2.HealthCheckRequest()
            answer = await HealthStub(channel).Check(request, metadata=AUTH, timeout=5)
            assert answer.status == SERVING


async def test_a_unix_socket_is_private_not_taken_over_and_cleaned_up(tmp_path: Path) -> None:
    path = tmp_path / "edge.sock"
    # Left behind by a daemon that was killed.
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with probed(f"unix:{path}") as (_, server):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with stub_of(server) as stub:
            request = pb.GetServiceRequest(name="x")
            assert (await stub.GetService(request, metadata=AUTH, timeout=5)).service.edge == "x"
        with pytest.raises(InvalidField, match="is in use"):
            make_server(f"unix:{path}", TOKEN, [])
        await server.stop(0)
        assert not path.exists()
    path.write_text("precious")
    with pytest.raises(InvalidField, match="no socket has that name"):
        make_server(f"unix:{path}", TOKEN, [])
    assert path.read_text() == "precious"


async def test_too_many_rpcs_at_a_time_are_refused() -> None:
    async with probed(max_concurrent_rpcs=1) as (_, server), stub_of(server) as stub:
        watch = stub.WatchService(pb.WatchServiceRequest(name="x"), metadata=AUTH)
        await watch.read()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.GetService(pb.GetServiceRequest(name="x"), metadata=AUTH, timeout=5)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        watch.cancel()
