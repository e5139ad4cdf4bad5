"""What a restarted worker, supervisor or edge takes over, seen in the kernel and in the logs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from cluster_at_work import (
    SITE,
    ClusterAtWork,
    get,
    job,
    pids,
    port_of,
    ready,
    seen,
    service,
    service_when,
    until,
    wait_for,
)

from tango.model.errors import Unavailable
from tango.model.request import CallReply, Code, Outcome
from tango.model.service import QuotaMode
from tango.sdk.client import Client
from tango.sdk.embedded_ready import listens

pytestmark = pytest.mark.e2e

WORKER, NODE = "node-a1", "a1"
BASE, PER_REQUEST = 100, 150
# Counts aloud, and never stops because of who listens.
COUNT = 'i=0; while [ $i -lt "$0" ]; do echo $i; i=$((i+1)); sleep 0.01; done'


@pytest.fixture(autouse=True)
def daemons_all_there(cluster: ClusterAtWork) -> Iterator[None]:
    yield
    for name in cluster.dead():
        cluster.start_again(name)
        until_it_listens(cluster, name)


def until_it_listens(cluster: ClusterAtWork, name: str) -> None:
    (daemon,) = [daemon for daemon in cluster.daemons() if daemon.name == name]
    wait_for(lambda: listens(daemon.listen), f"{name} to listen")


def quota_millis(cluster: ClusterAtWork, group: str) -> set[int]:
    """What the kernel's file says, of each group below this one that has a quota."""
    found = set()
    for path in cluster.groups(group):
        for file in path.glob("*/cpu.cfs_quota_us"):
            period = int(file.with_name("cpu.cfs_period_us").read_text())
            found.add(int(file.read_text()) * 1000 // period)
        for file in path.glob("*/cpu.max"):
            quota, period = file.read_text().split()
            found.add(-1 if quota == "max" else int(quota) * 1000 // int(period))
    return found


async def test_fact_3_quotas_are_at_base_after_kill_9_of_the_worker(
    grouped: ClusterAtWork, client: Client
) -> None:
    """Calls had raised the quota; who made them is answered, and the new worker knows of none."""
    spec = service(
        "raised",
        quota=QuotaMode.FOLLOW,
        quota_base_millis=BASE,
        cpu_per_request_millis=PER_REQUEST,
    )
    before = await ready(client, spec)
    group = f"{NODE}/lc/raised"
    assert quota_millis(grouped, group) == {BASE}
    async with client.calls(SITE) as calls:
        held = [calls.start(client.request("raised", path="/hold")) for _ in range(2)]
        raised = BASE + 2 * PER_REQUEST
        await until(lambda: quota_millis(grouped, group) == {raised}, "the quota to rise")
        grouped.kill(WORKER)
        assert quota_millis(grouped, group) == {raised}, "the last targets stand"
        async with asyncio.timeout(2):
            lost = await asyncio.gather(*held)
    assert {(one.outcome, one.code, one.may_have_run) for one in lost} == {
        (Outcome.FAILED, Code.UNAVAILABLE, True)
    }
    grouped.start_again(WORKER)
    await until(lambda: quota_millis(grouped, group) == {BASE}, "the quota to fall")
    after = await service_when(client, SITE, "raised", lambda view: view.ready == 1)
    assert pids(after) == pids(before)
    (node,) = await client.edge(SITE).nodes()
    assert (node.lc_held_millis, node.report.mismatches if node.report else ()) == (0, ())
    await client.delete("raised")


async def test_logs_are_unbroken_by_the_death_of_worker_and_supervisor(
    cluster: ClusterAtWork, client: Client
) -> None:
    lines = 150
    submitted = await client.submit(job("/bin/sh", "-c", COUNT, str(lines), name="count"))

    async def is_running() -> bool:
        return bool((await client.job(submitted.job_id)).tasks[0].started_at)

    await until(is_running, "the job to begin")
    (task,) = (await client.job(submitted.job_id)).tasks
    cluster.kill_supervisor(task.node)
    await asyncio.sleep(0.3)
    cluster.kill(f"node-{task.node}")
    await asyncio.sleep(0.3)
    cluster.start_again(f"node-{task.node}")
    async with asyncio.timeout(30):
        last = await client.wait(submitted.job_id)
    assert (last.tasks[0].exit_code, last.tasks[0].attempt) == (0, 1)
    async with aclosing(client.logs(submitted.job_id)) as chunks:
        said = b"".join([chunk async for chunk in chunks]).decode().split()
    assert said == [str(number) for number in range(lines)], "each line once, in order"


async def test_a_restarted_edge_has_its_workers_back_and_nobody_hangs(
    cluster: ClusterAtWork, client: Client
) -> None:
    await ready(client, service("edgy", replicas=1))
    view = await client.edge(SITE).service("edgy")
    async with client.calls(SITE) as calls:
        held = [calls.start(client.request("edgy", path="/hold")) for _ in range(4)]
        unary = asyncio.create_task(client.edge(SITE).call(client.request("edgy", path="/gate")))
        port = port_of(view)

        async def arrived() -> bool:
            counts = await asyncio.to_thread(seen, port)
            return counts["held"] + counts["gated"] >= 4

        await until(arrived, "the calls to arrive")
        cluster.kill(SITE)
        killed = time.monotonic()
        answers = await asyncio.wait_for(asyncio.gather(*held, unary, return_exceptions=True), 5)
        took_s = time.monotonic() - killed
    assert took_s < 1.0, "an error at once, not at the call's timeout of 20 s"
    for answer in answers:
        if isinstance(answer, CallReply):
            assert answer.code is Code.UNAVAILABLE
        else:
            assert isinstance(answer, Unavailable)
    cluster.start_again(SITE)
    until_it_listens(cluster, SITE)
    started = time.monotonic()

    async def back() -> bool:
        with contextlib.suppress(Unavailable):
            nodes = await client.edge(SITE).nodes()
            return all(node.ready for node in nodes) and bool(nodes)
        return False

    await until(back, "the worker to be back")
    assert time.monotonic() - started < 5.0
    await asyncio.to_thread(get, port, "/open")
    await client.delete("edgy")


async def test_a_replica_is_started_again_while_edge_and_worker_were_away(
    cluster: ClusterAtWork, client: Client
) -> None:
    """The worker goes by the edge's last word, which it has kept."""
    before = await ready(client, service("lonely", replicas=1))
    (pid,) = pids(before)
    replica_id = before.replicas[0].status.replica_id
    cluster.kill(SITE)
    cluster.kill(WORKER)
    psutil.Process(pid).kill()
    cluster.start_again(WORKER)
    kept = cluster.state_dir / WORKER / "targets"
    assert (kept.stat().st_mode & 0o777) == 0o600
    await until(lambda: processes_of_replica(replica_id), "another process", 15)
    (again,) = processes_of_replica(replica_id)
    cluster.start_again(SITE)
    until_it_listens(cluster, SITE)
    after = await service_when(client, SITE, "lonely", lambda view: view.ready == 1)
    assert pids(after) == {again}
    assert (await client.call("lonely")).code is Code.OK
    await client.delete("lonely")


def processes_of_replica(replica_id: str) -> set[int]:
    """Live processes that were started for it."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environ = (path / "environ").read_bytes().split(b"\0")
            if any(e.startswith(f"TANGO_ATTEMPT={replica_id}.".encode()) for e in environ):
                found.add(int(path.name))
    return found


async def test_a_zombie_is_not_adopted(cluster: ClusterAtWork, client: Client) -> None:
    """Its parent, the supervisor's successor, is not there to reap it: it is dead all the same."""
    before = await ready(client, service("undead", replicas=1))
    (pid,) = pids(before)
    cluster.kill(WORKER)
    supervisor = psutil.Process(pid).parent()
    assert supervisor is not None
    supervisor.suspend()
    psutil.Process(pid).kill()
    await until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "a zombie")
    supervisor.kill()
    cluster.start_again(WORKER)
    after = await service_when(
        client, SITE, "undead", lambda view: view.ready and pids(view) != pids(before)
    )
    assert len(pids(after)) == 1
    await client.delete("undead")


async def test_payload_of_a_supervisor_that_lost_its_records_is_ended_in_the_open(
    grouped: ClusterAtWork, client: Client
) -> None:
    """Nothing runs unowned: what no record accounts for is found by its group, ended, and said."""
    before = await ready(client, service("amnesia", replicas=1))
    (pid,) = pids(before)
    grouped.kill(WORKER)
    grouped.kill_supervisor(NODE)
    for record in (grouped.state_dir / WORKER / "supervisor" / "runs").iterdir():
        record.unlink()
    process = psutil.Process(pid)
    assert process.is_running()
    grouped.start_again(WORKER)
    after = await service_when(
        client, SITE, "amnesia", lambda view: view.ready and pids(view) != pids(before)
    )
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert len(pids(after)) == 1
    assert any(pid in line["pids"] for line in grouped.events(WORKER, "orphans killed"))
    await client.delete("amnesia")
