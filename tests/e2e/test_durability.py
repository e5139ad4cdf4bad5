"""`kill -9` of each daemon in turn: what was acknowledged stays, and what runs goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from cluster_at_work import (
    SITE,
    ClusterAtWork,
    job,
    pids,
    ready,
    seen,
    service,
    service_when,
    until,
)

from tango.model.errors import TangoError, Unavailable
from tango.model.job import JobState
from tango.model.request import CallReply, Code, Outcome
from tango.sdk.client import Client

pytestmark = pytest.mark.e2e

# Says that it begins, waits until it may go on, and fails in its own way.
WAIT = 'echo x >> "$1"; echo begun; until [ -e "$0" ]; do sleep 0.02; done; exit 7'
APPEND = 'echo "$ID" >> "$0"'


@pytest.fixture(autouse=True)
def daemons_all_there(cluster: ClusterAtWork) -> Iterator[None]:
    """Whatever a test has killed is started again after it."""
    yield
    for name in cluster.dead():
        cluster.start_again(name)


async def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


async def back(cluster: ClusterAtWork, name: str) -> None:
    """Start a killed daemon again; it listens when this returns."""
    cluster.start_again(name)
    (daemon,) = [daemon for daemon in cluster.daemons() if daemon.name == name]
    await until(lambda: listens(daemon.listen), f"{name} to listen")


async def central_back(cluster: ClusterAtWork, client: Client) -> None:
    """And the client's channel has noticed: it dials again after at most 2 s."""
    await back(cluster, "central")

    async def answers() -> bool:
        with contextlib.suppress(Unavailable):
            await client.jobs(limit=1)
            return True
        return False

    await until(answers, "central to answer")


async def answered(client: Client, site: str, name: str, within_s: float) -> CallReply:
    """The first answer of a replica of this site: what may not be there yet is asked again."""
    end = asyncio.get_running_loop().time() + within_s
    while True:
        reply = await client.edge(site).call(client.request(name))
        # While this site has none, its neighbour answers.
        if reply.code is Code.OK and not reply.site:
            return reply
        late = asyncio.get_running_loop().time() > end
        assert not late, f"{reply.error}; {await client.services()}"
        await asyncio.sleep(0.02)


async def test_no_acknowledged_job_is_lost_with_central_and_none_runs_twice(
    cluster: ClusterAtWork, client: Client, tmp_path: Path
) -> None:
    """Three times: many submits at once, and central dies the moment that some are acknowledged."""
    ran = tmp_path / "ran"
    acknowledged: dict[str, str] = {}
    tried: list[str] = []

    async def submit(name: str) -> None:
        spec = job("/bin/sh", "-c", APPEND, str(ran), name="kept", env=(("ID", name),))
        with contextlib.suppress(TangoError):
            acknowledged[name] = (await client.submit(spec, submission_id=name)).job_id

    for round_ in range(3):
        names = [f"job-{round_}-{number}" for number in range(40)]
        tried += names
        enough = len(acknowledged) + 10 * (round_ + 1)
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(submit(name))
            while len(acknowledged) < enough:
                await asyncio.sleep(0)
            cluster.kill("central")
        await central_back(cluster, client)
        known = {record.submission_id: record for record in (await client.jobs(limit=1000))[0]}
        assert set(acknowledged) <= set(known), "acknowledged, and lost"
        assert all(known[name].job_id == job_id for name, job_id in acknowledged.items())
    # What a client does that got no answer: the same submission once more.
    for name in tried:
        spec = job("/bin/sh", "-c", APPEND, str(ran), name="kept", env=(("ID", name),))
        again = await client.submit(spec, submission_id=name)
        assert again.job_id == acknowledged.setdefault(name, again.job_id)
    async with asyncio.timeout(60):
        ended = await asyncio.gather(*(client.wait(job_id) for job_id in acknowledged.values()))
    assert [record for record in ended if record.state is not JobState.SUCCEEDED] == []
    assert Counter(ran.read_text().split()) == dict.fromkeys(tried, 1), "each ran exactly once"


@pytest.mark.parametrize("away", ["central", "edge"])
async def test_a_job_runs_on_while_its_masters_are_away(
    cluster: ClusterAtWork, client: Client, tmp_path: Path, away: str
) -> None:
    go, starts = tmp_path / "go", tmp_path / "starts"
    submitted = await client.submit(job("/bin/sh", "-c", WAIT, str(go), str(starts)))
    await until(starts.exists, "the job to begin")
    (task,) = (await client.job(submitted.job_id)).tasks
    if away == "central":
        cluster.kill("central")
        with pytest.raises(Unavailable):
            await client.job(submitted.job_id)
    else:
        cluster.kill(task.edge)
    groups = cluster.groups(f"{task.node}/be/{task.attempt_id}")
    go.touch()  # it ends while nobody is there to be told
    await until(lambda: not any((g / "cgroup.procs").read_text() for g in groups), "its end")
    if away == "central":
        await central_back(cluster, client)
    else:
        await back(cluster, task.edge)
    async with asyncio.timeout(30):
        last = await client.wait(submitted.job_id)
    assert (last.state, last.reason) == (JobState.FAILED, "exit code 7")
    assert starts.read_text() == "x\n"


