"""Fixed ports of tasks on a real cluster: told, given once, kept over restarts, given back."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator

import pytest
from cluster_at_work import ClusterAtWork, job, tango, until
from test_jobs import log_of

from tango.model.errors import FailedPrecondition, InvalidField, Unavailable
from tango.model.job import JobRecord, JobSpec, JobState, TaskSpec
from tango.model.service import ServiceSpec
from tango.sdk.client import Client

pytestmark = pytest.mark.e2e

SHOW = 'echo "$PORT $PORTS $1"; exec sleep 600'


@pytest.fixture
def ports() -> tuple[int, int]:
    """Two that nobody has."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("", 0))
        other.bind(("", 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture(autouse=True)
async def nothing_left(client: Client) -> AsyncIterator[None]:
    """Whatever the test submits is cancelled after it, and all ports are free again."""
    yield
    jobs, _ = await client.jobs(JobState.PENDING, JobState.SCHEDULED, JobState.RUNNING)
    for one in jobs:
        await client.cancel(one.job_id)

    async def free() -> bool:
        return not any(view.be_ports or view.lc_ports for view in await client.nodes())

    await until(free, "all ports to be free again")


def serves(*ports: int) -> JobSpec:
    return job("/bin/sh", "-c", SHOW, "sh", "at {port}", name="serve", node="a1", ports=ports)


async def runs(client: Client, job_id: str) -> JobRecord:
    async def running() -> bool:
        return (await client.job(job_id)).state is JobState.RUNNING

    await until(running, f"{job_id} to run")
    return await client.job(job_id)


async def test_a_task_is_told_its_ports_and_nobody_else_gets_them(
    cluster: ClusterAtWork, client: Client, ports: tuple[int, int]
) -> None:
    one, other = ports
    first = await client.submit(serves(one, other))
    await runs(client, first.job_id)
    said = f"{one} {one},{other} at {one}"

    async def told() -> bool:
        return said in await log_of(client, first.job_id)

    await until(told, "the task to print its ports")
    second = await client.submit(serves(other))

    async def explained() -> bool:
        return f"has not port {other}" in (await client.job(second.job_id)).reason

    await until(explained, "the second job to say what it waits for")
    state = ("--state", str(cluster.state_dir))
    shown = tango("describe", "node", "a1", *state)
    low, high = sorted(ports)
    assert f"BE has ports {low} and {high}" in shown.stdout
    assert f"port {other}" in tango("describe", "job", second.job_id, *state).stdout
    listed = json.loads(tango("get", "nodes", "-o", "json", *state).stdout)
    assert [view["be_ports"] for view in listed if view["node"] == "a1"] == [[low, high]]
    # A service of that port waits as well.
    site = client.edge("site-a")
    argv = ("/bin/sh", "-c", "exec sleep 600")
    await site.apply_service(ServiceSpec("late", argv, port=one))
    view = await site.service("late")
    assert (
        view.reason == f"no room for 1 replica: a1 port {one} is taken by task {first.job_id}.0.1"
    )
    await client.cancel(first.job_id)
    record = await runs(client, second.job_id)
    assert record.tasks[0].attempt == 1

    async def placed() -> bool:
        return (await site.service("late")).replicas[0].node == "a1"

    await until(placed, "the replica to be placed on the port that is free now")
    third = await client.submit(serves(one))
    await until(lambda: waits(client, third.job_id, one), "a task to wait for the replica's port")
    await site.delete_service("late")
    await runs(client, third.job_id)


async def waits(client: Client, job_id: str, port: int) -> bool:
    return f"port {port}" in (await client.job(job_id)).reason


async def test_ports_stay_taken_when_worker_and_central_master_are_killed(
    cluster: ClusterAtWork, client: Client, ports: tuple[int, int]
) -> None:
    port = ports[0]
    first = await client.submit(serves(port))
    await runs(client, first.job_id)
    for name in ("central", "site-a", "node-a1"):
        cluster.kill(name)
    for name in ("central", "site-a", "node-a1"):
        cluster.start_again(name)

    async def back() -> bool:
        try:
            nodes = await client.nodes()
        except Unavailable:
            return False
        return [(view.ready, view.be_ports) for view in nodes if view.node == "a1"] == [
            (True, (port,))
        ]

    await until(back, "the worker to adopt the task, and all to know its port")
    second = await client.submit(serves(port))
    record = await runs(client, first.job_id)
    assert record.tasks[0].attempt == 1
    assert (await client.job(second.job_id)).state is JobState.PENDING
    await client.cancel(first.job_id)
    await runs(client, second.job_id)


async def test_more_tasks_on_one_port_than_nodes_never_fit_and_bad_ports_are_refused(
    client: Client, ports: tuple[int, int]
) -> None:
    tasks = tuple(TaskSpec(f"t{n}", ("true",), cpu_millis=10, ports=ports[:1]) for n in range(3))
    many = JobSpec("many", tasks)
    why = f"NeverFits: 3 of its tasks have the fixed port {ports[0]}"
    assert (await client.submit(many)).reason.startswith(why)
    with pytest.raises(FailedPrecondition, match=why):
        await client.submit(many, require_fit=True)
    with pytest.raises(InvalidField, match=r"ports\[0\]: 70000 is out of range"):
        await client.submit(serves(70_000))


async def test_a_backup_keeps_the_port_of_its_task(client: Client, ports: tuple[int, int]) -> None:
    port = ports[0]
    argv = ("/bin/sleep", "600")
    first = await client.submit(job(*argv, name="covered", ports=(port,), backup=True))
    record = await runs(client, first.job_id)
    home = record.tasks[0].node

    async def kept() -> bool:
        nodes = [node for edge in await client.edges() for node in edge.nodes]
        found = {node.node: (node.be_ports, node.reserved_ports) for node in nodes}
        others = [found[name] for name in found.keys() - {home}]
        return (found[home], others) == (((port,), ()), [((), (port,))])

    await until(kept, "the port to be kept on the other node")
    second = await client.submit(job(*argv, name="waits", ports=(port,)))
    await until(lambda: waits(client, second.job_id, port), "the second job to wait for the port")
    third = await client.submit(job(*argv, name="bound", ports=(port,), backup=True))
    await until(lambda: waits(client, third.job_id, port), "the third job to wait for the port")
    await client.cancel(third.job_id)
    await client.cancel(first.job_id)
    await runs(client, second.job_id)
