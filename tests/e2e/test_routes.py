"""Published routes in a running cluster: followed, leased, in the cgroup, and in files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from cluster_at_work import SITE, ClusterAtWork, idle, pids, ready, seen, service, until

from tango.model.request import Code, Outcome
from tango.model.service import QuotaMode
from tango.sdk.call_failed import CallFailed
from tango.sdk.client import Client
from tango.sdk.follow import Followed
from tango.sdk.sync_client import SyncClient

pytestmark = pytest.mark.e2e


def quota_millis(cluster: ClusterAtWork, name: str) -> int:
    """Of a service's group on its node, as the kernel has it."""
    for group in cluster.groups(f"a1/lc/{name}"):
        v1, v2 = group / "cpu.cfs_quota_us", group / "cpu.max"
        if v1.exists():
            quota = int(v1.read_text())
            return round(quota * 1000 / int((group / "cpu.cfs_period_us").read_text()))
        if v2.exists():
            quota_us, period_us = v2.read_text().split()
            return round(int(quota_us) * 1000 / int(period_us))
    raise AssertionError(f"no group of {name} has a quota")


def slots(followed: Followed) -> int:
    """Of all replicas, as its table stands; 0 where its lease is over."""
    table = followed.table
    return 0 if table is None else sum(route.slots for route in table.routes)


async def test_calls_go_straight_to_replicas_and_count_at_the_edge(client: Client) -> None:
    view = await ready(client, service("direct", replicas=2, concurrency=8))
    async with client.follow("direct", site=SITE) as direct:
        replies = [await direct.call(path="/x") for _ in range(20)]
        assert {reply.outcome for reply in replies} == {Outcome.COMPLETED}
        assert {reply.http_status for reply in replies} == {200}
        assert direct.direct > 0
        echoed = await direct.call(path="/echo", body=b"some bytes")
        assert echoed.body == b"some bytes"

        async def counted() -> bool:
            counts = (await client.edge(SITE).service("direct")).counts
            return counts.sent == counts.completed == 21

        await until(counted, "the edge to count what it did not carry")
        both = {replica.status.replica_id for replica in view.replicas}

        async def spread() -> bool:
            """Many at once get slots for all of them, at both replicas."""
            many = await asyncio.gather(*(direct.call(path="/wait?ms=200") for _ in range(8)))
            assert {reply.code for reply in many} == {Code.OK}
            return slots(direct) >= 8 and {reply.replica for reply in many} == both

        await until(spread, "slots for eight calls")
    await idle(client, "direct")


async def test_a_killed_replica_disappears_and_no_call_is_lost(client: Client) -> None:
    view = await ready(client, service("mortal", replicas=2, concurrency=8, idempotent=True))
    async with client.follow("mortal", site=SITE) as mortal:
        stop = asyncio.Event()
        replies = []

        async def calling() -> None:
            while not stop.is_set():
                replies.append(await mortal.call(path="/x"))

        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(calling())
            await until(lambda: mortal.direct > 10, "direct calls")
            victim = view.replicas[0].status
            os.kill(victim.pid, signal.SIGKILL)

            def gone() -> bool:
                table = mortal.table
                # Started again, it has another port.
                at = {r.replica: r.port for r in table.routes} if table is not None else None
                return at is not None and at.get(victim.replica_id) != victim.port

            await until(gone, "a table without it")
            stop.set()
        assert {reply.http_status for reply in replies} == {200}
        assert len({reply.replica for reply in replies}) == 2


async def test_a_rolling_update_loses_no_direct_call(client: Client) -> None:
    await ready(client, service("rolled", concurrency=8))
    async with client.follow("rolled", site=SITE) as rolled:
        stop = asyncio.Event()
        replies = []

        async def calling() -> None:
            while not stop.is_set():
                # POST: the client may not repeat it by itself.
                replies.append(await rolled.call(path="/echo", body=b"x"))

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(calling())
            await until(lambda: rolled.direct > 10, "direct calls")
            view = await ready(client, service("rolled", concurrency=8, env=(("NEW", "1"),)))
            (new,) = view.replicas
            asked = len(replies)
            await until(
                lambda: new.status.replica_id in {reply.replica for reply in replies[asked:]},
                "calls to the new replica",
            )
            stop.set()
        assert {reply.outcome for reply in replies} == {Outcome.COMPLETED}