async def test_services_outlive_their_edge(cluster: ClusterAtWork, client: Client) -> None:
    spec = service("lasting", replicas=2)
    before = await ready(client, spec)
    async with client.calls(SITE) as calls:
        held = calls.start(client.request("lasting", path="/hold"))
        port = {replica.status.port for replica in before.replicas}
        await until(
            lambda: asyncio.to_thread(lambda: sum(seen(each)["held"] for each in port)),
            "the call to arrive",
        )
        cluster.kill(SITE)
        async with asyncio.timeout(10):
            lost = await held
    assert (lost.outcome, lost.code, lost.may_have_run) == (
        Outcome.FAILED,
        Code.UNAVAILABLE,
        True,
    )
    assert all(map(psutil.pid_exists, pids(before)))
    await back(cluster, SITE)
    reply = await answered(client, SITE, "lasting", within_s=5)
    assert json.loads(reply.body)["pid"] in pids(before), "the same process answers"
    after = await service_when(client, SITE, "lasting", lambda view: view.ready == 2)
    assert (after.spec, after.generation) == (before.spec, before.generation)
    assert pids(after) == pids(before)
    assert all(replica.status.restarts == 0 for replica in after.replicas)
    await client.delete("lasting")


@pytest.mark.parametrize("while_away", [False, True])
async def test_a_worker_comes_back_to_what_it_ran(
    cluster: ClusterAtWork, client: Client, tmp_path: Path, while_away: bool
) -> None:
    """Replicas and tasks are adopted, and what ended meanwhile is told with its true exit code."""
    before = await client.apply(service("adopted"), wait_s=30)
    go, starts = tmp_path / "go", tmp_path / "starts"
    submitted = await client.submit(job("/bin/sh", "-c", WAIT, str(go), str(starts)))
    await until(starts.exists, "the job to begin")
    (task,) = (await client.job(submitted.job_id)).tasks
    begun = asyncio.Event()
    following = asyncio.create_task(follow_log(client, submitted.job_id, begun))
    await begun.wait()
    groups = cluster.groups(f"{task.node}/be/{task.attempt_id}")
    (view,) = [view for view in before if view.edge == task.edge]
    cluster.kill(f"node-{task.node}")
    with pytest.raises(Unavailable, match="cut off"):
        async with asyncio.timeout(10):
            await following
    assert all(map(psutil.pid_exists, pids(view)))
    assert all((group / "cgroup.procs").read_text() for group in groups)
    if while_away:
        go.touch()
        await until(lambda: not any((g / "cgroup.procs").read_text() for g in groups), "its end")
    await back(cluster, f"node-{task.node}")
    reply = await answered(client, task.edge, "adopted", within_s=10)
    assert {json.loads(reply.body)["pid"]} == pids(view)
    after = await service_when(client, task.edge, "adopted", lambda view: view.ready == 1)
    assert pids(after) == pids(view)
    assert after.replicas[0].status.restarts == 0
    go.touch()
    async with asyncio.timeout(30):
        last = await client.wait(submitted.job_id)
    assert (last.state, last.reason) == (JobState.FAILED, "exit code 7")
    assert last.tasks[0].attempt == 1
    assert starts.read_text() == "x\n", "adopted, not started again"
    await until(lambda: not any(path.exists() for path in groups), "its group to go")
    await client.delete("adopted")


async def follow_log(client: Client, job_id: str, begun: asyncio.Event) -> None:
    async with aclosing(client.logs(job_id, follow=True)) as chunks:
        async for _ in chunks:
            begun.set()


async def test_a_supervisor_that_is_killed_is_replaced_under_its_payload(
    cluster: ClusterAtWork, client: Client, tmp_path: Path
) -> None:
    """The worker lives on and starts another one: same processes, true exit codes, whole logs."""
    go, starts = tmp_path / "go", tmp_path / "starts"
    (view,) = await client.apply(service("kept"), sites=[SITE], wait_s=30)
    submitted = await client.submit(job("/bin/sh", "-c", WAIT, str(go), str(starts)))
    await until(starts.exists, "the job to begin")
    (task,) = (await client.job(submitted.job_id)).tasks
    workers = {node: cluster.pid(f"node-{node}") for node in ("a1", "b1")}
    for node in workers:
        cluster.kill_supervisor(node)
    for node in workers:
        await until(
            lambda node=node: cluster.events(f"node-{node}", "supervisor_up"),
            "another supervisor",
            5.0,
        )
    reply = await answered(client, SITE, "kept", within_s=5)
    assert {json.loads(reply.body)["pid"]} == pids(view)
    go.touch()
    async with asyncio.timeout(30):
        last = await client.wait(submitted.job_id)
    assert (last.state, last.reason) == (JobState.FAILED, "exit code 7")
    assert (last.tasks[0].attempt, starts.read_text()) == (1, "x\n")
    assert {node: cluster.pid(f"node-{node}") for node in workers} == workers
    assert cluster.dead() == []
    assert len(cluster.events(f"node-{task.node}", "supervisor_down")) == 1
    (up,) = cluster.events(f"node-{task.node}", "supervisor_up")
    assert (up["renewed"], up["lost"]) == (True, 0)
    assert up["adopted"] >= 1
    await client.delete("kept")


async def test_a_replica_that_dies_with_its_supervisor_is_replaced(
    cluster: ClusterAtWork, client: Client
) -> None:
    """kill -9 of worker and supervisor, then of the replica: nobody saw it end."""
    before = await ready(client, service("orphan"))
    cluster.kill("node-a1")
    cluster.kill_supervisor("a1")
    (pid,) = pids(before)
    psutil.Process(pid).kill()
    await back(cluster, "node-a1")
    after = await service_when(
        client, SITE, "orphan", lambda view: view.ready and pids(view) != pids(before)
    )
    assert (await client.call("orphan")).outcome is Outcome.COMPLETED
    assert len(pids(after)) == 1
    await client.delete("orphan")
