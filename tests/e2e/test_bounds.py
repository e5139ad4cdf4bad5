"""Delay bounds and backups on a real cluster: two sites 40 ms apart, a node and central killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cluster_at_work import ClusterAtWork, job, running, until
from sites_apart import sites_apart

from tango.controllers.central.bounds import SETTLE_S
from tango.model.errors import InvalidField
from tango.model.job import JobRecord, JobState, Near
from tango.sdk.client import Client

pytestmark = pytest.mark.e2e

ONE_WAY_S = 0.020
NEAR_A1 = Near(node="a1", within_s=0.010)
NEAR_FILE = """\
kind: Job
name: tried
argv: [/bin/true]
cpu: 50m
memory: 64Mi
near: {node: a1, within_ms: 30000}
backup: true
"""
NEAR_NODES = {("site-a", "a1"), ("site-a", "a2")}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterAtWork]:
    state = tmp_path_factory.mktemp("bounds") / "state"
    with running(state, workers_per_site=2) as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: ClusterAtWork) -> AsyncIterator[Client]:
    async with sites_apart(cluster, ONE_WAY_S) as apart:
        await apart.nodes_ready(4)
        yield apart.client


async def started(client: Client, job_id: str, attempt: int = 1) -> JobRecord:
    record = await client.job(job_id)

    async def runs() -> bool:
        nonlocal record
        record = await client.job(job_id)
        return record.state is JobState.RUNNING and record.tasks[0].attempt == attempt

    await until(runs, f"attempt {attempt} of {job_id} to run: {record}", 60)
    return record


async def reserved(client: Client) -> dict[str, int]:
    return {
        f"{edge.edge}/{node.node}": node.reserved_bytes
        for edge in await client.edges()
        for node in edge.nodes
        if node.reserved_bytes
    }


async def test_near_to_a_node_and_again_on_its_backup_when_the_node_is_killed(
    cluster: ClusterAtWork, client: Client
) -> None:
    spec = job("/bin/sleep", "600", near=NEAR_A1, backup=True, ports=(17_999,))
    submitted = await client.submit(spec)
    job_id = submitted.job_id
    task = (await client.job(job_id)).tasks[0]

    async def settled() -> bool:
        nonlocal task
        task = (await client.job(job_id)).tasks[0]
        near = (task.edge, task.node) in NEAR_NODES
        return near and task.state is JobState.RUNNING and task.backup in map("/".join, NEAR_NODES)

    # Delays are measured only now: nodes dialled in a moment ago, and before that nothing was
    # between the sites. Where it began too far away it moves.
    await until(settled, f"it to run near a1 with a backup there: {task}", 90)
    host = {f"{edge}/{node}" for edge, node in NEAR_NODES} - {f"{task.edge}/{task.node}"}
    assert {task.backup} == host
    room = await reserved(client)
    assert room == {task.backup: spec.tasks[0].memory_bytes}
    ports = {f"{node['edge']}/{node['node']}": node["reserved_ports"]
             for node in cluster.json("get", "nodes")}  # fmt: skip
    assert {node: kept for node, kept in ports.items() if kept} == {task.backup: [17_999]}

    cluster.kill("central")
    cluster.start_again("central")
    await until(lambda: _is(client, room), "the reservation to be there after a kill -9", 60)

    node = f"node-{task.node}"
    cluster.kill(node)
    try:
        again = (await started(client, job_id, task.attempt + 1)).tasks[0]
        assert f"{again.edge}/{again.node}" == task.backup
        assert again.failures == 0
        said = cluster.cli("explain", job_id).stdout
        assert f"failed or is drained: runs again on its backup {task.backup}" in said
        described = cluster.cli("describe", "job", job_id).stdout
        assert "within 10 ms of a1" in described
    finally:
        cluster.start_again(node)
        await client.cancel(job_id)
    await until(lambda: _is(client, {}), "nothing to be reserved", 60)


async def _is(client: Client, wanted: dict[str, int]) -> bool:
    try:
        return await reserved(client) == wanted
    except Exception:  # noqa: BLE001 - it is down for a moment
        return False


async def test_a_better_plan_is_shown_and_carried_out(
    cluster: ClusterAtWork, client: Client, tmp_path: Path
) -> None:
    """Both begin on a1, for nothing else takes them, and both backups are on a2 alone; with the
    other site in service again one of them moves, and one backup will do for both."""
    spec = job("/bin/sleep", "600", near=Near(node="a1", within_s=30.0), backup=True)

    async def only_takes(*names: str) -> None:
        for node in ("a2", "b1", "b2"):
            await (client.uncordon if node in names else client.cordon)(node)

        async def told() -> bool:
            nodes = [node for edge in await client.edges() for node in edge.nodes]
            return {node.node for node in nodes if not node.cordoned} == {"a1", *names}

        await until(told, f"central to know that only {names} and a1 take something", 30)

    await only_takes()
    jobs = [(await client.submit(spec)).job_id for _ in range(2)]
    try:
        for job_id in jobs:
            await started(client, job_id)
            assert (await client.job(job_id)).tasks[0].node == "a1"
        size = spec.tasks[0].memory_bytes
        await only_takes("a2")
        await until(lambda: _is(client, {"site-a/a2": 2 * size}), "both backups on a2", 60)
        await only_takes("a2", "b1", "b2")
        file, saved = tmp_path / "near.yaml", tmp_path / "saved.json"
        file.write_text(NEAR_FILE)
        words = ("place", "--dry-run", "-f", str(file), "--save-snapshot", str(saved))
        tried = json.loads(cluster.cli(*words, "--json").stdout)
        (task,) = tried["jobs"][0]["tasks"]
        assert task["node"] != task["backup"] != ""
        (kept,) = json.loads(saved.read_text())["reservations"]
        assert (kept["node"], kept["memory"]) == ("a2", 2 * size)
        shown = cluster.cli("place", "--improve").stdout
        assert "RUN TIME LOST" in shown
        assert "Nothing was done" in shown
        done = cluster.cli("place", "--improve", "--apply", "-o", "json")
        view = json.loads(done.stdout)
        assert (done.returncode, view["stopped"]) == (0, "")
        assert [move["state"] for move in view["moves"]] == ["moved"]
        assert view["now"]["reserved_bytes"] == size
        assert sum((await reserved(client)).values()) == size
        (move,) = view["moves"]
        again = (await client.job(move["job_id"])).tasks[0]
        assert (f"{again.edge}/{again.node}", again.failures) == (move["target"], 0)
    finally:
        await only_takes("a2", "b1", "b2")
        for job_id in jobs:
            await client.cancel(job_id)
    await until(lambda: _is(client, {}), "nothing to be reserved", 60)


async def test_wrong_bounds_are_refused_and_say_what_to_do(client: Client) -> None:
    spec = job("/bin/true", near=replace(NEAR_A1, node="a11"))
    await asyncio.sleep(SETTLE_S)
    wanted = r"near\.node: no node is named 'a11'; did you mean 'a1"
    with pytest.raises(InvalidField, match=wanted):
        await client.submit(spec)
