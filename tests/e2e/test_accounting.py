"""What is reported of CPU agrees with what was burned, and the kernel's files with the targets."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import aclosing
from functools import partial
from pathlib import Path

import pytest
from cluster_at_work import (
    SITE,
    ClusterAtWork,
    burner,
    get,
    idle,
    job,
    port_of,
    ready,
    seen,
    service,
    until,
)

from tango.model.cgroup import UNLIMITED
from tango.model.cluster import GroupReport, NodeView
from tango.model.job import JobState
from tango.model.service import QuotaMode
from tango.sdk.client import Client

pytestmark = [pytest.mark.e2e, pytest.mark.alone, pytest.mark.usefixtures("grouped")]

# Burns on two threads, one of them in a child, and says what all of it took.
BURN = """
import os, resource, time
def burn(s):
    while time.process_time() < s: pass
if os.fork() == 0:
    burn(0.8); os._exit(0)
burn(0.8)
os.wait()
used = sum(sum(resource.getrusage(who)[:2]) for who in (-1, 0))
print(used, flush=True)
"""


async def node_after(client: Client, node: str, wall: float) -> NodeView:
    """The node with a report of counters read after that time."""
    found: list[NodeView] = []

    async def reported() -> bool:
        found[:] = [view for view in await client.nodes() if view.node == node]
        report = found[0].report
        return report is not None and report.at_s > wall

    await until(reported, f"a report of {node}")
    return found[0]


async def now(client: Client, node: str) -> NodeView:
    return await node_after(client, node, time.time())


async def test_cpu_of_jobs_agrees_with_what_they_used(client: Client) -> None:
    before = {node: await now(client, node) for node in ("a1", "b1")}
    submitted = await client.submit(job(sys.executable, "-I", "-S", "-c", BURN, cpu_millis=500))
    async with asyncio.timeout(60):
        last = await client.wait(submitted.job_id)
    assert last.state is JobState.SUCCEEDED
    (task,) = last.tasks
    async with aclosing(client.logs(last.job_id)) as chunks:
        used_s = float(b"".join([chunk async for chunk in chunks]))
    assert used_s > 1.5
    after = {node: await now(client, node) for node in ("a1", "b1")}
    reported_s = {
        node: after[node].report.be.cpu_s - before[node].report.be.cpu_s  # type: ignore[union-attr]
        for node in before
    }
    assert reported_s.pop(task.node) == pytest.approx(used_s, rel=0.05)
    assert list(reported_s.values()) == [pytest.approx(0, abs=0.05)], "nothing on the other node"
    assert task.cpu_s == pytest.approx(used_s, rel=0.05)
    counts = (await client.jobs())[1]
    assert counts.cpu_s == pytest.approx(used_s, rel=0.05)


async def test_cpu_of_services_agrees_with_what_they_used(client: Client) -> None:
    await ready(client, burner("burns", "--cpu-ms", "50"))

    async def used_s() -> float:
        stats = json.loads((await client.call("burns", path="/stats")).body)
        return float(stats["process_cpu_s"])

    before, stats_before = await now(client, "a1"), await used_s()
    async with client.calls(SITE) as calls:
        replies = await asyncio.gather(*(calls.call(client.request("burns")) for _ in range(30)))
    burned_s = sum(json.loads(reply.body)["cpu_ms"] for reply in replies) / 1000
    stats_after, after = await used_s(), await now(client, "a1")
    assert before.report is not None
    assert after.report is not None
    reported_s = after.report.lc.cpu_s - before.report.lc.cpu_s
    assert burned_s == pytest.approx(1.5, rel=0.02)
    assert reported_s == pytest.approx(stats_after - stats_before, rel=0.05)
    assert after.report.be.cpu_s - before.report.be.cpu_s == pytest.approx(0, abs=0.02)
    assert after.report.lc.memory_bytes > 5 * 2**20
    assert after.report.mismatches == ()
    await client.delete("burns")


def cpu_controller(cluster: ClusterAtWork, group: str) -> Path:
    """The group's directory with the CPU controller's files, v1 or v2."""
    found = cluster.groups(group)
    return next(path for path in found if any(path.glob("cpu.[cmsw]*")) and "acct" not in str(path))


def quota_millis(cluster: ClusterAtWork, group: str) -> int:
    """A group's quota in the kernel's own file; -1 for none."""
    path = cpu_controller(cluster, group)
    if (path / "cpu.max").exists():
        quota, period = (path / "cpu.max").read_text().replace("max", "-1").split()
    else:
        quota, period = ((path / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    return int(quota) * 1000 // int(period) if int(quota) > 0 else -1


async def test_fact_2_and_3_a_quota_follows_the_requests_in_flight_and_comes_back(
    cluster: ClusterAtWork, client: Client
) -> None:
    """Up before each request is forwarded, by the whole of it; back to the base when idle."""
    spec = service(
        "follows", quota=QuotaMode.FOLLOW, quota_base_millis=100, cpu_per_request_millis=150
    )
    port = port_of(await ready(client, spec))
    replica = "a1/lc/follows/follows-g1-0"
    assert quota_millis(cluster, replica) == 100
    async with client.calls(SITE) as calls:
        for number in range(1, 5):
            calls.start(client.request("follows", path="/gate"))
            await until(partial(arrived, port, number), f"request {number} to arrive")
            # Growth may go further than it must, for each write costs; never beyond the top.
            assert 100 + number * 150 <= quota_millis(cluster, replica) <= 100 + 4 * 150
        assert quota_millis(cluster, replica) == 100 + 4 * 150
        assert quota_millis(cluster, "a1/lc/follows") == 100 + 4 * 150
        (node,) = [view for view in await client.nodes() if view.node == "a1"]
        assert node.lc_held_millis == 4 * 150
        await asyncio.to_thread(get, port, "/open")
        await idle(client, "follows")
    await until(lambda: quota_millis(cluster, replica) == 100, "the quota to come back")
    assert quota_millis(cluster, "a1/lc/follows") == 100
    assert quota_millis(cluster, "a1/lc") == quota_millis(cluster, "a1") == -1
    (node,) = [view for view in await client.nodes() if view.node == "a1"]
    assert node.lc_held_millis == 0
    assert node.report is not None
    assert node.report.mismatches == ()
    await client.delete("follows")


async def arrived(port: int, number: int) -> bool:
    return (await asyncio.to_thread(seen, port))["gated"] == number


async def test_throttling_is_seen_where_a_quota_binds_and_nowhere_else(
    cluster: ClusterAtWork, client: Client
) -> None:
    free = burner("free", "--cpu-ms", "100")
    bound = burner("bound", "--cpu-ms", "100", quota=QuotaMode.FOLLOW, cpu_per_request_millis=200)
    await asyncio.gather(ready(client, free), ready(client, bound))
    free_group, bound_group = "lc/free/free-g1-0", "lc/bound/bound-g1-0"
    before = throttled(cluster, bound_group)
    await asyncio.gather(*(client.call(name, path="/?work=4") for name in ("free", "bound")))
    after = throttled(cluster, bound_group)
    # 400 ms of CPU at 250m of a core; on a busy machine it may hardly get more without a quota.
    assert after[0] > before[0]
    assert after[1] > before[1]
    assert throttled(cluster, free_group) == (0, 0)

    async def reported() -> bool:
        groups = await groups_of(client)
        found = groups[bound_group]
        kernel = throttled(cluster, bound_group)
        return (found.n_throttled, found.throttled_s) == (kernel[0], pytest.approx(kernel[1]))

    await until(reported, "a report with the kernel's counters")
    groups = await groups_of(client)
    assert (groups[free_group].n_throttled, groups[free_group].quota_millis) == (0, UNLIMITED)
    assert groups[bound_group].quota_millis >= 50
    (node,) = [view for view in await client.nodes() if view.node == "a1"]
    assert node.report is not None
    assert node.report.lc.throttled_s >= after[1] - 0.01
    assert node.report.be.throttled_s == 0
    for name in ("free", "bound"):
        await client.delete(name)


def throttled(cluster: ClusterAtWork, group: str) -> tuple[int, float]:
    """(how often, seconds) by the kernel, v1 or v2."""
    stat = dict(
        line.split()
        for path in cluster.groups(f"a1/{group}")
        if (path / "cpu.stat").exists()
        for line in (path / "cpu.stat").read_text().splitlines()
    )
    if "throttled_time" in stat:
        return int(stat["nr_throttled"]), int(stat["throttled_time"]) / 1e9
    return int(stat["nr_throttled"]), int(stat["throttled_usec"]) / 1e6


async def groups_of(client: Client) -> dict[str, GroupReport]:
    """All groups of a1 by name, as last reported."""
    (node,) = [view for view in await client.nodes() if view.node == "a1"]
    assert node.report is not None
    return {group.group: group for group in node.report.groups}


async def test_be_has_the_lowest_weight_that_the_kernel_offers(cluster: ClusterAtWork) -> None:
    for node in ("a1", "b1"):
        be, lc = cpu_controller(cluster, f"{node}/be"), cpu_controller(cluster, f"{node}/lc")
        if (be / "cpu.idle").exists():
            assert (be / "cpu.idle").read_text() == "1\n"
            assert (lc / "cpu.idle").read_text() == "0\n"
        weight = "cpu.shares" if (be / "cpu.shares").exists() else "cpu.weight"
        assert int((be / weight).read_text()) <= 3, "v1's least is 2, an idle group's is shown as 3"
        assert int((lc / weight).read_text()) >= 100
        assert quota_millis(cluster, f"{node}/be") == -1, "weight, no quota"
