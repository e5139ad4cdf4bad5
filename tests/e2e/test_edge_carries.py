"""Requests that the edge carries to replicas on its own machine, without their worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import urllib.request
from dataclasses import replace

import pytest
from cluster_at_work import (
    SITE,
    ClusterAtWork,
    get,
    idle,
    port_of,
    ready,
    seen,
    service,
    service_when,
    until,
)

from tango.model.errors import Unavailable
from tango.model.explanation import Subject
from tango.model.messages import ReplyPart
from tango.model.request import CallReply, Code, Outcome
from tango.sdk.call_failed import CallFailed
from tango.sdk.client import Client

pytestmark = pytest.mark.e2e
NODE = "node-a1"


def served(cluster: ClusterAtWork, name: str) -> float:
    """How many requests a daemon has carried to replicas."""
    (daemon,) = [daemon for daemon in cluster.daemons() if daemon.name == name]
    request = urllib.request.Request(
        f"http://{daemon.metrics}/metrics", headers={"Authorization": f"Bearer {cluster.token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("tango_served_total"))


async def told(client: Client, reply: CallReply | ReplyPart) -> str:
    """How the edge explains that request."""
    (found,) = await client.explain(reply.request_id, Subject.REQUEST)
    return found.summary


async def test_the_edge_carries_plain_requests_and_the_worker_streams(
    cluster: ClusterAtWork, client: Client
) -> None:
    await ready(client, service("near"))
    before = served(cluster, SITE), served(cluster, NODE)
    replies = await asyncio.gather(*(client.call("near", path="/x") for _ in range(20)))
    assert {reply.outcome for reply in replies} == {Outcome.COMPLETED}
    assert {reply.node for reply in replies} == {"a1"}
    assert {reply.replica for reply in replies} == {"near-g1-0"}
    echoed = await client.call("near", path="/echo", body=b"some bytes")
    assert echoed.body == b"some bytes"
    async with contextlib.aclosing(client.call_streamed("near", path="/x", site=SITE)) as parts:
        streamed = [part async for part in parts]
    assert (await told(client, replies[0])).endswith("The edge itself called the replica.")
    assert (await told(client, streamed[-1])).endswith("The worker of a1 called the replica.")
    await idle(client, "near")
    assert served(cluster, SITE) - before[0] == 21
    assert served(cluster, NODE) - before[1] == 1
    await client.delete("near")


async def test_a_request_under_way_outlives_its_worker(
    cluster: ClusterAtWork, client: Client
) -> None:
    view = await ready(client, service("steady"))
    calls = [asyncio.ensure_future(client.call("steady", path="/gate")) for _ in range(3)]
    await until(lambda: seen(port_of(view))["gated"] == 3, "three to be served")
    cluster.kill(NODE)
    get(port_of(view), "/open")
    replies = await asyncio.gather(*calls)
    assert {reply.code for reply in replies} == {Code.OK}
    cluster.start_again(NODE)
    await service_when(client, SITE, "steady", lambda view: view.ready == 1)
    reply = await client.call("steady", path="/x")
    assert reply.outcome is Outcome.COMPLETED
    await idle(client, "steady")
    await client.delete("steady")


async def test_an_edge_that_is_told_to_stop_leaves_no_connection_and_does_not_wait(
    cluster: ClusterAtWork, client: Client
) -> None:
    view = await ready(client, service("hung", timeout_s=60.0, deadline_s=50.0))
    call = asyncio.ensure_future(client.call("hung", path="/hold"))
    await until(lambda: seen(port_of(view))["held"] == 1, "one to be held")
    os.kill(cluster.pid(SITE), signal.SIGTERM)
    await until(lambda: SITE in cluster.dead(), "the edge to end", 10.0)
    with pytest.raises(CallFailed) as caught:
        await call
    assert caught.value.reply.may_have_run
    await until(lambda: seen(port_of(view))["gone"] == 1, "its connection to close")
    cluster.start_again(SITE)

    async def back() -> bool:
        with contextlib.suppress(Unavailable):
            return (await client.edge(SITE).service("hung")).ready == 1
        return False

    await until(back, "the edge to know its replica again")
    assert (await client.call("hung", path="/x")).outcome is Outcome.COMPLETED
    await client.delete("hung")


async def test_no_replica_is_stopped_under_a_request(client: Client) -> None:
    spec = service("patient")
    view = await ready(client, spec)
    calls = [asyncio.ensure_future(client.call("patient", path="/gate")) for _ in range(3)]
    await until(lambda: seen(port_of(view))["gated"] == 3, "three to be served")
    await client.apply(replace(spec, replicas=0), sites=[SITE])
    await asyncio.sleep(0.5)
    get(port_of(view), "/open")
    replies = await asyncio.gather(*calls)
    assert {reply.code for reply in replies} == {Code.OK}

    async def gone() -> bool:
        return not (await client.edge(SITE).service("patient")).replicas

    await until(gone, "the replica to go")
    await client.delete("patient")
