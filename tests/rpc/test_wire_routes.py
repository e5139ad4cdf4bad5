"""Published routes on a real channel: tables out, reports in, and what no report may say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from tango.model.errors import InvalidField, NotFound, TangoError, Unavailable
from tango.model.messages import PublishedShares
from tango.model.routes import FollowReport, ReplicaRoute, ReplicaTally, RouteTable
from tango.v1 import edge_service_pb2 as pb
from tango.v1.edge_service_pb2_grpc import EdgeServiceStub
from tango.wire.backends import EdgeBackend
from tango.wire.channels import bearer, open_channel
from tango.wire.edge_client import EdgeClient
from tango.wire.route_client import RouteStream
from tango.wire.servers import make_server
from tango.wire.services import edge_service
from tango.wire.sessions import decode_to_worker, encode_to_worker
from tango.wire.transports import peer_host

TOKEN = "a-token-that-nobody-guesses"
ROUTES = (ReplicaRoute("web-g1-0", "a1", "10.0.0.7", 8000, 3, 2),)
TABLES = tuple(
    RouteTable(
        "web", "e", 7, version, ROUTES[:version], 0.1, 5.0, True, 2.0, "" if version else "x"
    )
    for version in range(3)
)
TALLY = ReplicaTally("web-g1-0", 1, 2, 3, 4, 0.0125)


class Follower:
    """One that answers each report with the next table."""

    def __init__(self) -> None:
        self.heard: list[FollowReport] = []
        self.closed = 0
        self._news: asyncio.Queue[tuple[int, RouteTable | None] | None] = asyncio.Queue()
        self._news.put_nowait((0, TABLES[0]))

    def report(self, report: FollowReport) -> None:
        self.heard.append(report)
        self._news.put_nowait((report.number, TABLES[1] if report.number == 1 else None))
        if report.wanted == 13:
            self._news.put_nowait(None)

    async def next(self) -> tuple[int, RouteTable | None] | None:
        return await self._news.get()

    def close(self) -> None:
        self.closed += 1


class Routes:
    def __init__(self) -> None:
        self.followers: list[Follower] = []

    def _known(self, service: str) -> None:
        if service != "web":
            raise NotFound(f"service {service!r} is unknown at e; known: web")

    async def watch_routes(self, service: str) -> AsyncGenerator[RouteTable, None]:
        self._known(service)
        for table in TABLES:
            yield table

    def follow_routes(self, service: str) -> Follower:
        self._known(service)
        self.followers.append(Follower())
        return self.followers[-1]


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Routes, Any]]:
    routes = Routes()
    server = make_server("127.0.0.1:0", TOKEN, [edge_service(cast("EdgeBackend", routes))])
    await server.start()
    try:
        async with open_channel(str(server.address)) as channel:
            yield routes, channel
    finally:
        await server.stop(0)


async def say(stream: RouteStream, *requests: Any) -> None:
    """Open, or send just these, and read to the end."""
    for request in requests:
        await stream._write(request)
    if not requests:
        await stream.open()
    while True:
        await stream.read()


async def closed(follower: Follower) -> None:
    async with asyncio.timeout(10):
        while not follower.closed:
            await asyncio.sleep(0.01)


async def test_a_watcher_gets_every_table() -> None:
    async with served() as (_, channel):
        client = EdgeClient(channel, bearer(TOKEN))
        assert [table async for table in client.watch_routes("web")] == list(TABLES)
        with pytest.raises(NotFound, match="known: web"):
            _ = [table async for table in client.watch_routes("nowhere")]


async def test_a_follower_reports_and_is_told_what_was_taken() -> None:
    async with served() as (routes, channel):
        stream = EdgeClient(channel, bearer(TOKEN)).follow_routes("web")
        await stream.open()
        assert await stream.read() == (0, TABLES[0])
        first = FollowReport(1, 0, 5, (TALLY,))
        await stream.report(first)
        assert await stream.read() == (1, TABLES[1])
        last = FollowReport(2, 1, 0, (), last=True)
        await stream.report(last)
        assert await stream.read() == (2, None)
        await stream.finish()
        with pytest.raises(Unavailable, match="ended"):
            await stream.read()
        (follower,) = routes.followers
        assert follower.heard == [first, last]
        await closed(follower)


async def test_the_edge_ends_a_stream() -> None:
    async with served() as (routes, channel):
        stream = EdgeClient(channel, bearer(TOKEN)).follow_routes("web")
        await stream.open()
        await stream.report(FollowReport(1, 0, 13))
        assert [(await stream.read())[0] for _ in range(2)] == [0, 1]
        with pytest.raises(Unavailable):
            await stream.read()
        await closed(routes.followers[0])


async def test_a_caller_that_goes_away_is_noticed() -> None:
    async with served() as (routes, channel):
        stream = EdgeClient(channel, bearer(TOKEN)).follow_routes("web")
        await stream.open()
        await stream.read()
        stream.close()
        await closed(routes.followers[0])


async def test_an_unknown_service_cannot_be_followed() -> None:
    async with served() as (_, channel):
        stream = EdgeClient(channel, bearer(TOKEN)).follow_routes("nowhere")
        with pytest.raises(NotFound, match="known: web"):
            await say(stream)


@pytest.mark.parametrize(
    ("field", "messages"),
    [
        ("service", [pb.FollowRoutesRequest()]),
        ("report.replicas[0].completed", [{"completed": 2_000_000}]),
        ("report.replicas[0].in_flight", [{"in_flight": 2_000_000}]),
        ("report.replicas[0].latency_ms", [{"latency_ms": float("nan")}]),
        ("report.replicas[0].latency_ms", [{"latency_ms": -1.0}]),
    ],
)
async def test_what_no_follower_can_say(field: str, messages: list[Any]) -> None:
    requests = []
    for message in messages:
        if isinstance(message, dict):
            tally = pb.ReplicaTally(replica="web-g1-0", **message)
            requests.append(pb.FollowRoutesRequest(service="web"))
            message = pb.FollowRoutesRequest(report=pb.FollowReport(number=1, replicas=[tally]))
        requests.append(message)
    async with served() as (_, channel):
        stub: Any = EdgeServiceStub(channel)
        stream = EdgeClient(channel, bearer(TOKEN)).follow_routes("web")
        stream._stream = stub.FollowRoutes(metadata=bearer(TOKEN))
        with pytest.raises(TangoError) as caught:
            await say(stream, *requests)
        assert isinstance(caught.value, InvalidField), caught.value
        assert caught.value.field == field


def test_shares_survive_the_way_to_a_worker() -> None:
    message = PublishedShares((("web-g1-0", 4), ("web-g1-1", 0)), 2.0)
    assert decode_to_worker(encode_to_worker(message, 7, 1)) == (7, 1, message)


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:10.0.0.7:41022", "10.0.0.7"),
        ("ipv6:[2001:db8::7]:41022", "2001:db8::7"),
        ("ipv6:%5B::1%5D:41022", "::1"),
        ("unix:/run/x.sock", ""),
        ("", ""),
    ],
)
def test_where_a_stream_comes_from(peer: str, host: str) -> None:
    assert peer_host(peer) == host
