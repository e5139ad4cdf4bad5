"""Tasks with whole cores on a real cluster: pinned, accounted by id, given back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from cluster_at_work import ClusterAtWork, job, tango, until
from test_jobs import log_of

from tango.model.cluster import NodeView
from tango.model.cores import format_cores
from tango.model.errors import FailedPrecondition, Unavailable
from tango.model.job import JobRecord, JobSpec, JobState
from tango.sdk.client import Client

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("grouped")]

SHOW = "grep Cpus_allowed_list /proc/self/status; exec sleep 600"


@pytest.fixture
async def node(client: Client) -> AsyncIterator[NodeView]:
    """A node that has cores for tasks; whatever the test submits is cancelled after it."""
    views = await client.nodes()
    with_cores = [view for view in views if view.cores]
    if not with_cores:
        notes = "; ".join(f"{view.node}: {view.cores_note}" for view in views)
        pytest.skip(f"no node has cores for tasks here: {notes}")
    yield with_cores[0]
    jobs, _ = await client.jobs(JobState.PENDING, JobState.SCHEDULED, JobState.RUNNING)
    for one in jobs:
        await client.cancel(one.job_id)

    async def free() -> bool:
        return not any(view.be_cores for view in await client.nodes())

    await until(free, "all cores to be free again")


def pinned(node: NodeView) -> JobSpec:
    """For the node's first core. It takes little CPU: embedded nodes have less than a core's."""
    return job("/bin/sh", "-c", SHOW, name="pin", node=node.node, cpuset=node.cores[:1])


async def runs(client: Client, job_id: str) -> JobRecord:
    async def running() -> bool:
        return (await client.job(job_id)).state is JobState.RUNNING

    await until(running, f"{job_id} to run")
    return await client.job(job_id)


async def taken(client: Client, node: NodeView) -> tuple[int, ...]:
    (found,) = [view for view in await client.nodes() if view.node == node.node]
    return found.be_cores


async def test_a_task_sees_the_core_that_it_was_given_and_nobody_else_gets_it(
    cluster: ClusterAtWork, client: Client, node: NodeView
) -> None:
    core = node.cores[:1]
    first = await client.submit(pinned(node))
    (task,) = (await runs(client, first.job_id)).tasks
    assert (task.node, task.cores) == (node.node, core)

    async def told() -> bool:
        return "Cpus_allowed_list" in await log_of(client, first.job_id)

    await until(told, "the task to print its cores")
    said = (await log_of(client, first.job_id)).split()
    assert said == ["Cpus_allowed_list:", format_cores(core)]
    files = [path / "cpuset.cpus" for path in cluster.groups(f"{node.node}/be/{task.attempt_id}")]
    assert [file.read_text().strip() for file in files if file.exists()] == [format_cores(core)]
    assert await taken(client, node) == core

    second = await client.submit(pinned(node))

    async def explained() -> bool:
        return f"has not core {format_cores(core)}" in (await client.job(second.job_id)).reason

    await until(explained, "the second job to say what it waits for")
    await client.cancel(first.job_id)
    (task,) = (await runs(client, second.job_id)).tasks
    assert task.cores == core


async def test_cores_stay_booked_when_worker_and_central_master_are_killed(
    cluster: ClusterAtWork, client: Client, node: NodeView
) -> None:
    core = node.cores[:1]
    first = await client.submit(pinned(node))
    await runs(client, first.job_id)
    cluster.kill("central")
    cluster.kill(f"node-{node.node}")
    cluster.start_again("central")
    cluster.start_again(f"node-{node.node}")

    async def back() -> bool:
        try:
            await client.job(first.job_id)
        except Unavailable:
            return False
        return cluster.events(f"node-{node.node}", "task cores")[1:] != [] and (
            await taken(client, node) == core
        )

    await until(back, "the central master to answer, and the worker to adopt the task")
    second = await client.submit(pinned(node))
    record = await runs(client, first.job_id)
    assert (record.tasks[0].attempt, record.tasks[0].cores) == (1, core)
    assert (await client.job(second.job_id)).state is JobState.PENDING
    await client.cancel(first.job_id)
    await runs(client, second.job_id)


async def test_what_can_never_fit_is_told_at_submit_and_refused_where_it_must_fit(
    client: Client, node: NodeView
) -> None:
    many = job("true", name="many", cores=len(node.cores) + 1, node=node.node)
    had, wanted = len(node.cores), len(node.cores) + 1
    why = f"NeverFits: nearest {node.node}, {had} of {wanted} cores"
    assert (await client.submit(many)).reason == why
    with pytest.raises(FailedPrecondition, match=why):
        await client.submit(many, require_fit=True)


async def test_the_policy_is_switched_and_jobs_that_wait_stay(
    client: Client, node: NodeView
) -> None:
    before = await client.batch_policy()
    first, second = [await client.submit(pinned(node)) for _ in range(2)]
    await runs(client, first.job_id)
    try:
        view = await client.batch_policy(switch_to="best-fit-decreasing")
        assert (view.policy, view.configured) == ("best-fit-decreasing", before.configured)
        assert (await client.job(second.job_id)).state is JobState.PENDING
        await client.cancel(first.job_id)
        await runs(client, second.job_id)
    finally:
        await client.batch_policy(switch_to=before.policy)


async def test_the_command_line_shows_cores_and_policies(
    cluster: ClusterAtWork, client: Client, node: NodeView
) -> None:
    state = ("--state", str(cluster.state_dir))
    asked = ("--cores", "1", "--cpu", "50m", "--memory", "64Mi", "--require-fit")
    said = tango("submit", *asked, *state, "-o", "json", "--", "/bin/sleep", "600")
    assert said.returncode == 0, said.stderr
    (submitted,) = json.loads(said.stdout)
    (task,) = (await runs(client, submitted["job_id"])).tasks
    assert len(task.cores) == 1
    shown = tango("describe", "job", submitted["job_id"], *state).stdout
    assert "1 core of its own" in shown
    assert f"Cores:        {format_cores(task.cores)}\n" in shown
    about = tango("describe", "node", task.node, *state).stdout
    assert f"{format_cores(task.cores)} taken" in about
    listed = json.loads(tango("get", "jobs", *state, "-o", "json").stdout)
    text = json.dumps(listed)
    assert f'"cores": [{task.cores[0]}]' in text
    assert f"{format_cores(node.cores)} (" in tango("get", "nodes", *state).stdout
    refused = tango("submit", "--cores", "999", "--require-fit", *state, "--", "true")
    assert refused.returncode == 1
    assert "NeverFits: nearest" in refused.stderr + refused.stdout
    assert "the central master places jobs by most-free" in tango("policy", "--jobs", *state).stdout