async def test_quotas_follow_direct_load_and_fall_when_followers_go(
    grouped: ClusterAtWork, client: Client
) -> None:
    spec = service(
        "metered", concurrency=10, quota=QuotaMode.FOLLOW, quota_base_millis=100,
        cpu_per_request_millis=50,
    )  # fmt: skip
    await ready(client, spec)
    await until(lambda: quota_millis(grouped, "metered") == 100, "the base")
    async with client.follow("metered", site=SITE) as metered:

        async def loaded() -> bool:
            await asyncio.gather(*(metered.call(path="/wait?ms=200") for _ in range(4)))
            # The share stands, though nothing is under way now.
            share = slots(metered)
            return share >= 4 and quota_millis(grouped, "metered") >= 100 + 50 * share

        await until(loaded, "a quota for four requests")
    await until(lambda: quota_millis(grouped, "metered") == 100, "the base again")


async def test_a_follower_that_is_killed_leaves_nothing_set_aside(
    grouped: ClusterAtWork, client: Client
) -> None:
    await ready(client, service("orphaned", concurrency=10, quota=QuotaMode.FOLLOW))
    base = quota_millis(grouped, "orphaned")
    command = ["routes", "orphaned", "--site", SITE, "--share", "6", "--format", "json"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tango.cli.main", *command,
        env={**os.environ, "TANGO_STATE": str(grouped.state_dir)},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        share = 0
        async with asyncio.timeout(30):
            while share < 6:
                table = json.loads(await process.stdout.readline())
                share = sum(route["slots"] for route in table["routes"])
        await until(lambda: quota_millis(grouped, "orphaned") == base + 6 * 50, "its share")
        (node,) = [node for node in await client.nodes() if node.edge == SITE]
        assert node.lc_held_millis >= 300
    finally:
        process.kill()
        await process.wait()
    await until(lambda: quota_millis(grouped, "orphaned") == base, "the lease to run out")


async def test_calls_are_carried_where_nothing_is_published(client: Client) -> None:
    await ready(client, service("single", concurrency=1))
    async with client.follow("single", site=SITE) as single:
        table = single.table
        assert table is None or "the edge carries" in table.reason
        reply = await single.call(path="/x")
        assert (reply.http_status, single.direct, single.carried) == (200, 0, 1)


async def test_an_edge_that_dies_is_survived(cluster: ClusterAtWork, client: Client) -> None:
    view = await ready(client, service("lasting", concurrency=8))
    async with client.follow("lasting", site=SITE) as lasting:
        first = lasting.table
        assert first is not None
        await lasting.call(path="/x")
        cluster.kill(SITE)
        try:
            await lasting.call(path="/x")
        except CallFailed:
            assert lasting.table is None, "calls need no edge while the lease lasts"
        cluster.start_again(SITE)

        def renewed() -> bool:
            table = lasting.table
            return (
                table is not None and table.incarnation > first.incarnation and bool(table.routes)
            )

        await until(renewed, "routes of the new edge")

        async def direct_again() -> bool:
            before = lasting.direct
            with contextlib.suppress(Exception):
                await lasting.call(path="/x")
            return lasting.direct > before

        await until(direct_again, "a direct call")
    assert pids(view) == pids(await client.edge(SITE).service("lasting"))


def test_the_synchronous_face(cluster: ClusterAtWork) -> None:
    with SyncClient(cluster.state_dir) as client:
        client.apply(service("plain", concurrency=8), sites=[SITE], wait_s=30)
        with client.follow("plain", site=SITE) as plain:
            assert plain.call(path="/x").http_status == 200
            assert plain.table is not None
        tables = client.watch_routes("plain", site=SITE)
        assert next(tables).routes[0].slots == 0
        tables.close()  # type: ignore[attr-defined]


async def test_files_for_proxies(cluster: ClusterAtWork, client: Client, tmp_path: Path) -> None:
    view = await ready(client, service("fronted", concurrency=8))
    port = view.replicas[0].status.port
    path = tmp_path / "fronted.conf"
    words = ("routes", "fronted", "--site", SITE)

    done = await asyncio.to_thread(cluster.cli, *words, "--format", "nginx", "--write", str(path))
    assert done.returncode == 0, done.stderr
    assert f"server 127.0.0.1:{port} weight=" in path.read_text()
    await ready(client, service("alone", concurrency=1))
    none = await asyncio.to_thread(
        cluster.cli, "routes", "alone", "--format", "nginx", "--write", str(path)
    )
    assert none.returncode == 1
    assert "no route to alone" in none.stderr
    # What was there is better than nothing.
    assert "upstream fronted" in path.read_text()
    assert seen(port)["held"] == 0
