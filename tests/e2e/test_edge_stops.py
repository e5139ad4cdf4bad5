"""An edge that is told to stop: calls under way end first, what is idle ends at once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest
from cluster_at_work import SITE, ClusterAtWork, get, port_of, ready, seen, service, until, wait_for

from tango.model.errors import Unavailable
from tango.model.messages import ReplyPart
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.sdk.client import Client

pytestmark = pytest.mark.e2e

GRACE_S = 5.0
# An interpreter that ends, on a busy machine.
EXIT_S = 1.5
OTHER = "site-b"
STOPPING = "the edge is stopping"


@pytest.fixture(autouse=True)
def edges_are_back(cluster: ClusterAtWork) -> Iterator[None]:
    yield
    for site in (SITE, OTHER):
        if site not in cluster.dead():
            cluster.kill(site)
    cluster.revive()
    cluster.wait_ready()


def told_to_stop(cluster: ClusterAtWork, site: str = SITE) -> float:
    """SIGTERM; when that was."""
    os.kill(cluster.pid(site), signal.SIGTERM)
    return time.monotonic()


async def ended(cluster: ClusterAtWork, site: str = SITE) -> float:
    """When the edge was gone."""
    await until(lambda: site in cluster.dead(), "the edge to end", 15)
    return time.monotonic()


def of_its_own_nodes(cluster: ClusterAtWork) -> list[str]:
    """What the edge said of nodes that were there all the time."""
    return [str(line) for line in cluster.events(SITE, "node_dead")]


def refused_unseen(reply: CallReply) -> None:
    assert (reply.outcome, reply.code) == (Outcome.REJECTED, Code.UNAVAILABLE)
    assert not reply.may_have_run
    assert STOPPING in reply.error


async def all_parts(items: AsyncIterator[ReplyPart | CallReply]) -> list[ReplyPart | CallReply]:
    return [item async for item in items]


async def test_idle_streams_do_not_hold_it_up(cluster: ClusterAtWork, client: Client) -> None:
    await ready(client, service("idle"))
    assert (await client.call("idle")).code is Code.OK, "on a stream that stays open"

    async def watch() -> None:
        async with aclosing(client.edge(SITE).watch_service("idle")) as views:
            async for _ in views:
                pass

    async def routes() -> None:
        async with aclosing(client.watch_routes("idle")) as tables:
            async for _ in tables:
                pass

    async def logs() -> None:
        async with aclosing(client.logs("idle-g1-0", follow=True)) as parts:
            async for _ in parts:
                pass

    async with client.follow("idle") as followed:
        assert (await followed.call()).code is Code.OK
        watches = [asyncio.create_task(one()) for one in (watch, routes, logs)]
        await asyncio.sleep(0.3)
        begun = told_to_stop(cluster)
        took_s = await ended(cluster) - begun
        ends = await asyncio.gather(*watches, return_exceptions=True)
    assert took_s < EXIT_S
    assert all(end is None or STOPPING in str(end) for end in ends), ends
    assert of_its_own_nodes(cluster) == []


async def test_calls_under_way_end_and_new_ones_are_refused_unseen(
    cluster: ClusterAtWork, client: Client
) -> None:
    view = await ready(client, service("gated"))
    port = port_of(view)
    edge = client.edge(SITE)
    request = client.request
    async with client.calls(SITE) as stream, client.calls(SITE) as idle:
        assert (await idle.call(request("gated", path="/x"))).code is Code.OK
        streamed = asyncio.create_task(all_parts(client.call_streamed("gated", path="/parts")))
        held = [
            asyncio.create_task(edge.call(request("gated", path="/gate"))),
            asyncio.create_task(stream.call(request("gated", path="/gate"))),
        ]
        await until(lambda: seen(port)["gated"] == 2, "both to be served")
        told_to_stop(cluster)
        await until(lambda: idle.broken, "the idle stream to end", 2)

        refused_unseen(await edge.call(request("gated", path="/x")))
        refused_unseen(await stream.call(request("gated", path="/x")))
        with pytest.raises(Unavailable, match=STOPPING):
            await edge.nodes()
        await asyncio.sleep(3.5)
        assert SITE not in cluster.dead(), "it waits for what is under way"
        assert not any(call.done() for call in held)

        get(port, "/open")
        opened = time.monotonic()
        replies = await asyncio.gather(*held)
        parts = await streamed
    assert [reply.outcome for reply in replies] == [Outcome.COMPLETED] * 2
    assert [part.data for part in parts if isinstance(part, ReplyPart)] == [b"one", b"two"]
    assert isinstance(parts[-1], CallReply)
    assert parts[-1].outcome is Outcome.COMPLETED
    took_s = await ended(cluster) - opened
    assert took_s < EXIT_S
    assert of_its_own_nodes(cluster) == []


async def test_calls_that_outlast_the_grace_are_told_so(
    cluster: ClusterAtWork, client: Client
) -> None:
    view = await ready(client, service("held", concurrency=3, deadline_s=50.0, timeout_s=60.0))
    port = port_of(view)
    edge = client.edge(SITE)

    def hold() -> CallRequest:
        return client.request("held", path="/hold")

    async with client.calls(SITE) as stream:
        running = asyncio.gather(
            edge.call(hold()),
            stream.call(hold()),
            all_parts(client.call_streamed("held", path="/hold")),
        )
        await until(lambda: seen(port)["held"] == 3, "three to be held")
        queued = asyncio.create_task(stream.call(hold()))
        await asyncio.sleep(0.3)
        begun = told_to_stop(cluster)
        unary, multiplexed, parts = await running
        waited = await queued
        answered_s = time.monotonic() - begun
    took_s = await ended(cluster) - begun
    assert GRACE_S - 0.1 < answered_s < GRACE_S + 1.0
    for reply, ran in ((unary, True), (multiplexed, True), (parts[-1], True), (waited, False)):
        assert (reply.outcome, reply.code) == (Outcome.FAILED, Code.UNAVAILABLE)
        assert reply.may_have_run is ran
        assert reply.error == "the edge has stopped; after 5 s of grace this call had not ended"
    assert took_s < GRACE_S + EXIT_S
    wait_for(lambda: seen(port)["gone"] == 3, "its replica to be free")
    assert of_its_own_nodes(cluster) == []


async def test_requests_of_another_site_go_elsewhere_and_none_is_lost(
    cluster: ClusterAtWork, client: Client
) -> None:
    spec = service("spilling", concurrency=2, deadline_s=5.0)
    await client.apply(spec, sites=[SITE, OTHER], wait_s=30)
    replies: list[CallReply] = []
    done = asyncio.Event()

    async def caller() -> None:
        async with client.calls(SITE) as stream:
            while not done.is_set():
                replies.append(await stream.call(client.request("spilling", path="/wait?ms=40")))

    def spilled() -> int:
        return sum(reply.site == OTHER for reply in replies)

    callers = [asyncio.create_task(caller()) for _ in range(8)]
    await until(lambda: spilled() > 20, "the other site to serve some")
    begun = told_to_stop(cluster, OTHER)
    took_s = await ended(cluster, OTHER) - begun
    told = len(replies)
    await until(lambda: len(replies) > told + 20, "this site to serve all")
    done.set()
    await asyncio.gather(*callers)
    assert {reply.outcome for reply in replies} == {Outcome.COMPLETED}
    assert took_s < EXIT_S
    await client.delete("spilling", sites=[SITE])


async def test_a_second_signal_ends_it_at_once(cluster: ClusterAtWork, client: Client) -> None:
    port = port_of(await ready(client, service("stuck")))
    call = asyncio.create_task(client.edge(SITE).call(client.request("stuck", path="/hold")))
    await until(lambda: seen(port)["held"] == 1, "it to be held")
    told_to_stop(cluster)
    await asyncio.sleep(0.5)
    assert SITE not in cluster.dead()
    again = told_to_stop(cluster)
    assert await ended(cluster) - again < EXIT_S
    reply = await call
    assert (reply.code, reply.may_have_run) == (Code.UNAVAILABLE, True)
