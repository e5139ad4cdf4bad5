"""What operators do and what breaks, on a real cluster: rolls, cordons, drains, a node's death."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from cluster_at_work import (
    SITE,
    ClusterAtWork,
    job,
    pids,
    ready,
    running,
    service,
    service_when,
    until,
)

from tango.model.cluster import NodeView
from tango.model.job import JobRecord, JobState
from tango.model.request import CallReply, Code
from tango.model.service import ReplicaState
from tango.model.views import ServiceView
from tango.sdk.client import Client

pytestmark = pytest.mark.e2e

# Says which attempt it is, and runs on until it may end.
RUN = 'echo "$0" >> "$1.runs"; trap "exit 9" TERM; until [ -e "$1" ]; do sleep 0.02; done'


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterAtWork]:
    """One site with two nodes."""
    state = tmp_path_factory.mktemp("life") / "state"
    with running(state, sites=1, workers_per_site=2) as cluster:
        yield cluster


async def node(client: Client, name: str) -> NodeView:
    return next(view for view in await client.nodes() if view.node == name)


async def load_while(client: Client, name: str, work: asyncio.Task[None]) -> list[CallReply]:
    """Calls of 20 ms each, four at a time, until the work is done and a little longer."""
    replies: list[CallReply] = []

    async def caller() -> None:
        while not work.done():
            replies.append(await client.send(client.request(name, path="/wait?ms=20")))

    await asyncio.gather(*(caller() for _ in range(4)), work)
    return replies


def only_new(view: ServiceView) -> bool:
    return view.ready == view.spec.replicas and all(
        one.status.generation == view.generation for one in view.replicas
    )


async def test_a_rolling_update_under_load_loses_no_request(client: Client) -> None:
    spec = service("rolled", replicas=2)
    before = await ready(client, spec)

    async def update() -> None:
        changed = replace(spec, env=(("VERSION", "2"),))
        await client.apply(changed, sites=[SITE], wait_s=30)

    replies = await load_while(client, "rolled", asyncio.create_task(update()))
    ends = Counter(reply.code for reply in replies)
    assert ends.keys() == {Code.OK}, ends
    assert len({reply.replica for reply in replies}) > 2, "old and new ones have served"
    after = await service_when(client, SITE, "rolled", only_new)
    assert (after.generation, len(after.replicas), after.reason) == (before.generation + 1, 2, "")
    old = pids(before)
    await until(lambda: not any(map(psutil.pid_exists, old)), "the old replicas to go")

    broken = replace(spec, argv=("/bin/false",))
    await client.apply(broken, sites=[SITE])
    stuck = await service_when(
        client,
        SITE,
        "rolled",
        lambda view: any(one.status.state is ReplicaState.BACKOFF for one in view.replicas),
    )
    assert stuck.ready == 2
    assert "rolling update to generation 3: 0 of 2 ready; waits for" in stuck.reason
    assert (await client.call("rolled")).http_status == 200
    await client.delete("rolled")


async def test_a_drain_moves_a_replica_and_a_task(
    cluster: ClusterAtWork, client: Client, tmp_path: Path
) -> None:
    await ready(client, service("moved", replicas=2))
    gate = tmp_path / "gate"
    jobs: list[JobRecord] = []
    places: dict[str, str] = {}
    # The node that services used last comes second: until both have some. One node takes them all.
    async with asyncio.timeout(30):
        while len(jobs) < 4 or set(places.values()) != {"a1", "a2"}:
            assert len(jobs) < 12, places
            run = job("/bin/sh", "-c", RUN, str(len(jobs)), str(gate), stop_grace_s=5.0)
            jobs.append(await client.submit(run))
            async for one in client.watch(jobs[-1].job_id):
                if one.state is JobState.RUNNING:
                    places[one.job_id] = one.tasks[0].node
                    break

    async def drain() -> None:
        done = await asyncio.to_thread(cluster.cli, "drain", "a1", "--grace", "2")
        assert done.returncode == 0, done.stderr
        assert "node a1 is drained" in done.stdout
        assert " on a2" in done.stdout

    replies = await load_while(client, "moved", asyncio.create_task(drain()))
    assert {reply.code for reply in replies} == {Code.OK}
    drained = await node(client, "a1")
    assert (drained.cordoned, drained.replicas, drained.be_tasks) == (True, 0, 0)
    gate.touch()
    async with asyncio.timeout(20):
        for submitted in jobs:
            (task,) = (await client.wait(submitted.job_id)).tasks
            was_there = places[submitted.job_id] == "a1"
            assert (task.state, task.node) == (JobState.SUCCEEDED, "a2")
            assert (task.evictions, task.failures) == (int(was_there), 0)

    stays = [view async for view in client.drain("a2")][-1]
    assert (stays.done, stays.stuck) == (False, True)
    left = [item for item in stays.items if not item.moved]
    assert [item.kind for item in left] == ["replica", "replica"]
    assert all("no room" in item.detail for item in left)
    await client.uncordon("a1")
    await service_when(
        client, SITE, "moved", lambda view: {one.node for one in view.replicas} == {"a1"}
    )
    assert not (await client.uncordon("a2")).cordoned
    await client.delete("moved")


async def test_the_work_of_a_node_that_dies_goes_elsewhere_and_comes_back_with_it(
    cluster: ClusterAtWork, client: Client, tmp_path: Path
) -> None:
    await ready(client, service("kept", replicas=2))
    gate = tmp_path / "gate"
    submitted = await client.submit(job("/bin/sh", "-c", RUN, "x", str(gate)))
    async with asyncio.timeout(20):
        async for one in client.watch(submitted.job_id):
            if one.state is JobState.RUNNING:
                break
    (task,) = (await client.job(submitted.job_id)).tasks
    dead, other = task.node, "a2" if task.node == "a1" else "a1"
    loop = asyncio.get_running_loop()
    killed_at = loop.time()
    cluster.kill(f"node-{dead}")
    cluster.kill_supervisor(dead)
    payload = [*replica_pids(await client.services(), dead), *job_pids(gate)]
    for pid in payload:
        psutil.Process(pid).kill()

    async def moved() -> bool:
        (task,) = (await client.job(submitted.job_id)).tasks
        return (task.state, task.node) == (JobState.RUNNING, other)

    # 3 s of silence, 5 s for a worker that may come back, and what this machine needs besides.
    await until(moved, "the job to run elsewhere", 20)
    assert loop.time() - killed_at < 15
    view = await service_when(client, SITE, "kept", lambda view: view.ready == 2)
    assert {one.node for one in view.replicas} == {other}
    assert (await node(client, dead)).dead
    (task,) = (await client.job(submitted.job_id)).tasks
    assert (task.moved, task.losses, task.failures) == (f"node {dead} lost", 1, 0)
    assert "node " + dead + " lost" in cluster.cli("describe", "job", submitted.job_id).stdout

    cluster.start_again(f"node-{dead}")

    async def is_back() -> bool:
        return (await node(client, dead)).ready

    await until(is_back, "the node to come back")
    gate.touch()
    last = await client.wait(submitted.job_id)
    assert last.state is JobState.SUCCEEDED
    assert Path(f"{gate}.runs").read_text().splitlines() == ["x", "x"], "once on each node"

    async def nothing_left() -> bool:
        view = await node(client, dead)
        return not view.replicas and not view.be_tasks

    await until(nothing_left, "the node to have nothing")
    # Once the node has been quiet for a while it gets its share again, and no call is lost for it.
    shared = asyncio.create_task(until_on_both(client))
    replies = await load_while(client, "kept", shared)
    assert {reply.code for reply in replies} == {Code.OK}
    told = cluster.cli("explain", "kept").stdout
    assert f" moves from {other} to {dead}, as kept-g1-" in told, told
    assert f": node {dead} returned" in told
    assert " gave it " in told
    assert f"{dead}: dead" in told, "why its replica went to the other node"
    await client.delete("kept")


async def until_on_both(client: Client) -> None:
    """The service has a replica on each node, and both are ready."""
    await service_when(
        client,
        SITE,
        "kept",
        lambda view: (
            view.ready == len(view.replicas) == 2 and len({one.node for one in view.replicas}) == 2
        ),
    )


def replica_pids(views: tuple[ServiceView, ...], where: str) -> list[int]:
    return [one.status.pid for view in views for one in view.replicas if one.node == where]


def job_pids(gate: Path) -> list[int]:
    """The shells that run the job; there is only the one attempt."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"] and str(gate) in process.info["cmdline"]
    ]
