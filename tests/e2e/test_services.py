"""Services on a real cluster: declared, called in each of the three ways, changed, taken away."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace

import psutil
import pytest
from cluster_at_work import (
    SITE,
    ClusterAtWork,
    burner,
    get,
    idle,
    pids,
    port_of,
    queued,
    ready,
    seen,
    service,
    service_when,
    until,
)

from tango.model.errors import InvalidField
from tango.model.messages import ReplyPart
from tango.model.request import CallReply, Code, Outcome
from tango.sdk.call_failed import CallFailed
from tango.sdk.client import Client

pytestmark = pytest.mark.e2e


async def test_applied_called_changed_and_deleted(cluster: ClusterAtWork, client: Client) -> None:
    spec = service("life", replicas=1)
    views = await client.apply(spec, wait_s=30)
    assert {view.edge for view in views} == {"site-a", "site-b"}
    assert all(view.ready == 1 for view in views)
    first = views[0]
    for site, node in (("site-a", "a1"), ("site-b", "b1")):
        reply = await client.call("life", site=site)
        assert (reply.outcome, reply.code, reply.http_status) == (Outcome.COMPLETED, Code.OK, 200)
        assert reply.node == node
        assert reply.replica == "life-g1-0"
        parts = (reply.queue_ms, reply.network_ms, reply.service_ms)
        assert all(part >= 0 for part in parts)
        assert reply.service_ms > 0
        assert sum(parts) == pytest.approx(reply.total_ms, abs=0.01)

    (again,) = await client.apply(spec, sites=[SITE], wait_s=30)
    assert (again.generation, pids(again)) == (first.generation, pids(first)), "nothing changed"

    (more,) = await client.apply(replace(spec, replicas=3), sites=[SITE], wait_s=30)
    assert pids(first) < pids(more)
    assert len(pids(more)) == 3
    await client.apply(replace(spec, replicas=1), sites=[SITE])
    fewer = await service_when(client, SITE, "life", lambda view: len(view.replicas) == 1)
    gone = pids(more) - pids(fewer)
    await until(lambda: not any(map(psutil.pid_exists, gone)), "two replicas to go")

    other = replace(spec, env=(("COLOUR", "blue"),))
    (changed,) = await client.apply(other, sites=[SITE], wait_s=30)
    assert changed.generation == first.generation + 1
    assert pids(changed).isdisjoint(pids(fewer))
    told = json.loads((await client.call("life")).body)
    assert (told["env"]["COLOUR"], told["pid"]) == ("blue", *pids(changed))

    assert bool(cluster.groups("a1/lc/life")) == bool(cluster.groups("a1"))
    assert await client.delete("life") == ("site-a", "site-b")
    await until(lambda: not any(map(psutil.pid_exists, pids(changed))), "the last replica to go")
    for node in ("a1", "b1"):
        await until(lambda node=node: not cluster.groups(f"{node}/lc/life"), "its groups to go")
    with pytest.raises(CallFailed, match=r"not_found.*'life' does not exist"):
        await client.call("life")


async def test_the_traffic_policy_is_switched_under_load(client: Client) -> None:
    """Every policy that is installed, one after another, while calls come; none of them fails."""
    await ready(client, service("switched"))
    before = await client.traffic_policy(SITE)
    assert before.policy == before.configured == "least-loaded"
    stop = asyncio.Event()

    async def calling() -> int:
        done = 0
        while not stop.is_set():
            reply = await client.call("switched", site=SITE)
            assert reply.http_status == 200
            done += 1
        return done

    callers = [asyncio.ensure_future(calling()) for _ in range(4)]
    for name in ("dss-lc", "static-partition", "round-robin", "scoring", "nearest"):
        assert name in before.known
        view = await client.traffic_policy(SITE, switch_to=name)
        assert (view.policy, view.configured) == (name, "least-loaded")
        await client.call("switched", site=SITE)
    with pytest.raises(InvalidField, match="no policy is named"):
        await client.traffic_policy(SITE, switch_to="rond-robin")
    assert (await client.traffic_policy(SITE)).policy == "nearest"
    await client.traffic_policy(SITE, switch_to="least-loaded")
    stop.set()
    assert min(await asyncio.gather(*callers)) > 0
    await client.delete("switched")


async def test_many_calls_on_one_stream(client: Client) -> None:
    await ready(client, service("many", replicas=2))
    async with client.calls(SITE) as calls:
        requests = [client.request("many", path=f"/{number}") for number in range(500)]
        replies = await asyncio.gather(*(calls.call(request) for request in requests))
    assert [reply.request_id for reply in replies] == [r.request_id for r in requests]
    assert {reply.code for reply in replies} == {Code.OK}
    assert {reply.replica for reply in replies} == {"many-g1-0", "many-g1-1"}
    assert all(
        reply.queue_ms + reply.network_ms + reply.service_ms
        == pytest.approx(reply.total_ms, abs=0.01)
        for reply in replies
    )
    view = await idle(client, "many")
    assert view.counts.sent == view.counts.completed == 500
    await client.delete("many")


async def test_large_bodies_share_a_stream(client: Client) -> None:
    """Together they are far beyond what one message may hold, both ways."""
    await ready(client, service("large", concurrency=2))
    body = bytes(range(256)) * (4 * 2**20 // 256)
    async with client.calls(SITE) as calls, asyncio.timeout(60):
        requests = [client.request("large", path="/echo", body=body) for _ in range(8)]
        replies = await asyncio.gather(*(calls.call(request) for request in requests))
    assert [(reply.outcome, reply.error) for reply in replies] == [(Outcome.COMPLETED, "")] * 8
    assert all(reply.body == body for reply in replies)
    await client.delete("large")


async def test_a_call_given_up_at_once_never_runs(client: Client) -> None:
    """Request and cancel travel in one message."""
    port = port_of(await ready(client, service("hasty")))
    async with client.calls(SITE) as calls:
        task = asyncio.create_task(calls.call(client.request("hasty", path="/hold")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await calls.call(client.request("hasty"))).outcome is Outcome.COMPLETED
        await idle(client, "hasty")
    assert seen(port)["held"] == seen(port)["gone"]
    await client.delete("hasty")


async def test_a_streamed_reply_arrives_while_the_replica_still_produces(client: Client) -> None:
    view = await ready(client, service("parts"))
    got: list[ReplyPart | CallReply] = []
    async with (
        asyncio.timeout(20),
        aclosing(client.call_streamed("parts", path="/parts", site=SITE)) as items,
    ):
        async for item in items:
            got.append(item)
            if isinstance(item, ReplyPart) and item.data == b"one":
                # Only now does the replica make the rest.
                await asyncio.to_thread(get, port_of(view), "/open")
    parts = [item for item in got if isinstance(item, ReplyPart)]
    assert b"".join(part.data for part in parts) == b"onetwo"
    assert parts[0].http_status == 200
    end = got[-1]
    assert isinstance(end, CallReply)
    assert (end.outcome, end.code, end.node) == (Outcome.COMPLETED, Code.OK, "a1")
    assert end.queue_ms + end.network_ms + end.service_ms == pytest.approx(end.total_ms, abs=0.01)
    await client.delete("parts")


async def test_a_late_answer_is_late_and_a_timeout_ends_the_call(client: Client) -> None:
    view = await ready(client, burner("slow", "--threads", "2"))
    late = await client.call("slow", path="/sleep?ms=100", deadline_ms=20)
    assert (late.outcome, late.code, late.http_status) == (Outcome.LATE, Code.OK, 200)
    assert late.total_ms >= 100

    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(CallFailed) as caught:
        await client.call("slow", path="/sleep?ms=30000", deadline_ms=50, timeout_ms=300)
    assert 0.29 <= loop.time() - begun < 5
    assert caught.value.reply.code is Code.DEADLINE_EXCEEDED
    assert caught.value.reply.may_have_run

    # While its replica has not let go of the last one, a call is judged by how slow that was.
    await idle(client, "slow")
    async with client.calls(SITE) as calls:
        request = client.request("slow", path="/sleep?ms=30000", deadline_ms=50, timeout_ms=300)
        reply = await calls.call(request)
    assert (reply.outcome, reply.code) == (Outcome.FAILED, Code.DEADLINE_EXCEEDED)
    assert 300 <= reply.total_ms < 5000
    assert reply.node == "a1"
    counts = (await idle(client, "slow")).counts
    assert (counts.sent, counts.completed, counts.late, counts.failed) == (3, 0, 1, 2)
    # The replica was told: it holds no slot and serves the next one at once.
    assert (await client.call("slow")).outcome is Outcome.COMPLETED
    assert pids(await client.edge(SITE).service("slow")) == pids(view)
    await client.delete("slow")


@pytest.mark.parametrize("way", ["unary", "stream", "streamed"])
async def test_cancellation_reaches_the_replica_and_frees_the_slot(
    client: Client, way: str
) -> None:
    name = f"cancel-{way}"
    port = port_of(await ready(client, service(name, concurrency=1)))
    request = client.request(name, path="/hold")
    async with client.calls(SITE) as calls:

        async def streamed() -> None:
            async for _ in client.edge(SITE).call_streamed(replace(request, stream=True)):
                pass

        calling = {
            "unary": lambda: client.edge(SITE).call(request),
            "stream": lambda: calls.call(request),
            "streamed": streamed,
        }[way]
        task = asyncio.create_task(calling())
        await until(lambda: asyncio.to_thread(lambda: seen(port)["held"]), "the call to arrive")
        assert (await client.edge(SITE).service(name)).in_flight == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: asyncio.to_thread(lambda: seen(port)["gone"]), "its connection to end")
        assert (await client.call(name)).outcome is Outcome.COMPLETED
    counts = (await idle(client, name)).counts
    assert (counts.sent, counts.completed, counts.failed) == (2, 1, 1)
    await client.delete(name)


async def test_a_queued_call_that_is_cancelled_never_runs(client: Client) -> None:
    port = port_of(await ready(client, service("queued", concurrency=1)))
    async with client.calls(SITE) as calls:
        held = asyncio.create_task(calls.call(client.request("queued", path="/gate")))
        await until(lambda: asyncio.to_thread(lambda: seen(port)["gated"]), "the first to arrive")
        waiting = asyncio.create_task(calls.call(client.request("queued", path="/hold")))
        await until(lambda: queued(client, "queued"), "the second to queue")
        waiting.cancel()

        async def left() -> bool:
            return not await queued(client, "queued")

        await until(left, "the second to leave the queue")
        await asyncio.to_thread(get, port, "/open")
        assert (await held).outcome is Outcome.COMPLETED
    await idle(client, "queued")
    assert seen(port) == {"held": 0, "gone": 0, "gated": 1}
    await client.delete("queued")
