"""Replicas under pressure on a real cluster: full queues, kill -9, ports, what they are told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys

import pytest
from cluster_at_work import (
    REPLICA,
    SITE,
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

from tango.model.request import Code, Outcome
from tango.model.service import Expose, HealthCheck
from tango.sdk.client import Client

pytestmark = pytest.mark.e2e


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


async def test_a_full_queue_rejects_at_once_and_every_call_is_counted(client: Client) -> None:
    view = await ready(client, service("full", concurrency=1, max_queue=3))
    async with client.calls(SITE) as calls:
        gated = client.request("full", path="/gate")
        first = calls.start(gated)
        await until(lambda: asyncio.to_thread(lambda: seen(port_of(view))["gated"]), "the first")
        waiting = [calls.start(client.request("full", path="/gate")) for _ in range(3)]
        await until(lambda: _three(client), "the queue to fill")
        more = [calls.start(client.request("full", path="/gate")) for _ in range(20)]
        async with asyncio.timeout(20):
            rejected = await asyncio.gather(*more)
        assert {reply.outcome for reply in rejected} == {Outcome.REJECTED}
        assert {reply.code for reply in rejected} == {Code.RESOURCE_EXHAUSTED}
        assert all("the queue of 'full' is full" in reply.error for reply in rejected)
        assert all(reply.retry_after_ms > 0 for reply in rejected)
        assert not any(reply.may_have_run for reply in rejected)
        assert not first.done()
        unary = await client.edge(SITE).call(client.request("full"))
        assert (unary.outcome, unary.code) == (Outcome.REJECTED, Code.RESOURCE_EXHAUSTED)
        assert unary.retry_after_ms > 0
        await asyncio.to_thread(get, port_of(view), "/open")
        async with asyncio.timeout(20):
            served = await asyncio.gather(first, *waiting)
    assert {reply.outcome for reply in served} == {Outcome.COMPLETED}
    counts = (await idle(client, "full")).counts
    assert (counts.sent, counts.completed, counts.rejected) == (25, 4, 21)
    await client.delete("full")


async def _three(client: Client) -> bool:
    return await queued(client, "full") == 3


async def test_what_cannot_be_in_time_is_rejected_at_arrival(client: Client) -> None:
    """Known from measured service times, long before the queue is full."""
    await ready(client, service("tight", concurrency=1, deadline_s=5.0))
    async with client.calls(SITE) as calls:
        for _ in range(3):
            assert (await calls.call(client.request("tight", path="/wait?ms=50"))).code is Code.OK
        burst = [
            calls.start(client.request("tight", path="/wait?ms=50", deadline_ms=120))
            for _ in range(30)
        ]
        async with asyncio.timeout(30):
            replies = await asyncio.gather(*burst)
    rejected = [reply for reply in replies if reply.outcome is Outcome.REJECTED]
    assert len(rejected) >= 20
    assert {reply.code for reply in rejected} == {Code.RESOURCE_EXHAUSTED}
    assert all("do not meet the deadline of 120 ms" in reply.error for reply in rejected)
    assert all(reply.retry_after_ms > 0 for reply in rejected)
    await idle(client, "tight")
    await client.delete("tight")


async def test_a_killed_replica_comes_back_on_a_new_port(client: Client) -> None:
    before = await ready(client, service("phoenix"))
    async with client.calls(SITE) as calls:
        running = calls.start(client.request("phoenix", path="/hold"))
        port = port_of(before)
        await until(lambda: asyncio.to_thread(lambda: seen(port)["held"]), "the call to arrive")
        (pid,) = pids(before)
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            lost = await running
    assert (lost.outcome, lost.code, lost.may_have_run) == (
        Outcome.FAILED,
        Code.UNAVAILABLE,
        True,
    )
    after = await service_when(
        client, SITE, "phoenix", lambda view: view.ready and pids(view) != {pid}
    )
    (status,) = [replica.status for replica in after.replicas]
    assert status.restarts == 1
    assert status.port not in (0, port)
    assert json.loads((await client.call("phoenix")).body)["pid"] == status.pid
    await idle(client, "phoenix")
    await client.delete("phoenix")


async def test_argv_and_environment_carry_the_port(client: Client) -> None:
    view = await ready(
        client,
        service(
            "told",
            sys.executable, REPLICA, "--port={port}", "{port}{port}", "plain",
            env=(("URL", "http://127.0.0.1:{port}/"), ("PLAIN", "as it is")),
        ),
    )  # fmt: skip
    port = port_of(view)
    told = json.loads((await client.call("told")).body)
    assert told["argv"][1:] == [f"--port={port}", f"{port}{port}", "plain"]
    assert told["env"]["PORT"] == str(port)
    assert told["env"]["URL"] == f"http://127.0.0.1:{port}/"
    assert told["env"]["PLAIN"] == "as it is"
    names = {"URL", "PLAIN", "PORT", "HOST", "PATH", "HOME", "LANG", "TMPDIR", "TANGO_ATTEMPT"}
    assert set(told["env"]) == names, "nothing of the daemons own environment"
    await client.delete("told")


async def test_an_exposed_replica_listens_on_the_node_and_others_do_not(client: Client) -> None:
    own_address = "127.0.0.2"  # the node's as much as 127.0.0.1, and not the one Tango dials
    argv = (sys.executable, "-m", "http.server", "{port}", "--bind", "{host}")
    for expose, heard in ((Expose.LOOPBACK, False), (Expose.NODE, True)):
        view = await ready(client, service("shown", *argv, expose=expose, health=HealthCheck("/")))
        assert (await client.call("shown")).outcome is Outcome.COMPLETED
        with socket.socket() as probe:
            assert (probe.connect_ex((own_address, port_of(view))) == 0) is heard
        await client.delete("shown")


async def test_a_fixed_port_is_the_port(client: Client) -> None:
    port = free_port()
    view = await ready(client, service("fixed", port=port))
    assert port_of(view) == port
    assert json.loads(get(port, "/"))["env"]["PORT"] == str(port)
    assert (await client.call("fixed")).outcome is Outcome.COMPLETED
    await client.delete("fixed")


async def test_an_unhealthy_replica_takes_no_calls_and_is_replaced(client: Client) -> None:
    spec = service(
        "sick",
        health=HealthCheck(path="/well", interval_s=0.1, timeout_s=0.5, failures=2),
    )
    before = await ready(client, spec)
    get(port_of(before), "/ill")
    after = await service_when(
        client, SITE, "sick", lambda view: view.ready and pids(view) != pids(before)
    )
    assert after.replicas[0].status.restarts == 1
    assert (await client.call("sick")).outcome is Outcome.COMPLETED
    await client.delete("sick")


async def test_a_reply_that_is_too_large_is_an_error_and_not_a_crash(client: Client) -> None:
    before = await ready(client, service("big"))
    whole = await client.call("big", path=f"/big?bytes={4 * 2**20 - 1000}")
    assert len(whole.body) == 4 * 2**20 - 1000
    reply = await client.edge(SITE).call(client.request("big", path=f"/big?bytes={5 * 2**20}"))
    assert reply.outcome is Outcome.FAILED
    assert "4194304" in reply.error
    assert reply.may_have_run
    assert (await client.call("big")).outcome is Outcome.COMPLETED
    assert pids(await client.edge(SITE).service("big")) == pids(before)
    await client.delete("big")
