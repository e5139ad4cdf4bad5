"""Calls that never left, on all three ways: clear words, and no claim that they may have run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from tls_probe import SITE, World, guarded_by
from wire_probe import probed

from tango.model.access import Role, server_name
from tango.model.errors import Refused
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.wire.call_client import Metadata
from tango.wire.channels import bearer, open_channel
from tango.wire.edge_client import EdgeClient
from tango.wire.errors import never_sent
from tango.wire.tls import Tls

REQUEST = CallRequest("r1", "hello", timeout_s=5.0)
Way = Callable[[EdgeClient], Awaitable[CallReply]]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "authority")


async def unary(edge: EdgeClient) -> CallReply:
    return await edge.call(REQUEST)


async def streamed(edge: EdgeClient) -> CallReply:
    (reply,) = [item async for item in edge.call_streamed(REQUEST)]
    assert isinstance(reply, CallReply)
    return reply


async def multiplexed(edge: EdgeClient) -> CallReply:
    async with edge.calls() as stream:
        return await stream.call(REQUEST)


@contextlib.asynccontextmanager
async def edge_at(
    address: str, tls: Tls | None = None, server: str = "", metadata: Metadata = ()
) -> AsyncIterator[EdgeClient]:
    name = server or (server_name(Role.EDGE, SITE) if tls else "")
    async with open_channel(address, tls=tls, server=name) as channel:
        yield EdgeClient(channel, metadata)


def assert_never_sent(reply: CallReply, words: str) -> None:
    assert words in reply.error
    assert "failed to connect" not in reply.error
    assert (reply.outcome, reply.code) == (Outcome.FAILED, Code.UNAVAILABLE)
    assert not reply.may_have_run


every_way = pytest.mark.parametrize("way", [unary, streamed, multiplexed])


@every_way
async def test_nobody_there(way: Way) -> None:
    async with edge_at("127.0.0.1:1") as edge:
        assert_never_sent(await way(edge), "nothing answers at 127.0.0.1:1: connection refused")


@every_way
async def test_a_handshake_that_fails(world: World, way: Way) -> None:
    ada = world.tls(Role.USER, "ada")
    stranger = World(world.directory / "other").tls(Role.USER, "ada")
    async with guarded_by(world.tls(Role.EDGE, SITE)) as (_, server):
        at = str(server.address)
        async with edge_at(at, stranger) as edge:
            assert_never_sent(await way(edge), "is not to be trusted")
        async with edge_at(at, ada, server_name(Role.EDGE, "site-b")) as edge:
            assert_never_sent(await way(edge), "is for another name or role")
        async with edge_at(at) as edge:
            assert_never_sent(await way(edge), "closed the connection at once")
    async with probed() as (_, server), edge_at(str(server.address), ada) as edge:
        assert_never_sent(await way(edge), "speaks no TLS")


@every_way
async def test_who_may_not_call_is_refused(world: World, way: Way) -> None:
    async with (
        guarded_by(world.tls(Role.EDGE, SITE)) as (_, server),
        edge_at(str(server.address), world.tls(Role.WORKER, "n7")) as edge,
    ):
        with pytest.raises(Refused, match="is for user; the certificate says worker n7"):
            await way(edge)
    wrong = bearer("another-token-of-this-length")
    async with probed() as (_, server), edge_at(str(server.address), metadata=wrong) as edge:
        with pytest.raises(Refused, match="token"):
            await way(edge)


@pytest.mark.parametrize(
    ("code", "details", "sure"),
    [
        (grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: ...", True),
        (grpc.StatusCode.UNAVAILABLE, "DNS resolution failed for edge:1: not found", True),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", False),
        (grpc.StatusCode.UNAVAILABLE, None, False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", False),
        (grpc.StatusCode.INTERNAL, "failed to connect to all addresses", False),
    ],
)
def test_what_broke_under_way_may_have_run(
    code: grpc.StatusCode, details: str | None, sure: bool
) -> None:
    none = grpc.aio.Metadata()
    assert never_sent(grpc.aio.AioRpcError(code, none, none, details=details)) is sure


async def test_a_refusal_while_much_is_being_written_is_one() -> None:
    wrong = bearer("another-token-of-this-length")
    async with (
        probed() as (_, server),
        edge_at(str(server.address), metadata=wrong) as edge,
        edge.calls() as stream,
    ):
        replies = [
            stream.start(CallRequest(f"r{number}", "hello", body=bytes(300_000)))
            for number in range(8)
        ]
        for error in await asyncio.gather(*replies, return_exceptions=True):
            assert isinstance(error, Refused), error
